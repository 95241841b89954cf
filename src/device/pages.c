/* SPDX-License-Identifier: MIT */
#include "device/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

int vgr_pages_add(struct vgr_pages *p, uint64_t gpa, uint32_t len)
{
    uint64_t end;

    if (!len || __builtin_add_overflow(gpa, len, &end))
        return -EINVAL;
    if (p->n) {
        struct vgr_page_run *last = &p->runs[p->n - 1];

        if (last->gpa + last->len == gpa) {
            last->len += len;
            p->size += len;
            return 0;
        }
    }
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? 2 * p->cap : 16;
        struct vgr_page_run *runs = realloc(p->runs, cap * sizeof(*runs));

        if (!runs)
            return -ENOMEM;
        p->runs = runs;
        p->cap = cap;
    }
    p->runs[p->n++] = (struct vgr_page_run){gpa, len};
    p->size += len;
    return 0;
}

void vgr_pages_free(struct vgr_pages *p)
{
    free(p->runs);
    memset(p, 0, sizeof(*p));
}

bool vgr_pages_present(const struct vgr_pages *p, const struct vgr_guestmem *m)
{
    for (uint32_t i = 0; i < p->n; i++) {
        uint64_t n, gpa = p->runs[i].gpa, left = p->runs[i].len;

        for (; left; gpa += n, left -= n) {
            if (!vgr_guestmem_at(m, gpa, left, &n))
                return false;
        }
    }
    return true;
}

/* An arena in the making. */
struct draft {
    struct vgr_arena arena;
    struct vgr_boot_run *runs; /* the arena's, room for max_runs */
    unsigned max_runs;
    struct {
        dev_t dev;
        ino_t ino;
    } seen[VGR_BOOT_MAX_FILES]; /* the arena's files */
};

/* The index of a region's file among the arena's, added if new; two regions of one file share. */
static int file_index(struct draft *d, const struct vgr_mem_region *r)
{
    struct vgr_arena *arena = &d->arena;

    for (unsigned i = 0; i < arena->n_files; i++) {
        if (d->seen[i].dev == r->dev && d->seen[i].ino == r->ino)
            return (int)i;
    }
    if (arena->n_files == VGR_BOOT_MAX_FILES)
        return -E2BIG;
    d->seen[arena->n_files].dev = r->dev;
    d->seen[arena->n_files].ino = r->ino;
    arena->files[arena->n_files] = r->fd;
    return (int)arena->n_files++;
}

static int append_run(struct draft *d, int file, uint64_t offset, uint64_t length)
{
    struct vgr_arena *arena = &d->arena;

    if (arena->n_runs) {
        struct vgr_boot_run *last = &d->runs[arena->n_runs - 1];

        if (last->file == (uint32_t)file && last->offset + last->length == offset) {
            last->length += length;
            return 0;
        }
    }
    if (arena->n_runs == d->max_runs)
        return -E2BIG;
    d->runs[arena->n_runs++] = (struct vgr_boot_run){
        .file = (uint32_t)file,
        .offset = offset,
        .length = length,
    };
    return 0;
}

/* One piece may lie in several regions. */
static int translate(struct draft *d, const struct vgr_guestmem *m, uint64_t gpa, uint64_t len)
{
    while (len) {
        const struct vgr_mem_region *r = vgr_guestmem_find(m, gpa);
        uint64_t at, n;
        int file, err;

        if (!r)
            return -EFAULT;
        at = gpa - r->range.gpa;
        n = r->range.size - at;
        if (n > len)
            n = len;
        file = file_index(d, r);
        if (file < 0)
            return file;
        err = append_run(d, file, r->range.offset + at, n);
        if (err)
            return err;
        gpa += n;
        len -= n;
    }
    return 0;
}

int vgr_pages_to_arena(const struct vgr_pages *p, const struct vgr_guestmem *m, uint64_t size,
                       unsigned max_runs, struct vgr_arena *arena)
{
    struct draft d = {.max_runs = max_runs};
    uint64_t left = size;
    int err = 0;

    memset(arena, 0, sizeof(*arena));
    if (!size || size % PAGE || p->size < size)
        return -EINVAL;
    d.runs = malloc(max_runs * sizeof(*d.runs)); /* touched only as far as used */
    if (!d.runs)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->n && left && !err; i++) {
        const struct vgr_page_run *run = &p->runs[i];
        uint64_t n = run->len < left ? run->len : left;

        if (run->gpa % PAGE || n % PAGE)
            err = -EINVAL;
        else
            err = translate(&d, m, run->gpa, n);
        left -= n;
    }
    if (err) {
        free(d.runs);
        return err;
    }
    *arena = d.arena;
    arena->size = size;
    arena->runs = d.runs;
    return 0;
}
