/* SPDX-License-Identifier: MIT
 *
 * pages.h - page lists: the backing of a virtio-gpu resource, from guest-physical pieces to the file
 * ranges that a worker maps.
 *
 * A guest describes a resource by pieces of guest-physical memory, one per page when its memory is
 * fragmented. Adjacent pieces are merged as they come in. They are turned into file ranges only when
 * a worker is started on the resource, and checked then, against the memory that the guest has then.
 */
#ifndef VGR_DEVICE_PAGES_H
#define VGR_DEVICE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "device/guestmem.h"
#include "device/worker.h"

struct vgr_page_run {
    uint64_t gpa;
    uint64_t len;
};

struct vgr_pages {
    struct vgr_page_run *runs;
    uint32_t n, cap;
    uint64_t size; /* sum */
};

/* Appends a piece. 0, -EINVAL (empty or wrapping) or -ENOMEM. */
int vgr_pages_add(struct vgr_pages *p, uint64_t gpa, uint32_t len);

void vgr_pages_free(struct vgr_pages *p);

/* True if all of it is guest memory. Looks at each run. */
bool vgr_pages_present(const struct vgr_pages *p, const struct vgr_guestmem *m);

/* Turns the first `size` bytes (a multiple of 4096) into `arena`, whose files are borrowed from `m`
 * and whose runs the caller frees. -EFAULT: a page is not in guest memory; -EINVAL: pieces are not
 * made of pages, or are less than `size`; -E2BIG: more than `max_runs` runs or VGR_BOOT_MAX_FILES
 * files; -ENOMEM. */
int vgr_pages_to_arena(const struct vgr_pages *p, const struct vgr_guestmem *m, uint64_t size,
                       unsigned max_runs, struct vgr_arena *arena);

#endif
