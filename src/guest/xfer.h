/* SPDX-License-Identifier: MIT
 *
 * xfer.h - tensor data between the program's memory and a buffer on the host.
 *
 * Large transfers go in pieces, so that copying on both ends overlaps and no transfer needs more
 * room than the heap has. Where the program's memory lies in the arena itself, in a host buffer,
 * nothing is copied: downloads go there, and uploads are read from there if they may be (`borrow`).
 *
 * Where the connection has failed, or the rows do not lie in the buffer, uploads do nothing and downloads give
 * zeros. The host would end the connection for such rows; here they are said once.
 */
#ifndef VGR_GUEST_XFER_H
#define VGR_GUEST_XFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/conn.h"

/* `n` rows of `size` bytes: row i is at offset + i * stride there, at data + i * pitch here. */
struct vgr_rows {
    uint32_t buffer; /* handle; 0: none */
    uint16_t stream; /* handle; 0: the device's plain calls */
    uint64_t offset;
    uint64_t room; /* bytes from `offset` to the end of the buffer */
    size_t size;
    size_t n;
    size_t stride;
    size_t pitch;
    bool borrow; /* upload: data stays as it is until a wait for the result of vgr_xfer_set() */
};

/* Uploads. Returns 0 if `data` is not needed any more, else the number of the command that is the
 * last to read it (`borrow` only). */
uint64_t vgr_xfer_set(struct vgr_queue *q, struct vgr_rows rows, const void *data);

/* Starts downloads. Returns the number of the last command that was sent, also if the connection
 * failed after it, or 0 if none was sent: then `data` is zeros. The library writes to `data` until
 * vgr_queue_wait() for that number has returned; what did not arrive by then is zeros, but for rows
 * in a host buffer, which are as the host left them. */
uint64_t vgr_xfer_get(struct vgr_queue *q, struct vgr_rows rows, void *data);

/* Fills the rows, of which there is one, with `value`. */
void vgr_xfer_memset(struct vgr_queue *q, struct vgr_rows rows, uint8_t value);

#endif
