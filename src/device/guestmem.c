/* SPDX-License-Identifier: MIT */
#include "device/guestmem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u

static int check_range(const struct vgr_guestmem *m, const struct vgr_mem_range *r,
                       const struct stat *st)
{
    uint64_t end, file_end, uend;

    if (!r->size || r->size > SIZE_MAX || __builtin_add_overflow(r->gpa, r->size, &end) ||
        __builtin_add_overflow(r->uaddr, r->size, &uend) ||
        __builtin_add_overflow(r->offset, r->size, &file_end) || file_end > INT64_MAX)
        return -EINVAL;
    if (r->gpa % PAGE || r->size % PAGE || r->offset % PAGE)
        return -EINVAL;
    if (S_ISREG(st->st_mode) && file_end > (uint64_t)st->st_size)
        return -EINVAL; /* an access behind the end would be our death by SIGBUS */
    for (unsigned i = 0; i < m->n; i++) {
        const struct vgr_mem_range *o = &m->regions[i].range;

        if (r->gpa < o->gpa + o->size && o->gpa < end)
            return -EINVAL;
    }
    return 0;
}

int vgr_guestmem_add(struct vgr_guestmem *m, const struct vgr_mem_range *range, int fd)
{
    struct vgr_mem_region *region;
    struct stat st;
    void *hva;
    int err;

    if (m->n == VGR_GUESTMEM_REGIONS)
        return -ENOSPC;
    if (fstat(fd, &st) < 0)
        return -errno;
    err = check_range(m, range, &st);
    if (err)
        return err;
    hva = mmap(NULL, range->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
               (off_t)range->offset);
    if (hva == MAP_FAILED)
        return -errno;
    /* Neither our children nor our core dumps have any business with it. */
    madvise(hva, range->size, MADV_DONTFORK);
    madvise(hva, range->size, MADV_DONTDUMP);

    region = &m->regions[m->n++];
    *region = (struct vgr_mem_region){
        .range = *range,
        .hva = hva,
        .fd = fd,
        .dev = st.st_dev,
        .ino = st.st_ino,
    };
    return 0;
}

static void drop(struct vgr_guestmem *m, unsigned i)
{
    munmap(m->regions[i].hva, m->regions[i].range.size);
    close(m->regions[i].fd);
    m->regions[i] = m->regions[--m->n];
}

int vgr_guestmem_remove(struct vgr_guestmem *m, const struct vgr_mem_range *range)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct vgr_mem_range *r = &m->regions[i].range;

        if (r->gpa == range->gpa && r->size == range->size && r->uaddr == range->uaddr) {
            drop(m, i);
            return 0;
        }
    }
    return -ENOENT;
}

void vgr_guestmem_clear(struct vgr_guestmem *m)
{
    while (m->n)
        drop(m, m->n - 1);
}

const struct vgr_mem_region *vgr_guestmem_find(const struct vgr_guestmem *m, uint64_t gpa)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct vgr_mem_region *r = &m->regions[i];

        if (gpa >= r->range.gpa && gpa - r->range.gpa < r->range.size)
            return r;
    }
    return NULL;
}

uint8_t *vgr_guestmem_at(const struct vgr_guestmem *m, uint64_t gpa, uint64_t len, uint64_t *avail)
{
    const struct vgr_mem_region *r = vgr_guestmem_find(m, gpa);
    uint64_t inside;

    if (!r)
        return NULL;
    inside = r->range.size - (gpa - r->range.gpa);
    *avail = len < inside ? len : inside;
    return r->hva + (gpa - r->range.gpa);
}

void *vgr_guestmem_user(const struct vgr_guestmem *m, uint64_t uaddr, uint64_t len)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct vgr_mem_region *r = &m->regions[i];
        uint64_t off = uaddr - r->range.uaddr;

        if (uaddr >= r->range.uaddr && off < r->range.size && len <= r->range.size - off)
            return r->hva + off;
    }
    return NULL;
}

int vgr_guestmem_read(const struct vgr_guestmem *m, uint64_t gpa, void *buf, size_t len)
{
    uint8_t *to = buf;

    while (len) {
        uint64_t n;
        const uint8_t *from = vgr_guestmem_at(m, gpa, len, &n);

        if (!from)
            return -EFAULT;
        memcpy(to, from, n);
        to += n;
        gpa += n; /* cannot wrap: the region's end was checked */
        len -= n;
    }
    return 0;
}

int vgr_guestmem_write(const struct vgr_guestmem *m, uint64_t gpa, const void *buf, size_t len)
{
    const uint8_t *from = buf;

    while (len) {
        uint64_t n;
        uint8_t *to = vgr_guestmem_at(m, gpa, len, &n);

        if (!to)
            return -EFAULT;
        memcpy(to, from, n);
        from += n;
        gpa += n;
        len -= n;
    }
    return 0;
}
