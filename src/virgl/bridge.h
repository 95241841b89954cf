/* SPDX-License-Identifier: MIT
 *
 * bridge.h - libvgr-virgl.so: contexts and resources of a virtual machine's virtio-gpu that are ours.
 *
 * Theory of operation
 * -------------------
 *
 * The library stands before virglrenderer in a monitor's process (QEMU, crosvm ...). It adds a trailer
 * to a capset, by which a guest sees that it is there (protocol/wire.h), and takes over the contexts
 * that guests claim: no command of theirs reaches virglrenderer any more. All others pass through.
 *
 *   real      calls       the real library, and the table of its functions
 *   hooks     capset      the functions that look whose a context or resource is; the trailer
 *   bridge                contexts and resources that are ours
 *   submit    ram         reading a submission; finding the guest's memory
 *   link                  a context's connection to the broker, and its fences
 *   service               our own thread, which does all that takes time
 *   fences                giving fences back
 *
 * Everything a guest can choose is hostile: numbers, sizes, the order of commands. And the monitor's
 * thread, on which all hooks run, stands still for nobody: what could wait (connecting, a worker's
 * answers) is the service thread's. One lock guards all of it, held for microseconds and never across
 * a callback or a call of the real library.
 *
 * There is one exception: when pages of the guest's memory are taken away from a context whose worker
 * still has them mapped, or the machine is reset, the monitor waits for the worker's end,
 * VGR_BRIDGE_PATIENCE_MS at most, since the guest uses them for something else next. Guests of good
 * will never make it wait: their arena is a blob of ours, or is held by a fence until the worker is gone.
 */
#ifndef VGR_VIRGL_BRIDGE_H
#define VGR_VIRGL_BRIDGE_H

#include <pthread.h>

#include "common/log.h"
#include "device/table.h"
#include "protocol/wire.h"
#include "virgl/calls.h"

#define VGR_BRIDGE_MAX_CONTEXTS 256u                /* with a worker, of all guest processes */
#define VGR_BRIDGE_MAX_ATTACHED 64u                 /* resources of one of them */
#define VGR_BRIDGE_MAX_BLOB     (UINT64_C(8) << 30) /* bytes, of all blobs of ours together */
#define VGR_BRIDGE_PATIENCE_MS  2000u

struct vgr_link;

/* What the guest's memory, or a blob of ours, is to a context. Resources of graphics are here, too,
 * while they have backing: nobody knows yet what they are for. */
struct vgr_bridge_resource {
    struct vgr_table_node node;
    const struct iovec *iov; /* the monitor's, valid while attached; NULL: a blob of ours */
    unsigned n_iov;
    int memfd;     /* the blob's, else -1 */
    uint64_t size; /* of the blob */
    uint32_t ctx;  /* that made the blob */
    void *mapped;  /* by vgr_bridge_map() */
    struct vgr_link *user;
};

struct vgr_bridge_context {
    struct vgr_table_node node;
    uint32_t capset;
    bool claimed;
    bool waits; /* the submission before was a WAIT */
    bool opens; /* it was an OPEN */
    uint32_t attached[VGR_BRIDGE_MAX_ATTACHED];
    unsigned n_attached;
    struct vgr_link *link; /* to its worker, NULL before OPEN and after the end */
};

/* The bridge's lock, and what is signalled when a worker is gone. */
extern pthread_mutex_t vgr_bridge_lock;
extern pthread_cond_t vgr_bridge_changed;

/* For lines that a guest can cause. With the lock. */
extern struct vgr_log_limit vgr_bridge_log;

/* All below are called on the monitor's thread, without the lock, and take it. */

/* A context of graphics exists now, of this capset. */
void vgr_bridge_context_made(uint32_t ctx, uint32_t capset);

/* True: it was ours and is gone; its worker is being ended. */
bool vgr_bridge_context_destroy(uint32_t ctx);

bool vgr_bridge_is_ours(uint32_t ctx);

/* A submission. 1: it is graphics'. 0 or an errno: it was for us. *claim: the context has just become
 * ours, the real one is to be destroyed. */
int vgr_bridge_submit(uint32_t ctx, const void *buffer, int n_words, bool *claim);

/* A fence on a ring of a context. False: not ours. */
bool vgr_bridge_fence(uint32_t ctx, uint32_t ring, uint64_t id, int *result);

/* A resource is attached to a context, or detached. False: the call is graphics'. */
bool vgr_bridge_attach(uint32_t ctx, uint32_t res);
bool vgr_bridge_detach(uint32_t ctx, uint32_t res);

/* Makes a blob of ours. False: it is not to be one. */
bool vgr_bridge_blob(const struct vgr_virgl_blob_args *args, int *result);

/* Is it a blob of ours? `size` may be NULL. */
bool vgr_bridge_is_blob(uint32_t id, uint64_t *size);

/* A blob of ours: a duplicate of its memfd, mapping it at a place of our or (`at`) of the caller's
 * choice, and undoing the former. All return 0 (or the descriptor), -errno, or -ENOENT: it is none. */
int vgr_bridge_blob_fd(uint32_t id);
int vgr_bridge_map(uint32_t id, void *at, void **map, uint64_t *size);
int vgr_bridge_unmap(uint32_t id);

/* A resource has backing in the guest's memory. */
void vgr_bridge_backed(uint32_t id, const struct iovec *iov, unsigned n);

/* It is about to lose it: nobody of ours uses it when this returns (see above). */
void vgr_bridge_unbacked(uint32_t id);

/* True: it was a blob of ours and is gone. */
bool vgr_bridge_unref(uint32_t id);

/* May this blob, of whomever, not be mapped? A machine was reset while a blob of ours with this number
 * was mapped, and the monitor has not unmapped it. QEMU 10 then still has it in the guest's address
 * space, and aborts when a second one of that number comes. */
bool vgr_bridge_is_lost(uint32_t id);

/* The machine is reset, which the renderer may hear of much later: QEMU 10 tells it when the guest's next
 * driver begins, which is when that guest has long been using its memory. Ends all workers, and waits
 * for those that have some of it. Contexts and resources stay, until vgr_bridge_reset(). */
void vgr_bridge_machine_reset(void);

/* Ends all there is: the renderer is reset, or ends. */
void vgr_bridge_reset(void);

#endif
