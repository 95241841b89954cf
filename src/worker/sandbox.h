/* SPDX-License-Identifier: MIT
 *
 * sandbox.h - what a worker gives up, because it is to be taken for its guest's.
 *
 * Theory of operation
 * -------------------
 *
 * GGML's kernels can be made to write where the guest likes (docs/security.md), so the worker holds as
 * little as it can do its work with. It gives up the rest in two stages.
 *
 * Before the GPU libraries load (sandbox.c, sandbox_files.c), while the process has one thread: what
 * Linux keeps per thread and a later thread inherits. Limits, empty namespaces, the user,
 * capabilities, and files by landlock. Landlock and capabilities could not wait: the libraries start
 * threads, some with all signals blocked, and code that runs in one thread runs in them all.
 *
 * After the GPU libraries are up and before the first byte of the guest is read (sandbox_calls.c):
 * system calls by seccomp, which the kernel can put on all threads at once.
 *
 * Which calls and which files those are is in sandbox_table.h.
 *
 * What this machine cannot do is noted in the sandbox and left out, but strict mode needs landlock and
 * seccomp. The front has a worker try it all once at its start and say what is missing.
 */
#ifndef VGR_WORKER_SANDBOX_H
#define VGR_WORKER_SANDBOX_H

#include <stdbool.h>

#include "common/log.h"
#include "worker/boot.h"

#define VGR_SANDBOX_NOTES 16

struct vgr_sandbox {
    const struct vgr_boot_sandbox *config;        /* the caller's */
    char notes[VGR_SANDBOX_NOTES][128];           /* what was done, and what could not be */
    enum vgr_log_level levels[VGR_SANDBOX_NOTES]; /* DEBUG: done; INFO, WARN: not done */
    unsigned n_notes;
};

/* First stage; to be called in a process of one thread. Sets no_new_privs, ends the process with its
 * parent and makes it the kernel's first choice where memory ends, in every mode. Returns 0, or -errno after
 * an error line: then the worker must not go on. */
int vgr_sandbox_begin(struct vgr_sandbox *sb, const struct vgr_boot_sandbox *config);

/* Second stage, for a worker with `n_devices` devices. `refused` is called from a signal handler, in any
 * thread, when strict mode stops a system call that it does not know; it must not return. Returns as above. */
int vgr_sandbox_finish(struct vgr_sandbox *sb, unsigned n_devices, void (*refused)(int nr));

/* Logs the notes: each at its level, or all at debug level. */
void vgr_sandbox_tell(const struct vgr_sandbox *sb, bool as_debug);

/* Shared by the two halves of the first stage. */
__attribute__((format(printf, 3, 4))) void
vgr_sandbox_note(struct vgr_sandbox *sb, enum vgr_log_level level, const char *fmt, ...);
int vgr_sandbox_files(struct vgr_sandbox *sb);

/* Leaves descriptors for `n_devices` devices besides those that are open. Returns 0 or -errno. */
int vgr_sandbox_limit_files(unsigned n_devices);

#endif
