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

/* Closes `conn`, a SOCK_STREAM socket that no other process has, connected or listening (with the connections
 * that wait to be accepted, and what is in these). Returns 0 if that is done. A positive
 * number is the pidfd of a process that is about to do it: the caller gives it to vgr_discard_end() once it
 * is readable. -errno: there can be no process, and `conn` is still open and the caller's, who tries again
 * later. Never waits. */
int vgr_discard(int conn);

/* Reaps the process behind the pidfd, which has ended, and closes the pidfd. */
void vgr_discard_end(int pidfd);

/* For the end of the program: the same, after a second at most for the process to end. No-op for a pidfd that
 * is none (vgr_discard() has returned 0 or -errno). */
void vgr_discard_finish(int pidfd);

#endif
