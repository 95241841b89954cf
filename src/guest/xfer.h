/* SPDX-License-Identifier: MIT
 *
 * xfer.h - tensor data between the program's memory and a buffer on the host.
 *
 * Large transfers go in pieces, so that copying on both ends overlaps and no transfer needs more
 * room than the heap has. Where the program's memory lies in the arena itself, in a host buffer,
 * nothing is copied: downloads go there, and uploads are read from there if they may be (`borrow`). `stream` is a stream's handle, or 0 for the device's plain calls. On a
 * failed connection uploads do nothing and downloads give zeros.
 */
#ifndef VGR_GUEST_XFER_H
#define VGR_GUEST_XFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/conn.h"

/* `n` rows of `size` bytes: row i is at offset + i * stride there, at data + i * pitch here. */
struct vgr_rows {
    uint32_t buffer;
    uint16_t stream;
    uint64_t offset;
    size_t size;
    size_t n;
    size_t stride;
    size_t pitch;
    bool borrow; /* upload: data stays as it is until a wait for the result of vgr_xfer_set() */
};

/* Uploads. Returns 0 if `data` is not needed any more, else the number of the command that is the
 * last to read it (`borrow` only). */
uint64_t vgr_xfer_set(struct vgr_queue *q, struct vgr_rows rows, const void *data);

/* Starts downloads. `data` is filled in once vgr_queue_wait() for the returned number has returned;
 * 0: the connection failed, and data is all zeros. */
uint64_t vgr_xfer_get(struct vgr_queue *q, struct vgr_rows rows, void *data);

/* Fills `len` bytes with `value`. */
void vgr_xfer_memset(struct vgr_queue *q, uint32_t buffer, uint64_t offset, uint64_t len,
                     uint8_t value);

#endif
