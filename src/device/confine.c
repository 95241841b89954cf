/* SPDX-License-Identifier: MIT */
#include "device/confine.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    static const char *const patterns[] = {"/dev/dri/*", "/dev/nvidia*", "/dev/kfd"};

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
    if (o->worker_user && find_user(o->worker_user, sandbox, why, why_size))
        return -EINVAL;
    if (o->shader_cache && find_cache(o->shader_cache, sandbox, why, why_size))
        return -EINVAL;
    return 0;
}
