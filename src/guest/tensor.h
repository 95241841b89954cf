/* SPDX-License-Identifier: MIT
 *
 * tensor.h - GGML's tensors as records of the wire format, and the buffers that hold them.
 */
#ifndef VGR_GUEST_TENSOR_H
#define VGR_GUEST_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/opcache.h"
#include "protocol/ggml_abi.h"
#include "protocol/wire.h"

struct vgr_device;
struct vgr_queue;

/* The context of our ggml_backend_buffer. */
struct vgr_buffer {
    struct vgr_queue *queue; /* of the device; its connection is held */
    struct vgr_device *device;
    uint32_t handle;
    uint64_t base; /* of its made-up addresses */
    uint64_t size; /* on the host: what was asked for, or more */
};

/* Where a tensor's data is on the host. */
struct vgr_place {
    uint32_t buffer; /* handle; 0: nowhere */
    uint64_t offset;
    uint64_t room; /* bytes from there to the end of the buffer */
};

/* The buffer in which a tensor lies, or NULL if that is none of ours. A view lies where the tensor does that it is
 * a view of, whatever it says of itself: so GGML has it. */
struct vgr_buffer *vgr_tensor_owner(const struct ggml_tensor *t);

/* Finds where a tensor's data begins. False if it has elements, but does not begin in a buffer of queue `q`. It
 * may extend past the end. */
bool vgr_tensor_place(const struct vgr_queue *q, const struct ggml_tensor *t,
                      struct vgr_place *place);

/* Fills a record with what a tensor says about itself: all but src, view_src and ESCAPES. A leaf
 * goes over the wire with op NONE and no parameters, whatever it was for the guest. */
void vgr_tensor_record(struct vgr_tensor *r, const struct ggml_tensor *t,
                       const struct vgr_place *place, bool leaf);

/* Puts a question about `op` on `device` into words. `as_leaf`: about its memory alone. False if it
 * cannot be asked, because it has function pointers for parameters. */
bool vgr_tensor_question(struct vgr_question *q, uint32_t device, const struct ggml_tensor *op,
                         bool as_leaf);

/* Copies a tensor on the host, in stream `stream` (0: none), if `dst` lies in a buffer of queue `q` and
 * `src` in one of the same connection, both are contiguous, of the same layout, and do not overlap.
 * The copy comes after all that the queues of both were given before, and before what they are given
 * later. Returns the command's number in `q`, 0 if it was not possible. */
uint64_t vgr_tensor_copy(struct vgr_queue *q, const struct ggml_tensor *src,
                         const struct ggml_tensor *dst, uint16_t stream);

#endif
