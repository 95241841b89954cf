/* SPDX-License-Identifier: MIT
 *
 * line.h - the line between a worker and whoever stands between it and its guest.
 *
 * Theory of operation
 * -------------------
 *
 * A line is a pair of connected stream sockets. A byte to the worker is a doorbell, a byte from it is a
 * wake-up. What the bytes say does not matter, nor how many there are: whoever finds some looks at shared
 * memory.
 *
 * To take something from a socket wakes whoever waits at its other end, once for each piece that was sent, and a
 * call goes on for as long as pieces come. So whoever serves others takes a byte, which is of one piece.
 *
 * A worker may be in the hands of its guest, and the process at the other end serves others too. That one
 * must never wait for the worker, whatever the worker does to what they share. An eventfd cannot promise
 * that: its flags belong to both ends, so the worker can fill the counter, or empty it first, and make the
 * other end's next call block. Here each end has flags of its own, no end can hold a lock for which the
 * other one waits, and the calls below do not wait whatever the flags are.
 */
#ifndef VGR_COMMON_LINE_H
#define VGR_COMMON_LINE_H

/* Makes a line. Both ends are close-on-exec and non-blocking, and the caller's. Returns 0 or -errno. */
int vgr_line_make(int *ours, int *workers);

/* Rings. If the line is full, a ring is waiting there already, and if the other end is closed, nobody
 * listens: both are fine. Returns 0, or -errno: there was no memory, the ring is lost, and whoever sleeps at the
 * other end may sleep for ever. Never waits. Thread-safe. */
int vgr_line_ring(int end);

/* Takes a byte of what has come. Returns 1 if there was something, 0 if there was nothing, or no memory to look,
 * or -errno (-EPIPE: the other end is closed): then nothing comes any more, and the caller should stop
 * watching. Never waits. */
int vgr_line_take(int end);

#endif
