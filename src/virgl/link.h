/* SPDX-License-Identifier: MIT
 *
 * link.h - a context's worker, as the bridge sees it: a connection to the broker, a line to the worker, and
 * the fences that wait for it.
 *
 * A link is made by the monitor's thread when a context opens its arena and is freed by the service
 * thread when the worker is gone, which may be after the context, or the whole machine, has ended.
 * Until then the worker may have the arena's pages mapped. All functions want the bridge's lock, but
 * for vgr_links_serve().
 */
#ifndef VGR_VIRGL_LINK_H
#define VGR_VIRGL_LINK_H

#include "common/cost.h"
#include "device/loop.h"
#include "protocol/wire.h"
#include "virgl/fences.h"
#include "virgl/ram.h"

/* A fence is held for a WAIT this long: it is a hint (context.h of the device). */
#define VGR_LINK_HOLD_MS 1000u

struct vgr_bridge_context;
struct vgr_bridge_resource;

struct vgr_link {
    struct vgr_watch conn;   /* to the broker; the service thread's */
    struct vgr_watch wakeup; /* of `line` */
    struct vgr_watch end;    /* of `process`, once the broker is gone before it */
    struct vgr_timer grace;  /* the same, if it could not say which process that is */
    int process;             /* a pidfd of the worker; -1 until the broker has sent it */
    int line; /* to the worker: doorbells go, wake-ups come; -1 until the broker has sent it */
    struct vgr_cost ring_cost, take_cost; /* of the line; the second is the service thread's */
    struct vgr_link *prev, *next;
    struct vgr_ram ram;        /* the runs until they are sent, the files for the control page */
    struct vgr_boot_run first; /* where the control page is */
    uint32_t id;               /* the guest's number of the context, for log lines */
    bool guest_ram;            /* the arena is the guest's memory, no blob */
    bool started;              /* the service thread has seen it */
    bool greeted;              /* by the broker */
    bool announced;            /* the broker has started a worker */
    bool refused;              /* or said that it does not */
    bool ending;               /* the worker shall end */
    struct vgr_bridge_context *context; /* NULL: it has ended */
    struct vgr_bridge_resource *arena;  /* NULL: its memory may not be written any more */
    struct vgr_fence *wait;             /* held until the worker wakes the guest */
    uint64_t wait_until;                /* vgr_now_ms() */
    struct vgr_fence *life;             /* held until the worker is gone */
    bool woken;                         /* a wake-up that no fence was held for */
    bool rung;                          /* before there was a line */
};

/* How many links there may be, and as many blobs of ours: VGR_BRIDGE_MAX_CONTEXTS, or less, so that a guest
 * has not more than a third of the descriptors that the monitor could have when it was started. */
unsigned vgr_links_limit(void);
bool vgr_links_full(void);

/* A link on the arena at `ram`, which it owns from then on. NULL: no memory or no descriptors. */
struct vgr_link *vgr_link_new(struct vgr_bridge_context *context, struct vgr_bridge_resource *arena,
                              struct vgr_ram *ram);

/* Rings the worker's doorbell. */
void vgr_link_doorbell(struct vgr_link *link);

/* Holds a fence until the worker's next wake-up; an older one is done. The caller kicks the service. */
void vgr_link_wait(struct vgr_link *link, struct vgr_fence *f);

/* Ends the worker. `link` is gone some time later. */
void vgr_link_end(struct vgr_link *link);

/* The context is gone: its wait is over, the worker ends. */
void vgr_link_leave(struct vgr_link *link);

/* The machine is reset: forgets all fences, ends all workers. */
void vgr_links_reset(void);

/* May a worker have the guest's memory mapped? */
bool vgr_links_have_ram(void);

/* The service thread: starts new links. Takes the lock. */
void vgr_links_serve(struct vgr_loop *loop);

/* The service thread: gives back fences held for too long. When to come again, in ms; 0: never. */
uint32_t vgr_links_expire(void);

#endif
