/* SPDX-License-Identifier: MIT
 *
 * vhost_queue.h - a virtqueue as vhost-user sets it up: piece by piece, in any order, and moved when
 * guest memory moves. It runs while everything that it needs is there.
 *
 * Chains are served until the loop's turn has done enough, and then on in the next: a guest that fills
 * its queue as fast as it is emptied keeps nobody from theirs.
 */
#ifndef VGR_DEVICE_VHOST_QUEUE_H
#define VGR_DEVICE_VHOST_QUEUE_H

#include "device/loop.h"
#include "device/vhost_msg.h"
#include "device/virtqueue.h"

/* What a chain costs at least, in entries that the loop is charged with: its place in the rings, a
 * command's header, a search or two in tables, an object made or freed, an answer. */
#define VGR_VHOST_CHAIN 64u

#define VGR_VHOST_QUEUE_RETRY_MS 1000u

struct vgr_vhost_queue {
    struct vgr_vq vq;
    struct vgr_loop *loop;
    const struct vgr_guestmem *mem;
    int index; /* for log lines */
    /* Serves a chain: pushes it now or later. */
    void (*serve)(struct vgr_vhost_queue *q, struct vgr_chain *c);
    /* Kicked, for the first time, and nothing is there. May be NULL. */
    void (*kicked_empty)(struct vgr_vhost_queue *q);
    struct vgr_watch kick;
    struct vgr_again again; /* there may be more chains */
    struct vgr_timer retry; /* of a start for which the host lacked memory or descriptors */
    int kick_fd;            /* owned, as the call descriptor in vq; -1: none */
    bool enabled;
    bool has_addr;
    bool broken;    /* not to be started before it is set up anew */
    bool was_empty; /* kicked_empty was called */
    bool event_idx; /* negotiated */
    bool resume;    /* the next start goes on where a predecessor stood */
    unsigned size;
    uint16_t base; /* the available index to start from; valid while stopped */
    struct vgr_vhost_vring_addr addr;
};

/* The other callbacks are the caller's to set. */
void vgr_vhost_queue_init(struct vgr_vhost_queue *q, struct vgr_loop *loop,
                          const struct vgr_guestmem *mem, int index);

/* Back to the state after init, callbacks kept. */
void vgr_vhost_queue_finish(struct vgr_vhost_queue *q);

/* Starts it as its fields say, and serves what is there; or has it rest, if it is not enabled: what is held can be
 * given back until it is stopped. 0; -EFAULT: the rings are not in
 * guest memory; other -errno. Errors are logged. What may pass, such as -ENOMEM, is tried again. */
int vgr_vhost_queue_update(struct vgr_vhost_queue *q);

/* Stops it; everything else stays as it was set up. */
void vgr_vhost_queue_stop(struct vgr_vhost_queue *q);

/* Stops it and forgets rings and kick, as GET_VRING_BASE asks. */
void vgr_vhost_queue_reset(struct vgr_vhost_queue *q);

/* Takes over `fd` (-1: none) as the kick or as the call descriptor. */
int vgr_vhost_queue_set_kick(struct vgr_vhost_queue *q, int fd);
void vgr_vhost_queue_set_call(struct vgr_vhost_queue *q, int fd);

#endif
