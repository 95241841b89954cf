/* SPDX-License-Identifier: MIT
 *
 * Buffers on the host. Their addresses are made up: a base that no program can map, distinct for
 * each buffer, so that GGML's arithmetic on tensor addresses works and following one faults.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/device.h"
#include "guest/log.h"
#include "guest/tensor.h"
#include "guest/xfer.h"

/* Not canonical on any 64-bit machine; handles are at most 16 bits, numbers of queues 4. */
#define BASE          (UINT64_C(1) << 62)
#define NUMBER_SHIFT  58
#define BASE_SHIFT    42
#define SIZE_MAX_HERE ((UINT64_C(1) << BASE_SHIFT) - 1)

static struct vgr_rows one_row(const struct ggml_tensor *t, size_t offset, size_t size)
{
    struct vgr_buffer *b = vgr_tensor_owner(t);
    uint64_t at = (uint64_t)(uintptr_t)t->data - b->base + offset;

    return (struct vgr_rows){
        .buffer = b->handle,
        .offset = at,
        .room = at <= b->size ? b->size - at : 0,
        .size = size,
        .n = 1,
    };
}

/* ---- Buffer ---- */

void vgr_buffer_free(ggml_backend_buffer_t buffer)
{
    struct vgr_buffer *b = buffer->context;
    struct vgr_queue *q = b->queue;
    struct vgr_cmd_handle cmd = {.h.op = VGR_CMD_BUFFER_FREE, .handle = b->handle};

    if (vgr_queue_lock(q)) {
        vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
        /* The handle may be taken again at once: the ring keeps the order. Graphs that name it are
         * dead from here on. */
        __atomic_fetch_add(&q->buffer_epoch[b->handle], 1, __ATOMIC_RELAXED);
        vgr_handles_give(&q->buffers, b->handle);
        vgr_queue_publish(q);
        vgr_queue_unlock(q);
    }
    vgr_conn_release(q->conn);
    free(b);
}

static void *buffer_get_base(ggml_backend_buffer_t buffer)
{
    return (void *)(uintptr_t)((struct vgr_buffer *)buffer->context)->base;
}

static enum ggml_status buffer_init_tensor(ggml_backend_buffer_t buffer, struct ggml_tensor *t)
{
    struct vgr_buffer *b = buffer->context;
    struct vgr_cmd_init_tensor cmd = {.h.op = VGR_CMD_INIT_TENSOR};
    struct vgr_place place;

    if (!ggml_is_quantized(t->type) || t->view_src ||
        vgr_device_alloc_size(b->device, t) <= ggml_nbytes(t) ||
        !vgr_tensor_place(b->queue, t, &place))
        return GGML_STATUS_SUCCESS;
    if (vgr_device_alloc_size(b->device, t) > place.room) {
        vgr_say_error("%s: tensor '%.64s' extends past the end of its buffer", b->device->name,
                      t->name);
        return GGML_STATUS_FAILED;
    }
    vgr_tensor_record(&cmd.tensor, t, &place, true);
    if (!vgr_queue_lock(b->queue))
        return GGML_STATUS_FAILED;
    vgr_queue_push(b->queue, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_unlock(b->queue);
    return GGML_STATUS_SUCCESS;
}

static void buffer_memset_tensor(ggml_backend_buffer_t buffer, struct ggml_tensor *t, uint8_t value,
                                 size_t offset, size_t size)
{
    vgr_xfer_memset(((struct vgr_buffer *)buffer->context)->queue, one_row(t, offset, size), value);
}

static void buffer_set_tensor(ggml_backend_buffer_t buffer, struct ggml_tensor *t, const void *data,
                              size_t offset, size_t size)
{
    vgr_xfer_set(((struct vgr_buffer *)buffer->context)->queue, one_row(t, offset, size), data);
}

static void buffer_get_tensor(ggml_backend_buffer_t buffer, const struct ggml_tensor *t, void *data,
                              size_t offset, size_t size)
{
    struct vgr_queue *q = ((struct vgr_buffer *)buffer->context)->queue;
    uint64_t seq = vgr_xfer_get(q, one_row(t, offset, size), data);

    if (seq)
        vgr_queue_wait(q, seq);
}

static void buffer_set_tensor_2d(ggml_backend_buffer_t buffer, struct ggml_tensor *t,
                                 const void *data, size_t offset, size_t size, size_t n_copies,
                                 size_t stride_tensor, size_t stride_data)
{
    struct vgr_rows r = one_row(t, offset, size);

    r.n = n_copies;
    r.stride = stride_tensor;
    r.pitch = stride_data;
    vgr_xfer_set(((struct vgr_buffer *)buffer->context)->queue, r, data);
}

static void buffer_get_tensor_2d(ggml_backend_buffer_t buffer, const struct ggml_tensor *t,
                                 void *data, size_t offset, size_t size, size_t n_copies,
                                 size_t stride_tensor, size_t stride_data)
{
    struct vgr_queue *q = ((struct vgr_buffer *)buffer->context)->queue;
    struct vgr_rows r = one_row(t, offset, size);
    uint64_t seq;

    r.n = n_copies;
    r.stride = stride_tensor;
    r.pitch = stride_data;
    seq = vgr_xfer_get(q, r, data);
    if (seq)
        vgr_queue_wait(q, seq);
}

static bool buffer_cpy_tensor(ggml_backend_buffer_t buffer, const struct ggml_tensor *src,
                              struct ggml_tensor *dst)
{
    return vgr_tensor_copy(((struct vgr_buffer *)buffer->context)->queue, src, dst, 0) != 0;
}

static void buffer_clear(ggml_backend_buffer_t buffer, uint8_t value)
{
    struct vgr_buffer *b = buffer->context;

    vgr_xfer_memset(
        b->queue,
        (struct vgr_rows){.buffer = b->handle, .room = b->size, .size = buffer->size, .n = 1},
        value);
}

static const struct ggml_backend_buffer_i buffer_iface = {
    .free_buffer = vgr_buffer_free,
    .get_base = buffer_get_base,
    .init_tensor = buffer_init_tensor,
    .memset_tensor = buffer_memset_tensor,
    .set_tensor = buffer_set_tensor,
    .get_tensor = buffer_get_tensor,
    .set_tensor_2d = buffer_set_tensor_2d,
    .get_tensor_2d = buffer_get_tensor_2d,
    .cpy_tensor = buffer_cpy_tensor,
    .clear = buffer_clear,
};

/* ---- Buffer type ---- */

static const char *buft_get_name(ggml_backend_buffer_type_t buft)
{
    return ((struct vgr_device *)buft->context)->name;
}

static size_t buft_get_alignment(ggml_backend_buffer_type_t buft)
{
    return ((struct vgr_device *)buft->context)->info.alignment;
}

static size_t buft_get_max_size(ggml_backend_buffer_type_t buft)
{
    uint64_t size = ((struct vgr_device *)buft->context)->info.max_size;

    return size < SIZE_MAX_HERE ? size : SIZE_MAX_HERE;
}

static size_t buft_get_alloc_size(ggml_backend_buffer_type_t buft, const struct ggml_tensor *t)
{
    return vgr_device_alloc_size(buft->context, t);
}

/* Asks the host for memory. Returns the handle and the size there, 0 if there is none. */
static uint32_t alloc_on_host(struct vgr_queue *q, struct vgr_device *d, size_t size,
                              uint64_t *real)
{
    struct vgr_cmd_alloc cmd = {
        .h.op = VGR_CMD_BUFFER_ALLOC, .h.flags = VGR_CMD_F_AWAIT, .device = d->index, .size = size};
    struct vgr_alloc_reply reply = {0};
    uint32_t block;
    uint64_t seq = 0;

    if (!vgr_queue_lock(q))
        return 0;
    cmd.buffer = vgr_handles_take(&q->buffers);
    if (cmd.buffer && vgr_queue_alloc(q, sizeof(reply), &cmd.reply_off, &block))
        seq = vgr_queue_get(q, &cmd, sizeof(cmd), block, cmd.reply_off, sizeof(reply), &reply);
    vgr_queue_unlock(q);
    if (!cmd.buffer)
        vgr_say_error("%s: no more than %u buffers at once", d->name, q->buffers.max);
    if (seq && vgr_queue_wait(q, seq) && reply.ok && reply.size >= size) {
        *real = reply.size;
        return cmd.buffer;
    }

    if (cmd.buffer && vgr_queue_lock(q)) {
        vgr_handles_give(&q->buffers, cmd.buffer);
        vgr_queue_unlock(q);
    }
    return 0;
}

static ggml_backend_buffer_t buft_alloc_buffer(ggml_backend_buffer_type_t buft, size_t size)
{
    struct vgr_device *d = buft->context;
    struct vgr_conn *c;
    struct vgr_buffer *b;
    uint32_t handle;
    uint64_t real = 0;

    if (size > buft_get_max_size(buft))
        return NULL;
    c = vgr_conn_hold_working(d->host);
    if (!c)
        return NULL;
    b = malloc(sizeof(*b));
    handle = b ? alloc_on_host(c->queue[d->index], d, size, &real) : 0;
    if (!handle) {
        free(b);
        vgr_conn_release(c);
        return NULL;
    }
    *b = (struct vgr_buffer){
        .queue = c->queue[d->index],
        .device = d,
        .handle = handle,
        .base = BASE + ((uint64_t)c->queue[d->index]->number << NUMBER_SHIFT) +
                ((uint64_t)handle << BASE_SHIFT),
        .size = real,
    };
    return ggml_backend_buffer_init(buft, buffer_iface, b, size);
}

void vgr_buft_init(struct vgr_device *d)
{
    d->buft = (struct ggml_backend_buffer_type){
        .iface =
            {
                .get_name = buft_get_name,
                .alloc_buffer = buft_alloc_buffer,
                .get_alignment = buft_get_alignment,
                .get_max_size = buft_get_max_size,
                .get_alloc_size = buft_get_alloc_size,
            },
        .device = &d->dev,
        .context = d,
    };
}
