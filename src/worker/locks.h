/* SPDX-License-Identifier: MIT
 *
 * locks.h - the locks of a shader cache, for the libraries of a worker.
 *
 * NVIDIA's libraries lock the files of their cache by fcntl(F_SETLK), and without a lock they do not use it:
 * CUDA then compiles all its kernels anew in each worker, for 40 s. The sandbox has to refuse such locks, for
 * they are parts of a file and their number has no limit (sandbox_table.c). It allows an exclusive one of
 * flock(), of which there is one at a time. So vgr-worker has an fcntl() of its own, which the loader finds before
 * libc's. In a sandbox it makes of the lock of a file one of flock(), also of a lock to read: whoever is kept from
 * reading by another reader would take the cache for damaged, so it waits for a second. That fcntl()'s locks and
 * flock()'s do not exclude each other does not matter: in a sandbox the cache is shared by workers of one VM, all
 * of which are in theirs.
 *
 * A lock whose part of the file does not begin at 0 goes to the kernel as it is.
 */
#ifndef VGR_WORKER_LOCKS_H
#define VGR_WORKER_LOCKS_H

/* From now on, in all threads. To be called while there is one. */
void vgr_locks_by_flock(void);

#endif
