/* SPDX-License-Identifier: MIT
 *
 * listen.h - listening unix sockets.
 */
#ifndef VGR_DEVICE_LISTEN_H
#define VGR_DEVICE_LISTEN_H

#include <stddef.h>
#include <sys/types.h>

#include "common/log.h"
#include "device/loop.h"

/* A connection that cannot be accepted for want of descriptors waits so long for the next attempt. */
#define VGR_LISTENER_RETRY_MS 500u

/* So many are accepted before others have their turn, or fewer, if the turn has done enough. */
#define VGR_LISTENER_TURN 16u

/* A listening socket in the loop. It is edge-triggered: who is left waiting does not spin us. */
struct vgr_listener {
    struct vgr_watch watch; /* -1: not there */
    struct vgr_timer retry;
    struct vgr_again again;
    unsigned accepted; /* since `ready` was called */
    struct vgr_loop *loop;
    const char *path;
    dev_t dev; /* with ino: the socket file, to be removed by us and nobody else's */
    ino_t ino;
    void (*ready)(struct vgr_listener *l); /* somebody waits: see vgr_listener_next() */
    bool failed;                           /* said already */
    struct vgr_log_limit log;              /* with one descriptor left, every other attempt fails */
};

/* Listens on `path` with a socket of `type` (SOCK_STREAM, SOCK_SEQPACKET), close-on-exec and
 * non-blocking. A socket file that nobody serves any more is replaced; one that is served, or a file
 * that is no socket, is left alone. The file gets the permissions `mode`, less those of the umask.
 * Returns the descriptor, or -errno with a sentence for people in `why`. */
int vgr_listen(const char *path, int type, mode_t mode, char *why, size_t why_size);

/* Serves the listening socket `fd`, which it then owns, bound to `path`. 0, or -errno: then both are gone. */
int vgr_listener_add(struct vgr_listener *l, struct vgr_loop *loop, int fd, const char *path,
                     void (*ready)(struct vgr_listener *l));

/* The next connection, -1: there is none, or none can be had now and `ready` is called again later. To
 * be called until then, or else when there is room for one more. */
int vgr_listener_next(struct vgr_listener *l);

/* Has `ready` called in `ms` milliseconds: the owner can take a connection that it has left waiting. No-op for
 * one that is not there. */
void vgr_listener_again(struct vgr_listener *l, uint32_t ms);

/* Closes it and removes the socket file, if that is still there. No-op for one that is not there. For the end of
 * the program: what clients have sent on connections that were not accepted is closed by a process of its own
 * (discard.h), which is not waited for. */
void vgr_listener_close(struct vgr_listener *l);

#endif
