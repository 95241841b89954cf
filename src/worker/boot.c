/* SPDX-License-Identifier: MIT */
#include "worker/boot.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/sys.h"
#include "worker/arena.h"
#include "worker/handover.h"

int vgr_boot_read(struct vgr_boot *boot)
{
    int err = vgr_sys_pread(VGR_BOOT_FD, boot, sizeof(*boot), 0);

    if (err)
        return err;
    if (boot->magic != VGR_BOOT_MAGIC || boot->n_devices > VGR_BOOT_MAX_DEVICES ||
        boot->sandbox.n_groups > VGR_BOOT_MAX_GROUPS || boot->client > VGR_BOOT_BROKER)
        return -EPROTO;
    return 0;
}

/* Where the arena's pages are. */
struct source {
    const struct vgr_boot_run *runs;
    uint32_t n_runs;
    const int *files;
    uint32_t n_files;
};

static int read_runs(const struct vgr_boot *boot, struct vgr_boot_run **runs)
{
    size_t len = boot->n_runs * sizeof(**runs);
    int err;

    if (!boot->n_fds || boot->n_fds > VGR_BOOT_MAX_FILES || !boot->n_runs ||
        boot->n_runs > VGR_BOOT_MAX_RUNS)
        return -EPROTO;
    *runs = malloc(len);
    if (!*runs)
        return -ENOMEM;
    err = vgr_sys_pread(VGR_BOOT_FD, *runs, len, sizeof(*boot));
    if (err)
        free(*runs);
    return err;
}

/* The size of the pages by which a file is mapped: of hugetlbfs the huge ones, otherwise this machine's. */
static int page_size(int fd, uint64_t *size)
{
    struct statfs fs;

    if (fstatfs(fd, &fs))
        return -errno;
    *size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

/* Of a run that ends within a page the kernel maps all of that page, and what is behind the run is not this
 * context's. A guest's pages need not be whole ones where the host's are larger. */
static int check_pages(const struct source *s)
{
    uint64_t within[VGR_BOOT_MAX_FILES] = {0}; /* the bits of an offset that are within a page */

    for (uint32_t i = 0; i < s->n_files; i++) {
        int err = page_size(s->files[i], &within[i]);

        if (err)
            return err;
        within[i]--;
    }
    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct vgr_boot_run *run = &s->runs[i];

        if (run->file >= s->n_files)
            return -EPROTO;
        if ((run->offset | run->length) & within[run->file]) {
            vgr_error("the VM's memory is in pages of %llu KiB, of which an arena takes parts: it "
                      "needs a memory backend of plain pages",
                      (unsigned long long)((within[run->file] + 1) >> 10));
            return -ENOTSUP;
        }
    }
    return 0;
}

static int map_runs(const struct source *s, uint8_t *base, uint64_t size)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct vgr_boot_run *run = &s->runs[i];

        if (run->length > size - at)
            return -EPROTO;
        if (mmap(base + at, run->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                 s->files[run->file], (off_t)run->offset) == MAP_FAILED)
            return -errno;
        at += run->length;
    }
    return at == size ? 0 : -EPROTO;
}

static int map(struct vgr_arena *arena, const struct source *s, uint64_t size)
{
    int err = check_pages(s);
    void *base;

    if (err)
        return err;
    base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    err = map_runs(s, base, size);
    if (err) {
        munmap(base, size);
        return err;
    }
    arena->base = base;
    arena->size = size;
    vgr_debug("arena of %llu KiB in %u runs of %u files", (unsigned long long)(size >> 10),
              s->n_runs, s->n_files);
    return 0;
}

static int map_from_boot_file(struct vgr_arena *arena, const struct vgr_boot *boot)
{
    int files[VGR_BOOT_MAX_FILES];
    struct vgr_boot_run *runs;
    struct source s = {.n_runs = boot->n_runs, .files = files, .n_files = boot->n_fds};
    int err = read_runs(boot, &runs);

    if (err)
        return err;
    for (uint32_t i = 0; i < boot->n_fds; i++)
        files[i] = VGR_BOOT_FILES_FD + (int)i;
    s.runs = runs;
    err = map(arena, &s, boot->arena_size);
    free(runs);
    for (uint32_t i = 0; i < boot->n_fds; i++)
        close(files[i]);
    return err;
}

/* What is refused is not closed: the end of the process does that, and does not linger over it. */
static int map_from_client(struct vgr_arena *arena, const struct vgr_boot *boot)
{
    struct vgr_handover h = {0};
    const char *why = vgr_handover_receive(&h, VGR_BOOT_CONN_FD, boot);
    struct source s = {h.runs, h.n_runs, h.files, h.n_files};
    int err = 0;

    if (!why)
        err = map(arena, &s, boot->arena_size);
    if (!why && !err && h.line >= 0 && dup2(h.line, VGR_BOOT_LINE_FD) < 0)
        err = -errno;
    if (why || err) {
        why = why ? why : strerror(-err);
        vgr_warn("a client is refused: %s", why);
        vgr_handover_refuse(VGR_BOOT_CONN_FD, why);
        return -ECONNREFUSED;
    }
    vgr_handover_free(&h);
    close(VGR_BOOT_CONN_FD);
    return 0;
}

int vgr_arena_map(struct vgr_arena *arena, const struct vgr_boot *boot)
{
    int err = boot->client ? map_from_client(arena, boot) : map_from_boot_file(arena, boot);

    close(VGR_BOOT_FD);
    return err;
}
