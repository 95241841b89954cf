/* SPDX-License-Identifier: MIT */
#include "device/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/sys.h"

static void add_group(struct vgr_boot_sandbox *s, uint32_t gid)
{
    for (uint32_t i = 0; i < s->n_groups; i++) {
        if (s->groups[i] == gid)
            return;
    }
    if (s->n_groups < VGR_BOOT_MAX_GROUPS)
        s->groups[s->n_groups++] = gid;
}

/* By the nodes themselves: distributions differ in whether it is "render", "video" or another. Never
 * group 0, which owns more than GPUs. */
static void add_device_groups(struct vgr_boot_sandbox *s)
{
    static const char *const patterns[] = {"/dev/dri/renderD*", "/dev/nvidia[0-9]*",
                                           "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/kfd"};

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        glob_t found = {0};

        if (!glob(patterns[i], GLOB_NOSORT, NULL, &found)) {
            for (size_t j = 0; j < found.gl_pathc; j++) {
                struct stat st;

                if (!stat(found.gl_pathv[j], &st) && S_ISCHR(st.st_mode) && st.st_gid &&
                    (st.st_mode & S_IWGRP) && !(st.st_mode & S_IWOTH))
                    add_group(s, st.st_gid);
            }
        }
        globfree(&found);
    }
}

/* What a device's name says about the nodes that its driver opens. A family that is not here gets all. */
static uint32_t nodes_of(const char *device)
{
    static const struct {
        const char *prefix;
        uint32_t nodes;
    } families[] = {
        {"CPU", 0},
        {"BLAS", 0},
        {"CUDA", VGR_NODES_NVIDIA},
        {"ROCm", VGR_NODES_KFD | VGR_NODES_DRM},
        {"SYCL", VGR_NODES_DRM},
        {"Vulkan", VGR_NODES_DRM | VGR_NODES_NVIDIA | VGR_NODES_OTHER},
    };

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (!strncmp(device, families[i].prefix, strlen(families[i].prefix)))
            return families[i].nodes;
    }
    return VGR_NODES_ALL;
}

static int find_user(const char *name, struct vgr_boot_sandbox *s, char *why, size_t why_size)
{
    struct passwd *pw = getpwnam(name);

    if (!pw) {
        snprintf(why, why_size, "--worker-user: no user '%s'", name);
        return -EINVAL;
    }
    if (geteuid() != 0) {
        snprintf(why, why_size, "--worker-user: only root's vgr-device can change the user");
        return -EINVAL;
    }
    s->has_user = 1;
    s->uid = pw->pw_uid;
    s->gid = pw->pw_gid;
    add_device_groups(s);
    return 0;
}

/* Opens the folder of machine code for good: the lock on it goes when this process ends. A second
 * vgr-device would be another VM's. */
static int lock_cache(const char *path, uid_t user, char *why, size_t why_size)
{
    int fd = VGR_SYS_AGAIN(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        snprintf(why, why_size, "--shader-cache: cannot open '%s': %s", path, strerror(errno));
    } else if (st.st_uid != user) {
        snprintf(why, why_size,
                 "--shader-cache: '%s' belongs to user %u, who could change the code in it: "
                 "chown it to the workers' user, %u",
                 path, st.st_uid, user);
    } else if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        snprintf(
            why, why_size,
            "--shader-cache: others may enter '%s' (mode %03o), which holds code: chmod 700 it",
            path, st.st_mode & 07777);
    } else if (flock(fd, LOCK_EX | LOCK_NB)) {
        snprintf(why, why_size,
                 "--shader-cache: '%s' is another vgr-device's, whose VM could change the code in "
                 "it: give each its own folder",
                 path);
    } else {
        return 0;
    }
    if (fd >= 0)
        close(fd);
    return -EINVAL;
}

static int find_cache(const char *path, struct vgr_boot_sandbox *s, char *why, size_t why_size)
{
    char *real = realpath(path, NULL);
    struct stat st;
    int err = 0;

    if (!real || stat(real, &st) || !S_ISDIR(st.st_mode) || !strcmp(real, "/")) {
        snprintf(why, why_size, "--shader-cache: '%s' is not a folder", path);
        err = -EINVAL;
    } else if (strlen(real) >= sizeof(s->shader_cache)) {
        snprintf(why, why_size, "--shader-cache: the path is too long");
        err = -EINVAL;
    } else {
        err = lock_cache(real, s->has_user ? s->uid : geteuid(), why, why_size);
        if (!err)
            strcpy(s->shader_cache, real);
    }
    free(real);
    return err;
}

int vgr_confine(const struct vgr_options *o, struct vgr_boot_sandbox *sandbox, char *why,
                size_t why_size)
{
    memset(sandbox, 0, sizeof(*sandbox));
    sandbox->mode = o->sandbox;
    sandbox->nodes = o->n_devices ? 0 : VGR_NODES_ALL;
    for (unsigned i = 0; i < o->n_devices; i++)
        sandbox->nodes |= nodes_of(o->devices[i]);
    if (o->worker_user && find_user(o->worker_user, sandbox, why, why_size))
        return -EINVAL;
    if (o->shader_cache && find_cache(o->shader_cache, sandbox, why, why_size))
        return -EINVAL;
    return 0;
}
