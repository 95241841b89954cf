/* SPDX-License-Identifier: MIT
 *
 * handover.h - what a client of a socket hands over: descriptors, and with them an arena, a direct client also
 * a line.
 *
 * The front has looked at the message, not at the descriptors, which are still in the connection's queue.
 * They may be anything: a call on one of them can wait for its owner for ever (a file system in user space
 * answers fstat(), and is asked at close()). That is why this happens in the worker. Here, too, the kind of
 * a descriptor is found out by questions that its file system is not asked, before anything else is done
 * with it, so that an honest mistake is told and does not hang.
 *
 * The client is still trusted in nothing: an arena is accepted only if mapping it cannot fail later.
 */
#ifndef VGR_WORKER_HANDOVER_H
#define VGR_WORKER_HANDOVER_H

#include <stdbool.h>

#include "common/broker.h"
#include "worker/boot.h"

struct vgr_handover {
    int fds[VGR_BROKER_MAX_FDS]; /* all that came; more than fit were closed */
    unsigned n_fds;
    int line; /* of a direct client, else -1; among fds[], as are the files */
    const int *files;
    uint32_t n_files;
    struct vgr_boot_run *runs;
    uint32_t n_runs;
};

/* Receives the message that is in the queue of `conn` and checks its descriptors; the arena must be one of
 * boot->arena_size bytes. Returns NULL, or what is wrong in words. To be freed in both cases. */
const char *vgr_handover_receive(struct vgr_handover *h, int conn, const struct vgr_boot *boot);

/* Tells the client that it is refused. */
void vgr_handover_refuse(int conn, const char *why);

/* Closes all that came. */
void vgr_handover_free(struct vgr_handover *h);

#endif
