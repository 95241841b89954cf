/* SPDX-License-Identifier: MIT
 *
 * fences.h - giving fences of our contexts back to the monitor.
 *
 * Theory of operation
 * -------------------
 *
 * A fence is done when it is queued here; the monitor learns of it through the callback that it gave
 * to virgl_renderer_init(). When and where that may be called depends on what it asked for:
 *
 *   asynchronous   from any thread: our own one calls it (service.c)
 *   synchronous    only on the thread of the monitor's that calls the renderer: in its next call of
 *                  virgl_renderer_poll(). QEMU polls every 10 ms while a fence is out; so where the
 *                  monitor lives in GLib's main loop, that loop is asked to call us at once
 *
 * The callback is never called with the bridge's lock held (the monitor has locks, too), nor inside of
 * the call that makes the fence (the monitor may not have put the fence where it looks for it).
 */
#ifndef VGR_VIRGL_FENCES_H
#define VGR_VIRGL_FENCES_H

#include <stdbool.h>
#include <stdint.h>

struct vgr_fence {
    struct vgr_fence *next;
    uint32_t ctx;
    uint32_t ring;
    uint64_t id;
};

typedef void vgr_fence_callback(void *cookie, uint32_t ctx, uint32_t ring, uint64_t fence);

/* From virgl_renderer_init(), on the monitor's thread. Without the bridge's lock, as all here that
 * does not say otherwise. */
void vgr_fences_start(vgr_fence_callback *callback, void *cookie, bool async);

/* Forgets what is queued. After it has returned the callback is not called any more, until
 * vgr_fences_start() or vgr_fences_resume(); what is done meanwhile is forgotten, too. */
void vgr_fences_stop(void);
void vgr_fences_resume(void);

/* NULL: no memory. Owned by the caller until it is done. */
struct vgr_fence *vgr_fence_new(uint32_t ctx, uint32_t ring, uint64_t id);

/* The fence is done; NULL is allowed. With the bridge's lock. */
void vgr_fence_done(struct vgr_fence *f);

/* Calls back what is due, on the monitor's thread, if that is the way. */
void vgr_fences_poll(void);

/* The same on the service thread, or has the monitor's thread do it. */
void vgr_fences_deliver(void);

#endif
