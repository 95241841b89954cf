/* SPDX-License-Identifier: MIT
 *
 * sandbox_files.c - which files a worker may open: landlock.
 *
 * GPU libraries open files whenever they like: a compiler when the first shader comes, a description of
 * the processor when a thread starts. The rules therefore hold from before these libraries load, and
 * allow what loading takes (sandbox_paths.c): programs' code and data, read-only, what the kernel tells
 * about the machine and the process, GPUs' device nodes. Nothing of users, no password file, no program
 * to be run.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ggml-backend.h>
#include <glob.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/sandbox.h"
#include "worker/sandbox_table.h"

/* Newer than the headers of some distribution that we build on. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF
#define LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF (1U << 2)
#endif
#ifndef LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF
#define LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF (1U << 0)
#endif
#define ACCESS_NET (3ULL) /* bind and connect of TCP */
#define SCOPES     (3ULL) /* abstract unix sockets, signals */

#define ACCESS_READ   (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_DEVICE (ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_IOCTL_DEV)
#define ACCESS_CACHE                                                                               \
    (ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |                   \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                                \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_TRUNCATE)
#define ACCESS_FILE                                                                                \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |  \
     LANDLOCK_ACCESS_FS_IOCTL_DEV)

static const uint64_t access_of[] = {
    [VGR_PATH_READ] = ACCESS_READ,
    [VGR_PATH_LIST] = LANDLOCK_ACCESS_FS_READ_DIR,
    [VGR_PATH_DEVICE] = ACCESS_DEVICE,
    [VGR_PATH_TASK] = ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE,
};

/* As of version 6. The headers' own may have fewer members: the kernel takes any size. */
struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct rules {
    int fd;
    int abi;
    uint64_t handled;
    unsigned n;
};

/* Variables that hold paths of libraries or of their settings, with colons between. */
static const char *const variables[] = {
    "LD_LIBRARY_PATH",     "GGML_BACKEND_PATH", "VK_DRIVER_FILES",    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES", "VK_LAYER_PATH",     "LIBGL_DRIVERS_PATH", "OCL_ICD_VENDORS"};

/* What is not there, or not ours to see, needs no rule: one list fits many machines. */
static void allow(struct rules *r, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr attr = {.allowed_access = access & r->handled};
    struct stat st;

    attr.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (attr.parent_fd < 0)
        return;
    if (!fstat(attr.parent_fd, &st) && !S_ISDIR(st.st_mode))
        attr.allowed_access &= ACCESS_FILE;
    if (!syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &attr, 0))
        r->n++;
    /* A rule is for an inode. /proc makes a new one for a name that it forgot for want of memory, and
     * does not forget what is open. */
    if (strncmp(path, "/proc/", 6))
        close(attr.parent_fd);
}

/* The folder that a file lies in. Never "/": a rule for that would be none. */
static void allow_folder_of(struct rules *r, const char *file)
{
    char path[PATH_MAX];
    char *slash;

    if (!realpath(file, path))
        return;
    slash = strrchr(path, '/');
    if (slash == path)
        return;
    *slash = '\0';
    allow(r, path, ACCESS_READ);
}

static void allow_variable(struct rules *r, const char *name)
{
    const char *value = getenv(name);
    char *copy = value ? strdup(value) : NULL;
    char *rest = copy, *path;

    while (rest && (path = strsep(&rest, ":"))) {
        if (path[0] == '/' && path[strspn(path, "/")])
            allow(r, path, ACCESS_READ);
    }
    free(copy);
}

static void allow_pattern(struct rules *r, const char *pattern, uint64_t access)
{
    glob_t found = {0};

    if (!glob(pattern, GLOB_NOSORT | GLOB_BRACE, NULL, &found)) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            allow(r, found.gl_pathv[i], access);
    }
    globfree(&found);
}

static void allow_row(struct rules *r, const struct vgr_path_row *row)
{
    char *copy = strdup(row->paths), *rest = copy, *pattern;

    while (rest && (pattern = strsep(&rest, " ")))
        allow_pattern(r, pattern, access_of[row->access]);
    free(copy);
}

static void add_rules(struct rules *r, const struct vgr_boot_sandbox *config)
{
    Dl_info ggml;

    for (size_t i = 0; i < vgr_sandbox_n_paths; i++) {
        if (!vgr_sandbox_paths[i].nodes || vgr_sandbox_paths[i].nodes & config->nodes)
            allow_row(r, &vgr_sandbox_paths[i]);
    }
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        allow_variable(r, variables[i]);
    /* Where a GGML outside of /usr looks for its backends. */
    allow_folder_of(r, "/proc/self/exe");
    if (dladdr((void *)ggml_backend_load_all, &ggml) && ggml.dli_fname)
        allow_folder_of(r, ggml.dli_fname);
    if (config->shader_cache[0])
        allow(r, config->shader_cache, ACCESS_CACHE);
}

/* The kernel writes each denial to the machine's audit log, where there is one: as many as a worker likes, and
 * who has something to be audited meanwhile waits for room. */
static uint32_t not_to_be_audited(const struct rules *r)
{
    return r->abi >= 7 ? LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF |
                             LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF
                       : 0;
}

static int enforce(struct rules *r, const struct vgr_boot_sandbox *config)
{
    /* Every right of the first version, and those that came later. */
    struct ruleset set = {.fs = (1ULL << 13) - 1};
    int err = 0;

    if (r->abi >= 2)
        set.fs |= LANDLOCK_ACCESS_FS_REFER;
    if (r->abi >= 3)
        set.fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (r->abi >= 4)
        set.net = ACCESS_NET;
    if (r->abi >= 5)
        set.fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (r->abi >= 6)
        set.scoped = SCOPES;
    r->handled = set.fs;
    r->fd = (int)syscall(SYS_landlock_create_ruleset, &set,
                         r->abi >= 6   ? sizeof(set)
                         : r->abi >= 4 ? 2 * sizeof(uint64_t)
                                       : sizeof(uint64_t),
                         0);
    if (r->fd < 0)
        return -errno;
    add_rules(r, config);
    if (syscall(SYS_landlock_restrict_self, r->fd, not_to_be_audited(r)))
        err = -errno;
    close(r->fd);
    return err;
}

int vgr_sandbox_files(struct vgr_sandbox *sb)
{
    struct rules r = {0};
    int err;

    r.abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    err = r.abi < 0 ? -errno : enforce(&r, sb->config);
    if (err && sb->config->mode == VGR_SANDBOX_STRICT) {
        vgr_error("sandbox: strict needs landlock, which this kernel refuses: %s", strerror(-err));
        return err;
    }
    if (err) {
        vgr_sandbox_note(sb, VGR_LOG_WARN,
                         "workers may open any file of their user: no landlock here: %s",
                         strerror(-err));
        return 0;
    }
    vgr_sandbox_note(sb, VGR_LOG_DEBUG, "files by landlock %d, %u rules", r.abi, r.n);
    if (r.abi < 6)
        vgr_sandbox_note(sb, VGR_LOG_INFO,
                         "landlock %d of this kernel is old: %s%sno rule for signals (from 6 on)",
                         r.abi, r.abi < 3 ? "no rule for truncation, " : "",
                         r.abi < 5 ? "no rule for device calls, " : "");
    return 0;
}
