/* SPDX-License-Identifier: MIT
 *
 * sandbox_split.h - long reads and writes, made in parts.
 *
 * A process that is killed finishes the system calls that it is in, and the kernel copies 2 GiB between a file in
 * memory and the process without a look at its signals. Meanwhile the front, or a monitor, may give an arena's
 * pages back to the guest's kernel. So no call of a worker's copies more than VGR_SANDBOX_PART bytes: longer ones,
 * and those of several buffers, whose lengths a filter cannot see, the kernel stops with SIGSYS, and the handler
 * makes them in parts. Whoever made the call does not notice, unless it is a thread that blocks SIGSYS: the kernel
 * ends the process then. None of the drivers that were tried does that: NVIDIA's reads its cache of kernels so.
 */
#ifndef VGR_WORKER_SANDBOX_SPLIT_H
#define VGR_WORKER_SANDBOX_SPLIT_H

#include <stdbool.h>
#include <ucontext.h>

#define VGR_SANDBOX_PART 0x20000 /* bytes */

/* In a handler of SIGSYS: makes call `nr` of the interrupted context in parts and gives that its result. False: it
 * is none of those. Async-signal-safe. */
bool vgr_sandbox_split(int nr, ucontext_t *context);

/* The arguments of the call that was stopped, and the place of its result; NULL on a processor that this file does
 * not know, where nothing is split. */
struct vgr_sandbox_call {
    unsigned long arg[6];
};
bool vgr_sandbox_stopped_call(const ucontext_t *context, struct vgr_sandbox_call *call);

#endif
