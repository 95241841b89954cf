/* SPDX-License-Identifier: MIT */
#include "worker/boot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/arena.h"

int vgr_boot_read(struct vgr_boot *boot)
{
    bool whole = pread(VGR_BOOT_FD, boot, sizeof(*boot), 0) == (ssize_t)sizeof(*boot);

    if (!whole || boot->magic != VGR_BOOT_MAGIC || boot->n_devices > VGR_BOOT_MAX_DEVICES ||
        boot->sandbox.n_groups > VGR_BOOT_MAX_GROUPS)
        return -EPROTO;
    return 0;
}

static int read_runs(const struct vgr_boot *boot, struct vgr_boot_run **runs)
{
    size_t len = boot->n_runs * sizeof(**runs);

    if (!boot->n_fds || boot->n_fds > VGR_BOOT_MAX_FILES || !boot->n_runs ||
        boot->n_runs > VGR_BOOT_MAX_RUNS)
        return -EPROTO;
    *runs = malloc(len);
    if (!*runs)
        return -ENOMEM;
    if (pread(VGR_BOOT_FD, *runs, len, sizeof(*boot)) != (ssize_t)len) {
        free(*runs);
        return -EPROTO;
    }
    return 0;
}

static int map_runs(const struct vgr_boot *boot, const struct vgr_boot_run *runs, uint8_t *base)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < boot->n_runs; i++) {
        if (runs[i].file >= boot->n_fds || runs[i].length > boot->arena_size - at)
            return -EPROTO;
        if (mmap(base + at, runs[i].length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                 VGR_BOOT_FILES_FD + (int)runs[i].file, (off_t)runs[i].offset) == MAP_FAILED)
            return -errno;
        at += runs[i].length;
    }
    return at == boot->arena_size ? 0 : -EPROTO;
}

int vgr_arena_map(struct vgr_arena *arena, struct vgr_boot *boot)
{
    struct vgr_boot_run *runs;
    void *base;
    int ret;

    ret = vgr_boot_read(boot);
    if (!ret)
        ret = read_runs(boot, &runs);
    if (ret)
        return ret;

    base =
        mmap(NULL, boot->arena_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        ret = -errno;
    } else {
        ret = map_runs(boot, runs, base);
        if (ret)
            munmap(base, boot->arena_size);
    }
    free(runs);

    close(VGR_BOOT_FD);
    for (uint32_t i = 0; i < boot->n_fds; i++)
        close(VGR_BOOT_FILES_FD + (int)i);
    if (ret)
        return ret;

    arena->base = base;
    arena->size = boot->arena_size;
    return 0;
}
