/* SPDX-License-Identifier: MIT
 *
 * gpu.h - the virtio-gpu device: the control queue's commands, contexts and resources of one VM.
 *
 * Theory of operation
 * -------------------
 *
 * No display, no rendering: a resource is a list of guest pages, a context is a worker process on
 * the pages of one resource (the arena), a submission opens that worker, rings its doorbell, or asks
 * to be woken by it (protocol/wire.h). Every command is answered at once, with three exceptions,
 * whose chains are held back:
 *
 *   SUBMIT_3D with VGR_SUBMIT_WAIT and a fence   until the worker wakes the guest, the context ends,
 *                                                or VGR_GPU_HOLD_MS are over: fences are hints
 *   RESOURCE_UNREF, DETACH_BACKING               of an arena: until its worker is gone. The guest
 *                                                reuses these pages as soon as it has the answer
 *
 * A front that takes over from one that died knows nothing of that one's contexts and resources, and the
 * guest's kernel nothing of the death: it goes on naming them, to give them back at the latest. What
 * only ends or rings something unknown is then answered with OK. The programs learn it from their
 * control pages, whose places outlive a front.
 *
 * What a command costs is bounded, and the event loop is charged with it, so that the queue's turn ends
 * in time: a page list with its entries, an OPEN with the runs of its list, also if it is refused.
 *
 * The guest's user space never sees an error response, so what it should know goes into the control
 * page of its arena; error responses show in the guest's kernel log only.
 */
#ifndef VGR_DEVICE_GPU_H
#define VGR_DEVICE_GPU_H

#include "common/log.h"
#include "device/guestmem.h"
#include "device/loop.h"
#include "device/pages.h"
#include "device/table.h"
#include "device/virtqueue.h"
#include "device/worker.h"
#include "protocol/wire.h"

#define VGR_GPU_MAX_CONTEXTS  1024u      /* of a VM, with or without a worker */
#define VGR_GPU_MAX_RESOURCES 4096u      /* of a VM */
#define VGR_GPU_MAX_ATTACHED  1024u      /* resources of one context */
#define VGR_GPU_MAX_PAGE_RUNS (1u << 20) /* of a VM, all resources together: 16 MiB here */
#define VGR_GPU_MAX_ENTRIES   (1u << 20) /* of one page list, however few runs they make */
#define VGR_GPU_HOLD_MS       1000u
#define VGR_GPU_GRACE_MS      1000u
#define VGR_GPU_MAX_LATE      32768u /* as many as a queue has descriptors */

struct vgr_gpu;
struct vgr_context;

/* A chain whose response is written but which the guest does not have back yet. */
struct vgr_held {
    bool used;
    uint16_t head;
    uint32_t len;
};

/* To UNREF or DETACH_BACKING of a resource that is not known any more: a worker that is dying may still have its
 * pages. */
struct vgr_late {
    struct vgr_late *next;
    struct vgr_held held;
};

struct vgr_resource {
    struct vgr_table_node node;
    struct vgr_pages pages;
    struct vgr_context *user; /* whose worker maps the pages */
    struct vgr_held detach;   /* DETACH_BACKING, waits for that worker's end */
    struct vgr_held unref;    /* RESOURCE_UNREF; the number counts as free, but is not yet */
    uint64_t attached[VGR_GPU_MAX_CONTEXTS / 64]; /* attach.h's: by the places of contexts */
};

/* The guest-physical addresses of control pages whose worker would go with us, each plus 1; 0: none. */
struct vgr_gpu_record {
    uint64_t pages[VGR_GPU_MAX_CONTEXTS];
};

struct vgr_gpu {
    struct vgr_gpu_record *record; /* shared with a successor, NULL: none; the owner's to set */
    struct vgr_log_limit log;      /* of lines that the guest can provoke */
    bool adopted;                  /* the driver began with a front that died */
    struct vgr_loop *loop;
    struct vgr_worker_pool *pool;
    const struct vgr_guestmem *mem;
    struct vgr_vq *vq; /* the control queue */
    struct vgr_capset capset;
    struct vgr_table contexts;
    struct vgr_context *places[VGR_GPU_MAX_CONTEXTS]; /* attach.h's: of those in the table */
    struct vgr_table resources;
    uint32_t n_page_runs;
    unsigned n_dying; /* contexts that are gone but for their worker process, and a dead front */
    struct vgr_late *late; /* answers that wait until there are none */
    unsigned n_late;
    struct vgr_timer timer;            /* ends the holding of fences */
    struct vgr_timer grace;            /* until a dead front's workers count as gone, too */
    void (*idle)(struct vgr_gpu *gpu); /* called when n_dying becomes 0 */
};

/* `vq` and `mem` stay the caller's. */
void vgr_gpu_init(struct vgr_gpu *gpu, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                  const struct vgr_capset *capset, const struct vgr_guestmem *mem,
                  struct vgr_vq *vq, void (*idle)(struct vgr_gpu *gpu));

/* After vgr_worker_pool_finish(): workers are gone. */
void vgr_gpu_finish(struct vgr_gpu *gpu);

/* The driver began with a front that has died: what it names and we do not know was there. The workers of that one
 * are about to be gone; for VGR_GPU_GRACE_MS they count as dying. */
void vgr_gpu_adopt(struct vgr_gpu *gpu);

/* Serves one chain of the control queue and pushes or holds it. */
void vgr_gpu_command(struct vgr_gpu *gpu, struct vgr_chain *c);

/* Ends all contexts and resources; tells the guest `why`. Workers are gone when gpu->n_dying is 0,
 * see `idle`. */
void vgr_gpu_reset(struct vgr_gpu *gpu, const char *why);

/* Tells all guests `why` and kills their workers, which are still there. */
void vgr_gpu_fail(struct vgr_gpu *gpu, const char *why);

/* Guest memory was taken away: ends the contexts whose arena was in it. */
void vgr_gpu_memory_removed(struct vgr_gpu *gpu);

/* ---- For context.c ---- */

/* Gives a held chain back to the guest. No-op if nothing is held. Notifying is the caller's. */
void vgr_gpu_release(struct vgr_gpu *gpu, struct vgr_held *held);

/* One of n_dying is gone. With the last of them, what waited for that is answered. */
void vgr_gpu_one_gone(struct vgr_gpu *gpu);

/* The worker on the resource's pages is gone: does what was waiting for that. May free it. */
void vgr_resource_unused(struct vgr_gpu *gpu, struct vgr_resource *res);

/* Has the timer look at held fences `ms` from now at the latest. */
void vgr_gpu_arm_timer(struct vgr_gpu *gpu, uint32_t ms);

#endif
