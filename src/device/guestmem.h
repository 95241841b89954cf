/* SPDX-License-Identifier: MIT
 *
 * guestmem.h - the guest's memory, as QEMU shares it: regions of files, mapped here.
 *
 * Two kinds of addresses come in. Guest-physical ones (gpa) stand in descriptors and page lists and
 * are the guest's to choose: every range is checked, and one may reach over the border of two
 * adjacent regions, which are not adjacent here. User addresses are QEMU's own and name the rings.
 *
 * Bytes read from here can change at any time. Callers copy once and use the copy.
 */
#ifndef VGR_DEVICE_GUESTMEM_H
#define VGR_DEVICE_GUESTMEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VGR_GUESTMEM_REGIONS 32

/* As in the vhost-user messages SET_MEM_TABLE and ADD_MEM_REG. */
struct vgr_mem_range {
    uint64_t gpa;
    uint64_t size;
    uint64_t uaddr;
    uint64_t offset; /* in the file */
};

struct vgr_mem_region {
    struct vgr_mem_range range;
    uint8_t *hva;
    int fd;
    dev_t dev; /* with ino: which file, however many descriptors name it */
    ino_t ino;
};

struct vgr_guestmem {
    struct vgr_mem_region regions[VGR_GUESTMEM_REGIONS];
    unsigned n;
};

/* Maps a region. Owns `fd` from then on, but not if it fails: -EINVAL for a range that overlaps
 * another, is empty, wraps, is not made of pages or not inside of its file; -ENOSPC: no slot;
 * otherwise -errno of mmap. */
int vgr_guestmem_add(struct vgr_guestmem *m, const struct vgr_mem_range *range, int fd);

/* Unmaps the region with this gpa, size and uaddr. -ENOENT: there is none. */
int vgr_guestmem_remove(struct vgr_guestmem *m, const struct vgr_mem_range *range);

void vgr_guestmem_clear(struct vgr_guestmem *m);

/* The region that holds the guest-physical address, or NULL. */
const struct vgr_mem_region *vgr_guestmem_find(const struct vgr_guestmem *m, uint64_t gpa);

/* Where `len` bytes at `gpa` begin here, and in *avail how many of them lie in one piece (at least
 * 1). NULL: not guest memory. */
uint8_t *vgr_guestmem_at(const struct vgr_guestmem *m, uint64_t gpa, uint64_t len, uint64_t *avail);

/* Where `len` bytes at QEMU's address `uaddr` are here, in one piece; NULL: they are not. */
void *vgr_guestmem_user(const struct vgr_guestmem *m, uint64_t uaddr, uint64_t len);

/* Copies. 0, or -EFAULT if any byte is outside (some may have been copied then). */
int vgr_guestmem_read(const struct vgr_guestmem *m, uint64_t gpa, void *buf, size_t len);
int vgr_guestmem_write(const struct vgr_guestmem *m, uint64_t gpa, const void *buf, size_t len);

#endif
