/* SPDX-License-Identifier: MIT
 *
 * transport.h - how the arena, the doorbell and the wake-up get through to the host.
 *
 * Two transports exist: a virtio-gpu render node, and the unix socket of the direct front. Both
 * give the same three things, and nothing behind them knows which one it is.
 */
#ifndef VGR_GUEST_TRANSPORT_H
#define VGR_GUEST_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/wire.h"

struct vgr_transport {
    const struct vgr_transport_ops *ops;
    struct vgr_capset capset;
    uint8_t *arena; /* NULL until arena() */
    uint64_t arena_size;
    int fd;            /* render node or socket */
    int line;          /* direct: doorbells go, wake-ups come; -1 */
    int workers;       /* direct: the worker's end of it, until it is sent; -1 */
    int memory;        /* direct: memfd; -1 */
    int fence;         /* drm: of a sleep that was not answered yet; -1 */
    uint32_t resource; /* drm: of the arena */
    uint32_t bo;       /* drm: of the arena */
    bool bridged;      /* drm: a device for graphics, with a bridge (protocol/wire.h) */
    bool claimed;      /* drm: bridged, and its context is ours */
    bool rings;        /* drm: bridged, and its fences are the context's own */
    bool blob;         /* drm: the arena is a blob of the host's */
};

/* All return 0 or -errno unless said otherwise. doorbell, sleep and alive may be called by several
 * threads at once (sleep by one at a time). */
struct vgr_transport_ops {
    const char *name;
    bool alive_is_quick; /* alive() only looks, it does not ask */
    bool sleep_is_cheap; /* sleep() is a plain system call, and the wake-up another */
    /* Allocates the arena, zeroed and mapped. -ETIMEDOUT: nobody is there to do so. */
    int (*arena)(struct vgr_transport *t, uint64_t size);
    /* Hands the arena, with its hello filled in, to the host. */
    int (*open)(struct vgr_transport *t);
    /* Wakes the worker. */
    int (*doorbell)(struct vgr_transport *t);
    /* Sleeps until the worker wakes the guest or the time is over, whichever it was: the caller
     * looks at shared memory and decides. May return early for no reason. */
    void (*sleep)(struct vgr_transport *t, int64_t timeout_ns);
    /* Is there still someone at the other end? May take a few seconds to find out. */
    bool (*alive)(struct vgr_transport *t);
    /* Gives back the arena only, so that another size can be tried. */
    void (*drop)(struct vgr_transport *t);
    /* Gives back everything. Never fails. */
    void (*close)(struct vgr_transport *t);
};

#define VGR_NODE_SIZE 64u /* of a render node's path */

/* A device's render node. */
struct vgr_node {
    char path[VGR_NODE_SIZE]; /* when it was found */
    /* Its folder in sysfs, which it keeps when its driver is bound anew. "": not known. */
    char device[256];
};

/* Looks for devices: their render nodes, `max` at most, in order. Returns their number; if there is
 * none but one that might be and cannot be used, it says why. */
unsigned vgr_transport_drm_find(struct vgr_node *nodes, unsigned max);

/* Connects to the device at `node`. -errno if it is none, or not any more. */
int vgr_transport_drm(struct vgr_transport *t, const struct vgr_node *node);

/* Connects to the direct front's socket at `path`. -errno after saying why. */
int vgr_transport_direct(struct vgr_transport *t, const char *path);

#endif
