/* SPDX-License-Identifier: MIT
 *
 * direct.h - the direct front: a unix socket and a memfd instead of a VM (protocol/wire.h).
 *
 * Each client is one context. It hands over an arena and a line and then talks to its worker by these
 * alone; the front only notices when one of the two goes away, and tells the client by a notice on the
 * connection. Clients are not trusted: the front looks at their message and never takes their descriptors,
 * which only their worker receives (worker/boot.h), and a client that says nothing loses its connection.
 */
#ifndef VGR_DEVICE_DIRECT_H
#define VGR_DEVICE_DIRECT_H

#include "common/log.h"
#include "device/listen.h"
#include "device/worker.h"
#include "protocol/wire.h"

/* Serves a bridge of a virtual machine in the same way: then it is a broker (common/broker.h). */

/* How long a client may take to say OPEN. */
#define VGR_DIRECT_SILENCE_MS 10000u

/* When the worker must have taken the message of a client, and nothing else may be left. Until then a queue
 * that is not empty may be the message; from then on every byte ends the context. */
#define VGR_DIRECT_TAKEN_MS 30000u

struct vgr_direct_client;

struct vgr_direct {
    struct vgr_listener listener;
    struct vgr_loop *loop;
    struct vgr_worker_pool *pool;
    struct vgr_capset capset;
    struct vgr_log_limit log; /* of lines that clients can provoke */
    struct vgr_direct_client *first;
    unsigned n_clients;
    uint32_t taken_ms; /* VGR_DIRECT_TAKEN_MS */
    bool broker;
};

/* Serves the listening SOCK_STREAM socket `fd`, which it then owns, bound to `path`. Returns 0 or -errno. */
int vgr_direct_init(struct vgr_direct *d, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                    const struct vgr_capset *capset, int fd, const char *path, bool broker);

/* Closes everything and removes the socket file. Workers were ended before
 * (vgr_worker_pool_finish()). */
void vgr_direct_finish(struct vgr_direct *d);

#endif
