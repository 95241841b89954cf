/* SPDX-License-Identifier: MIT
 *
 * vhost.h - the vhost-user front: QEMU's vhost-user-gpu-pci, one VM at a time.
 *
 * Theory of operation
 * -------------------
 *
 * QEMU connects, negotiates, shares the guest's memory, hands over the two queues (control, cursor)
 * with an eventfd each way, and then only speaks again when memory or the guest's driver changes. A
 * malformed message ends the connection, never this process. When the connection ends, everything
 * of the VM is freed and the next QEMU may come.
 *
 * GET_VRING_BASE of the control queue is how a reset of the device, an unloaded driver and a paused
 * VM look from here; it ends all contexts. The guest may reuse their memory once it is answered, so
 * the answer waits until the workers are gone, VGR_VHOST_STOP_MS at most: QEMU stands still
 * meanwhile. RESET_DEVICE likewise. After that the guest still does not get back, by UNREF, what
 * such a worker has.
 *
 * A connection does not end with this process if there is a keeper (vhost_keep.h).
 *
 * Without shared memory QEMU runs and nothing works. What can be seen of that from here is said
 * once, in the log: no regions, rings outside of them, or a kick for a ring that stays empty.
 */
#ifndef VGR_DEVICE_VHOST_H
#define VGR_DEVICE_VHOST_H

#include "device/discard.h"
#include "device/gpu.h"
#include "device/keep.h"
#include "device/listen.h"
#include "device/vhost_msg.h"
#include "device/vhost_queue.h"

#define VGR_VHOST_QUEUES   2
#define VGR_VHOST_STOP_MS  2000u
#define VGR_VHOST_PROBE_MS 3000u

/* Of one connection; outlives a front (vhost_keep.h). */
struct vgr_vhost_record {
    uint32_t busy; /* a request of QEMU's is being received or served */
    uint32_t reserved;
    struct vgr_gpu_record gpu;
    struct vgr_vq_record queues[VGR_VHOST_QUEUES];
};

struct vgr_vhost {
    struct vgr_loop *loop;
    struct vgr_keep *keep;           /* NULL: nothing outlives us */
    struct vgr_vhost_record *record; /* NULL: no connection, or no keeper */
    int record_fd;
    struct vgr_listener listener; /* may not be there */
    struct vgr_discard refusal;   /* the connection of a second VM */
    struct vgr_log_limit log;     /* of lines about those */
    struct vgr_watch conn;        /* not watched while a stop waits for workers */
    struct vgr_timer stop_timer;
    struct vgr_timer probe_timer;
    int fd;        /* of the connection, -1: none */
    bool once;     /* the program ends with the connection */
    bool stopping; /* rx.msg is a request that waits to be answered */
    bool not_shared_said;
    int display_fd; /* QEMU's display socket: open, and never used */
    struct vgr_vhost_rx rx;
    struct vgr_guestmem mem;
    struct vgr_vhost_queue queues[VGR_VHOST_QUEUES];
    struct vgr_gpu gpu;
};

/* Serves QEMU on the listening socket `fd` bound to `path`, which it then owns; -1, NULL: without
 * one. 0 or -errno. */
int vgr_vhost_init(struct vgr_vhost *v, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                   const struct vgr_capset *capset, int fd, const char *path);

/* Serves the connected socket `fd`, which it then owns; its end ends the loop. 0, or -errno: it is
 * not a connected unix stream socket. */
int vgr_vhost_connect(struct vgr_vhost *v, int fd);

/* Has the keeper, which is open, keep each connection; takes over the one that is in `kept` unless that
 * is NULL. 0, or -errno: it cannot be taken over and nothing is touched. */
int vgr_vhost_set_keeper(struct vgr_vhost *v, struct vgr_keep *keep, struct vgr_kept *kept);

/* The keeper is another one, which keeps nothing yet. */
void vgr_vhost_keeper_renewed(struct vgr_vhost *v);

/* The program is about to end: tells all guests so and kills their workers. */
void vgr_vhost_ending(struct vgr_vhost *v);

/* Closes everything and removes the socket file. After vgr_worker_pool_finish(). A connection that a
 * keeper keeps stays open. */
void vgr_vhost_finish(struct vgr_vhost *v);

#endif
