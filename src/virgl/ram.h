/* SPDX-License-Identifier: MIT
 *
 * ram.h - where in which file the guest's memory is.
 *
 * Resources come as pointers into the guest's memory, which the monitor has mapped. A worker can map
 * the same pages only if they belong to a file: /proc/self/maps tells which one a mapping shows, and
 * among the monitor's descriptors is one of that file. Memory that is not shared has none.
 */
#ifndef VGR_VIRGL_RAM_H
#define VGR_VIRGL_RAM_H

#include <stdint.h>
#include <sys/uio.h>

#include "worker/boot.h"

/* The pages of an arena: runs of files. */
struct vgr_ram {
    uint64_t size; /* sum of the runs */
    int files[VGR_BOOT_MAX_FILES];
    unsigned n_files;
    struct vgr_boot_run *runs;
    unsigned n_runs;
};

/* Finds the first `size` bytes (a multiple of 4096) behind `iov`. On success *ram has descriptors of
 * its own, for vgr_ram_free(). -EINVAL: the pieces are not made of pages, or are less than `size`;
 * -ENODEV: a piece is not in memory that a worker could map; -E2BIG: in too many files; else -errno.
 * Reads nothing of what the pointers point to. */
int vgr_ram_find(struct vgr_ram *ram, const struct iovec *iov, unsigned n, uint64_t size);

/* The same of a file of the caller's: `size` bytes from its start. Takes a duplicate of `fd`. */
int vgr_ram_of_file(struct vgr_ram *ram, int fd, uint64_t size);

void vgr_ram_free(struct vgr_ram *ram);

#endif
