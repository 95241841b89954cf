/* SPDX-License-Identifier: MIT
 *
 * handover.h - what a client hands over by a unix socket: descriptors, and with them an arena.
 *
 * Clients are not trusted. Every descriptor that comes is kept here or closed; an arena is accepted
 * only if a worker can map what it claims to be. It is never mapped in this process, where a hole in
 * it would be fatal.
 */
#ifndef VGR_DEVICE_HANDOVER_H
#define VGR_DEVICE_HANDOVER_H

#include <sys/types.h>

#include "device/broker.h"
#include "device/worker.h"

struct vgr_handover {
    int fds[VGR_BROKER_MAX_FDS]; /* the first: the arena's file or its runs, see below */
    unsigned n_fds;              /* that came; more than fit were closed */
    struct vgr_arena arena;
    struct vgr_boot_run *runs; /* arena.runs */
};

enum { VGR_HANDOVER_DOORBELL = 1, VGR_HANDOVER_WAKEUP = 2 }; /* indices in fds[] */

#define VGR_HANDOVER_LEAST 3u /* descriptors come with every message */

/* Receives one message of up to `size` bytes into `buf` with its descriptors, without waiting. Returns
 * the length, or -errno; *cut: it or its descriptors did not fit. */
ssize_t vgr_handover_receive(struct vgr_handover *h, int conn, void *buf, size_t size, bool *cut);

/* Makes the arena of a direct client: one sealed memfd, doorbell, wake-up. NULL, or what is wrong. */
const char *vgr_handover_direct(struct vgr_handover *h, uint64_t size);

/* Makes the arena of a bridge, by its message (broker.h). NULL, or what is wrong. */
const char *vgr_handover_broker(struct vgr_handover *h, const struct vgr_broker_open *open);

/* Tells the guest in its control page that it has failed and wakes it. The arena must be made. */
void vgr_handover_fail(const struct vgr_handover *h, enum vgr_error error, const char *text);

/* Closes all. */
void vgr_handover_free(struct vgr_handover *h);

#endif
