/* SPDX-License-Identifier: MIT
 *
 * context.h - one virtio-gpu context: its worker, its doorbell, its fence.
 *
 * A context is made by each guest process that opens the render node, ours or not. It gets a worker
 * with VGR_SUBMIT_OPEN, once. Wake-ups of the worker come on its line: one that finds no fence
 * held is remembered, and completes the next VGR_SUBMIT_WAIT at once, so none is lost whichever of
 * the two comes first. A spurious one costs the guest a look at its sequence number.
 */
#ifndef VGR_DEVICE_CONTEXT_H
#define VGR_DEVICE_CONTEXT_H

#include "common/cost.h"
#include "device/gpu.h"

struct vgr_context {
    struct vgr_table_node node;
    struct vgr_gpu *gpu;
    unsigned place;             /* attach.h's, as is the next: while in the table */
    unsigned n_attached;        /* resources */
    bool opened;                /* VGR_SUBMIT_OPEN came: not again */
    bool destroyed;             /* not in the table any more; is freed when the worker is gone */
    struct vgr_resource *arena; /* whose pages the worker has */
    uint64_t *noted;            /* in gpu->record; NULL: not there */
    struct vgr_worker worker;
    struct vgr_watch line; /* wake-ups come */
    int line_fd;           /* doorbells go; closed once the worker is gone */
    struct vgr_cost cost;  /* of calls on that */
    bool woken;            /* a wake-up that no fence was held for */
    struct vgr_held fence;
    uint64_t fence_until; /* vgr_now_ms() */
    uint64_t n_submits;   /* for the debug log at the end */
};

/* A context without a worker, or NULL (no memory). */
struct vgr_context *vgr_context_new(struct vgr_gpu *gpu);

/* Ends it: completes its fence, kills its worker. The object is freed now or when the worker is gone
 * (gpu->n_dying counts it meanwhile). The caller has taken it out of the table. */
void vgr_context_destroy(struct vgr_context *c);

/* Starts the worker on the first `size` bytes of the resource. Returns 0 also if that is refused and
 * the guest's control page says why; -EINVAL if it cannot even be told. */
int vgr_context_open(struct vgr_context *c, struct vgr_resource *res, uint64_t size);

/* Rings the worker's doorbell. */
void vgr_context_doorbell(struct vgr_context *c);

/* A fence is to be completed at the next wake-up. Returns where the caller puts the chain to hold,
 * or NULL: give it back now. An older fence is completed. */
struct vgr_held *vgr_context_wait(struct vgr_context *c);

/* Kills the worker and tells the guest why: `error` and `text` go into the control page, unless a
 * reason is there already. */
void vgr_context_fail(struct vgr_context *c, enum vgr_error error, const char *text);

/* Tells `why` to the contexts of a front that died, of which gpu->record knows, and forgets them. Returns how
 * many there were. */
unsigned vgr_context_adopt(struct vgr_gpu *gpu, const char *why);

/* Completes a fence that is due at `now`. Returns when the fence still held is due, 0: none. */
uint64_t vgr_context_expire(struct vgr_context *c, uint64_t now);

#endif
