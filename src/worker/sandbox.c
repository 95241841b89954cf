/* SPDX-License-Identifier: MIT */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/sys.h"

/* While libraries load. A leak should end in an error, not in a machine without descriptors. */
#define MAX_FILES 4096

/* From then on, besides those that are open: a driver takes dozens for a device when it is first used. Few,
 * because a worker needs no more. */
#define SPARE_FILES        128u
#define SPARE_FILES_DEVICE 64u

/* Signals that wait, and timers, have one limit for all processes of a user, but each process is held to its
 * own idea of it: a worker gets none when so many are in use, and the rest is left to others. */
#define MAX_SIGNALS 256

void vgr_sandbox_note(struct vgr_sandbox *sb, enum vgr_log_level level, const char *fmt, ...)
{
    va_list ap;

    if (sb->n_notes == VGR_SANDBOX_NOTES)
        return;
    va_start(ap, fmt);
    vsnprintf(sb->notes[sb->n_notes], sizeof(sb->notes[0]), fmt, ap);
    va_end(ap);
    sb->levels[sb->n_notes++] = level;
}

void vgr_sandbox_tell(const struct vgr_sandbox *sb, bool as_debug)
{
    for (unsigned i = 0; i < sb->n_notes; i++)
        vgr_log(as_debug ? VGR_LOG_DEBUG : sb->levels[i], "sandbox: %s", sb->notes[i]);
}

/* Lower is always allowed. */
static int limit(int resource, rlim_t max)
{
    struct rlimit rl;

    if (getrlimit(resource, &rl))
        return -errno;
    if (rl.rlim_cur > max)
        rl.rlim_cur = max;
    if (rl.rlim_max > max)
        rl.rlim_max = max;
    return setrlimit(resource, &rl) ? -errno : 0;
}

/* The caches of compiled shaders hold machine code. A worker that could write to one which others read
 * would be in their hands a day later, so that there is none unless the operator names one for it.
 * Mesa's has to go by its own variable: it keeps its files open. */
static int choose_cache(const char *folder)
{
    if (!folder[0])
        return setenv("MESA_SHADER_CACHE_DISABLE", "true", 1) ? -errno : 0;
    if (setenv("MESA_SHADER_CACHE_DIR", folder, 1) ||
        setenv("__GL_SHADER_DISK_CACHE_PATH", folder, 1) || setenv("CUDA_CACHE_PATH", folder, 1))
        return -errno;
    return 0;
}

static void leave_namespaces(struct vgr_sandbox *sb)
{
    if (!unshare(CLONE_NEWNET | CLONE_NEWIPC))
        vgr_sandbox_note(sb, VGR_LOG_DEBUG, "empty network and IPC namespaces");
    else
        vgr_sandbox_note(sb, VGR_LOG_INFO,
                         "workers stay in the host's network and IPC namespaces: %s",
                         strerror(errno));
}

static int change_user(struct vgr_sandbox *sb)
{
    const struct vgr_boot_sandbox *c = sb->config;
    gid_t groups[VGR_BOOT_MAX_GROUPS];

    for (uint32_t i = 0; i < c->n_groups; i++)
        groups[i] = c->groups[i];
    if (setgroups(c->n_groups, groups) || setresgid(c->gid, c->gid, c->gid) ||
        setresuid(c->uid, c->uid, c->uid)) {
        int err = errno;

        vgr_error("sandbox: cannot become user %u, group %u: %s", c->uid, c->gid, strerror(err));
        return -err;
    }
    vgr_sandbox_note(sb, VGR_LOG_DEBUG, "user %u, group %u, %u more groups", c->uid, c->gid,
                     c->n_groups);
    return 0;
}

/* A worker of root's stays the owner of root's device nodes, but may do no more than an owner. */
static int drop_capabilities(struct vgr_sandbox *sb)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (syscall(SYS_capset, &header, none) ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)) {
        int err = errno;

        vgr_error("sandbox: cannot drop capabilities: %s", strerror(err));
        return -err;
    }
    vgr_sandbox_note(sb, VGR_LOG_DEBUG, "no capabilities");
    return 0;
}

/* What a guest makes its worker allocate is not to cost the host another process: where memory ends, the
 * kernel ends a worker first. The value that is written with root's capabilities is the lowest that the
 * process can ever go back to; without them the file belongs to root once the process is not dumpable. */
static void offer_to_oom_killer(struct vgr_sandbox *sb)
{
    int fd = VGR_SYS_AGAIN(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    bool done = fd >= 0 && VGR_SYS_AGAIN(write(fd, "1000", 4)) == 4;

    if (done)
        vgr_sandbox_note(sb, VGR_LOG_DEBUG, "the first to end where memory ends");
    else
        vgr_sandbox_note(sb, VGR_LOG_INFO, "workers are not the first to end where memory ends: %s",
                         strerror(errno));
    if (fd >= 0)
        close(fd);
}

int vgr_sandbox_limit_files(unsigned n_devices)
{
    rlim_t open = 0;

    for (int fd = 0; fd < MAX_FILES; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            open = (rlim_t)fd + 1;
    }
    return limit(RLIMIT_NOFILE, open + SPARE_FILES + (rlim_t)SPARE_FILES_DEVICE * n_devices);
}

int vgr_sandbox_begin(struct vgr_sandbox *sb, const struct vgr_boot_sandbox *config)
{
    pid_t parent = getppid();
    int err = 0;

    memset(sb, 0, sizeof(*sb));
    sb->config = config;
    offer_to_oom_killer(sb);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
        err = -errno;
        vgr_error("sandbox: cannot set no_new_privs: %s", strerror(-err));
        return err;
    }
    if (config->mode != VGR_SANDBOX_OFF) {
        err = limit(RLIMIT_CORE, 0);
        if (!err)
            err = limit(RLIMIT_NOFILE, MAX_FILES);
        if (!err)
            err = limit(RLIMIT_SIGPENDING, MAX_SIGNALS);
        if (!err)
            err = choose_cache(config->shader_cache);
        if (err) {
            vgr_error("sandbox: cannot set limits: %s", strerror(-err));
            return err;
        }
        leave_namespaces(sb);
        if (config->has_user)
            err = change_user(sb);
        if (!err)
            err = drop_capabilities(sb);
        if (!err)
            err = vgr_sandbox_files(sb);
        if (err)
            return err;
    }
    /* Last: the kernel undoes both of these when a process changes its user. */
    if ((config->mode != VGR_SANDBOX_OFF && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) ||
        prctl(PR_SET_PDEATHSIG, SIGKILL)) {
        err = -errno;
        vgr_error("sandbox: cannot set the parent's signal: %s", strerror(-err));
        return err;
    }
    return getppid() == parent ? 0 : -ESRCH;
}
