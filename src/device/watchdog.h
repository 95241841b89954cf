/* SPDX-License-Identifier: MIT
 *
 * watchdog.h - ends contexts whose graph runs for too long.
 *
 * Theory of operation
 * -------------------
 *
 * A worker that computes sits in GGML, or in a GPU's driver that hangs, and cannot watch itself. It
 * notes in its page of counters (worker/counts.h) since when it has been computing and how many
 * graphs it is waiting for. The front looks there: a graph that it has not seen running began after
 * the last look, so looking once in the length of the limit, and once more when a running one is due,
 * finds each at its time. While no worker lives nobody looks.
 *
 * A worker that is due is killed, and the guest learns why when it is gone, so that its memory is there
 * for what the guest does next. One that does not die, stuck in its driver, is not waited for: the
 * guest is told after VGR_WATCHDOG_GRACE_MS.
 *
 * A device that runs behind is waited for once for several graphs; each of them has the limit's time.
 *
 * A worker that was taken over by its guest can say that it is idle. What bounds it then is what
 * bounds every process: the scheduler, and the operator.
 */
#ifndef VGR_DEVICE_WATCHDOG_H
#define VGR_DEVICE_WATCHDOG_H

#include "device/worker.h"

#define VGR_WATCHDOG_GRACE_MS 500u
#define VGR_WATCHDOG_TURN     32u /* workers looked at in one turn of the loop */

struct vgr_watchdog {
    struct vgr_timer timer;
    struct vgr_again again; /* in the middle of a look at all workers */
    struct vgr_worker_pool *pool;
    struct vgr_loop *loop;
    uint64_t limit_ns;
    uint32_t number;  /* in the middle: of the worker looked at last */
    uint64_t next_ns; /* when to look again, for all as far as they were looked at */
};

/* Watches the workers that `pool` starts from now on, with `limit_ms` for a graph. */
void vgr_watchdog_init(struct vgr_watchdog *d, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                       uint32_t limit_ms);
void vgr_watchdog_finish(struct vgr_watchdog *d);

/* For worker.c: there is a worker. */
void vgr_watchdog_started(struct vgr_watchdog *d);

#endif
