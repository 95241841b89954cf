/* SPDX-License-Identifier: MIT
 *
 * virtqueue.h - split virtqueues (Virtual I/O Device 1.3, section 2.7), device side.
 *
 * Theory of operation
 * -------------------
 *
 * The driver puts heads of descriptor chains into the available ring, the device takes them with
 * vgr_vq_pop(), and gives each back once with vgr_vq_push(), in any order and at any later time.
 * INDIRECT_DESC and EVENT_IDX are always understood: QEMU lets guests negotiate them unasked.
 *
 * Everything in the rings is the guest's. Each descriptor is copied once and translated; a chain
 * that loops, is longer than its table, points outside of memory or mixes up directions is reported
 * as one bad chain. Impossible ring positions make the queue unusable until it is started anew.
 *
 * The two races of notification suppression, and what closes them:
 *
 *   device                                  driver
 *   avail_event = last seen                 avail.idx = new
 *   (full barrier)                          (full barrier)
 *   read avail.idx again                    read avail_event: kick or not
 *
 *   used.idx = new                          used_event = wanted
 *   (full barrier)                          (full barrier)
 *   read used_event: notify or not          read used.idx again
 *
 * A device can die between any two instructions, and its successor must give back each chain once.
 * So which chains are taken stands in a record that outlives it. A mark there is what takes a chain:
 * the position in the available ring follows from the used ring's and the number of marks. A chain is
 * given back by the used ring's index, and its mark goes afterwards; `last` and `used_idx` tell the
 * successor whether one was about to go.
 */
#ifndef VGR_DEVICE_VIRTQUEUE_H
#define VGR_DEVICE_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "device/guestmem.h"

#define VGR_VQ_MAX_SIZE 32768u
/* Descriptors of one indirect table: `next` reaches no further. A page list of 4 GiB in single pages
 * takes 16 MiB of entries, which Linux scatters over 4096 descriptors. */
#define VGR_VQ_MAX_INDIRECT (64u << 10)
/* Bytes of one chain, those to read and those to write: such a page list twice over. */
#define VGR_VQ_MAX_BYTES (32u << 20)

struct vgr_vq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags; /* VGR_DESC_* */
    uint16_t next;
};

enum { VGR_DESC_NEXT = 1, VGR_DESC_WRITE = 2, VGR_DESC_INDIRECT = 4 };

/* Shared with a successor: written by one process at a time. */
struct vgr_vq_record {
    uint16_t used_idx;             /* marks are right for this index of the used ring */
    uint16_t last;                 /* the head pushed last */
    uint8_t held[VGR_VQ_MAX_SIZE]; /* by head: 1: popped and not pushed */
};

struct vgr_vq {
    const struct vgr_guestmem *mem;
    struct vgr_vq_record *record; /* NULL: none; the owner's to set while stopped */
    unsigned redo;                /* heads from here on may have been held by the predecessor */
    bool running;
    bool event_idx;
    unsigned size;
    struct vgr_vq_desc *desc;
    uint16_t *avail; /* flags, idx, ring[size], used_event */
    uint16_t *used;  /* flags, idx, {id32, len32}[size], avail_event */
    uint16_t last_avail;
    uint16_t used_idx;
    uint16_t signalled;  /* used_idx at the last decision to notify */
    int call_fd;         /* eventfd of the driver's interrupt, -1: none */
    uint64_t work;       /* descriptors and pieces of them looked at, ever */
    uint64_t interrupts; /* sent, ever */
    struct iovec *iov;   /* of the chain popped last */
    size_t iov_cap;
};

/* The readable and the writable part of a chain, each consumed from its start. Valid until the next
 * vgr_vq_pop(); only `head` may be kept. */
struct vgr_chain {
    uint16_t head;
    const struct iovec *in, *out; /* next piece to read, to write */
    size_t n_in, n_out;           /* pieces left */
    size_t in_off, out_off;       /* in the next piece */
    uint64_t in_left;             /* readable bytes left */
    uint32_t written;
};

void vgr_vq_init(struct vgr_vq *q);
void vgr_vq_finish(struct vgr_vq *q);

/* Starts the queue on rings at QEMU's addresses, from available index `base`. -EINVAL: size is not a
 * power of two up to VGR_VQ_MAX_SIZE or an address is not aligned; -EFAULT: not in guest memory. */
int vgr_vq_start(struct vgr_vq *q, const struct vgr_guestmem *mem, unsigned size, uint64_t desc,
                 uint64_t avail, uint64_t used, uint16_t base, bool event_idx);

/* As vgr_vq_start(), where a predecessor stood as the record tells: vgr_vq_pop() begins with the chains
 * that it held. Needs a record. */
int vgr_vq_resume(struct vgr_vq *q, const struct vgr_guestmem *mem, unsigned size, uint64_t desc,
                  uint64_t avail, uint64_t used, bool event_idx);

/* Forgets the rings; pushes are ignored from now on. */
void vgr_vq_stop(struct vgr_vq *q);

/* Takes the next chain. 1: got one; 0: nothing there; -EBADMSG: got only a head, the chain is bad
 * and should be pushed back with length 0; -ENOMEM: likewise, there is no memory to take it; -EPROTO: the rings
 * are unusable. */
int vgr_vq_pop(struct vgr_vq *q, struct vgr_chain *c);

/* Gives a chain back, `len` bytes of its writable part filled. The driver learns of it at the next
 * vgr_vq_notify(). */
void vgr_vq_push(struct vgr_vq *q, uint16_t head, uint32_t len);

/* Interrupts the driver if it asked to hear of what was pushed since the last call. */
void vgr_vq_notify(struct vgr_vq *q);

/* Asks for a kick at the next chain. Returns true if there is one already. */
bool vgr_vq_rearm(struct vgr_vq *q);

/* True if the driver has never made anything available. */
bool vgr_vq_untouched(const struct vgr_vq *q);

/* Copies the next `len` readable bytes; returns how many there were. */
size_t vgr_chain_read(struct vgr_chain *c, void *buf, size_t len);

/* Fills the next `len` writable bytes; returns how many there was room for. */
size_t vgr_chain_write(struct vgr_chain *c, const void *buf, size_t len);

#endif
