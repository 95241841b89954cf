/* SPDX-License-Identifier: MIT
 *
 * control.h - what a front writes into a context's control page: that it failed, and why.
 *
 * The page belongs to the guest and to the worker. The front writes it only when no worker can: the
 * arena was refused, or the worker is gone, or was just killed. It never acts on what it reads there.
 */
#ifndef VGR_DEVICE_CONTROL_H
#define VGR_DEVICE_CONTROL_H

#include <stddef.h>

#include "protocol/wire.h"

/* The part of struct vgr_control that tells of failure, same layout. */
struct vgr_failure {
    uint32_t state;
    uint32_t error;
    uint64_t error_seq;
    char error_text[VGR_CONTROL_TEXT];
};

#define VGR_FAILURE_OFFSET offsetof(struct vgr_control, state)
static_assert(offsetof(struct vgr_control, error) - VGR_FAILURE_OFFSET ==
                  offsetof(struct vgr_failure, error),
              "layout");
static_assert(offsetof(struct vgr_control, error_text) - VGR_FAILURE_OFFSET ==
                  offsetof(struct vgr_failure, error_text),
              "layout");

/* Access to one control page. Both return 0 or -errno. */
struct vgr_control_io {
    int (*read)(void *opaque, size_t offset, void *buf, size_t len);
    int (*write)(void *opaque, size_t offset, const void *buf, size_t len);
    void *opaque;
};

/* Writes state FAILED with `error` and `text`, unless the page says FAILED already: the first reason
 * is the true one. The state goes last, so that whoever sees it finds the text in place. */
void vgr_control_fail(const struct vgr_control_io *io, enum vgr_error error, const char *text);

/* The same for a page that lies at `offset` of the file `fd`. The page need not be mapped. */
void vgr_control_fail_file(int fd, uint64_t offset, enum vgr_error error, const char *text);

#endif
