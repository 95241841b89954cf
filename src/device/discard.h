/* SPDX-License-Identifier: MIT
 *
 * discard.h - closing a client's connection without waiting for what is in it.
 *
 * A client can send descriptors that nobody receives. They are closed with the connection, and the last
 * close of a descriptor takes as long as its owner has arranged: a TCP socket lingers for hours if it is
 * told to. So a connection with something in its queue is left to a process of its own, whose end closes
 * it.
 */
#ifndef VGR_DEVICE_DISCARD_H
#define VGR_DEVICE_DISCARD_H

#include "device/loop.h"

/* All 0: nothing is being closed. */
struct vgr_discard {
    struct vgr_loop *loop;  /* NULL: nothing is being closed */
    int fd;                 /* as long as there can be no process; -1 */
    struct vgr_watch watch; /* the process */
    struct vgr_timer retry; /* until there can be one */
    void (*done)(struct vgr_discard *d);
};

/* Closes `fd`, a SOCK_STREAM socket that no other process has, and charges the loop with it. Returns true if
 * that is done. False: `done` is called from the loop when it is, and may free `d`; until then `d` serves no
 * other. Never waits. From the loop's thread, as all of this. */
bool vgr_discard(struct vgr_discard *d, struct vgr_loop *loop, int fd,
                 void (*done)(struct vgr_discard *d));

static inline bool vgr_discard_busy(const struct vgr_discard *d)
{
    return d->loop;
}

/* For the end of the program, without `done`: waits a second at most for the process. What cannot be closed
 * is closed with this process, which does not linger either. No-op for one that is not busy. */
void vgr_discard_finish(struct vgr_discard *d);

/* Closes `fd` in this way at the end of the program: also a listening socket, with the connections that wait
 * to be accepted and what is in these. */
void vgr_discard_last(int fd);

#endif
