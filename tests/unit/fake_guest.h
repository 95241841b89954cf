/* SPDX-License-Identifier: MIT
 *
 * fake_guest.h - guest memory made of a memfd, and the driver's side of one virtqueue in it.
 *
 * Three regions of 1 MiB: A at 0; B right behind it, but elsewhere in the file, so that a range over
 * the border is not in one piece for the device; C at 4 GiB. QEMU's addresses are UADDR + gpa.
 */
#ifndef VGR_FAKE_GUEST_H
#define VGR_FAKE_GUEST_H

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/virtqueue.h"

#define MIB   (1ull << 20)
#define UADDR 0x7f0000000000ull
#define GPA_B MIB
#define GPA_C (4096 * MIB)

#define DESC_GPA  0x1000
#define AVAIL_GPA 0x20000
#define USED_GPA  0x30000
#define DATA_GPA  0x80000 /* free for tests up to the end of B */

struct fake_guest {
    int fd;
    uint8_t *file;
    struct vgr_guestmem mem;
    struct vgr_vq vq;
    unsigned size;
    uint16_t avail_idx, used_seen;
};

static const struct vgr_mem_range fake_ranges[] = {
    {.gpa = 0, .size = MIB, .uaddr = UADDR, .offset = 0},
    {.gpa = GPA_B, .size = MIB, .uaddr = UADDR + GPA_B, .offset = 2 * MIB},
    {.gpa = GPA_C, .size = MIB, .uaddr = UADDR + GPA_C, .offset = MIB},
};

/* The guest's own view of its memory; never across a border. */
static inline void *guest_ptr(struct fake_guest *g, uint64_t gpa)
{
    for (int i = 0; i < 3; i++) {
        if (gpa >= fake_ranges[i].gpa && gpa - fake_ranges[i].gpa < MIB)
            return g->file + fake_ranges[i].offset + (gpa - fake_ranges[i].gpa);
    }
    assert(!"not guest memory");
    return NULL;
}

static inline void guest_init(struct fake_guest *g, unsigned size, uint16_t base, bool event_idx)
{
    memset(g, 0, sizeof(*g));
    g->fd = memfd_create("guest", MFD_CLOEXEC);
    assert(g->fd >= 0 && !ftruncate(g->fd, (off_t)(3 * MIB)));
    g->file = mmap(NULL, 3 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
    assert(g->file != MAP_FAILED);
    for (int i = 0; i < 3; i++)
        assert(!vgr_guestmem_add(&g->mem, &fake_ranges[i], dup(g->fd)));
    g->size = size;
    g->avail_idx = g->used_seen = base;
    *(uint16_t *)guest_ptr(g, AVAIL_GPA + 2) = base;
    *(uint16_t *)guest_ptr(g, USED_GPA + 2) = base;
    vgr_vq_init(&g->vq);
    g->vq.call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(!vgr_vq_start(&g->vq, &g->mem, size, UADDR + DESC_GPA, UADDR + AVAIL_GPA,
                         UADDR + USED_GPA, base, event_idx));
}

static inline void guest_finish(struct fake_guest *g)
{
    vgr_vq_finish(&g->vq);
    vgr_guestmem_clear(&g->mem);
    munmap(g->file, 3 * MIB);
    close(g->fd);
}

static inline void guest_desc(struct fake_guest *g, unsigned i, uint64_t addr, uint32_t len,
                              uint16_t flags, uint16_t next)
{
    struct vgr_vq_desc *d = guest_ptr(g, DESC_GPA);

    d[i] = (struct vgr_vq_desc){addr, len, flags, next};
}

static inline void guest_offer(struct fake_guest *g, uint16_t head)
{
    uint16_t *avail = guest_ptr(g, AVAIL_GPA);

    avail[2 + g->avail_idx % g->size] = head;
    __atomic_store_n(&avail[1], ++g->avail_idx, __ATOMIC_RELEASE);
}

/* The next used chain's head, its length in *len; -1: none. */
static inline int guest_used(struct fake_guest *g, uint32_t *len)
{
    uint16_t *used = guest_ptr(g, USED_GPA);
    uint32_t *elem = guest_ptr(g, USED_GPA + 4 + 8 * (g->used_seen % g->size));

    if (__atomic_load_n(&used[1], __ATOMIC_ACQUIRE) == g->used_seen)
        return -1;
    g->used_seen++;
    if (len)
        *len = elem[1];
    return (int)elem[0];
}

static inline uint16_t *guest_used_event(struct fake_guest *g)
{
    return guest_ptr(g, AVAIL_GPA + 4 + 2 * g->size);
}

static inline uint16_t *guest_avail_event(struct fake_guest *g)
{
    return guest_ptr(g, USED_GPA + 4 + 8 * g->size);
}

static inline bool guest_interrupted(struct fake_guest *g)
{
    uint64_t n;

    return read(g->vq.call_fd, &n, sizeof(n)) == sizeof(n);
}

#endif
