/* SPDX-License-Identifier: MIT
 *
 * commands.c - one function per command of wire.h.
 *
 * Theory of operation
 * -------------------
 *
 * vgr_ctx_dispatch() finds the command in a table that also knows the length of its record, so a
 * handler may read its struct without looking at sizes again. Handlers see a private copy. They
 * check handles and ranges, then call GGML. Tensor data is not looked at: a range of a buffer is
 * handed to GGML as a run of bytes (vgr_tensor_bytes), whatever tensors the guest keeps there.
 *
 * Order. Commands that name a stream run on it, in order. Commands that do not use plain calls of
 * GGML, which know nothing of streams: dirty streams are waited for first. What comes from another
 * queue is waited for by a command of its own (queue.h).
 */
#include <string.h>

#include "common/log.h"
#include "protocol/codec.h"
#include "worker/context.h"
#include "worker/dma.h"
#include "worker/graph.h"
#include "worker/queue.h"
#include "worker/tensor.h"

/* The buffer, if [offset, offset + len) lies in it; else NULL after vgr_ctx_fail(). */
static struct vgr_host_buffer *buffer_range(struct vgr_ctx *c, uint32_t handle, uint64_t offset,
                                            uint64_t len)
{
    struct vgr_host_buffer *b = vgr_ctx_buffer(c, handle);

    if (b && (offset > b->size || len > b->size - offset)) {
        vgr_ctx_fail(c, VGR_ERROR_RANGE, "%llu bytes at %llu are outside buffer %u of %llu bytes",
                     (unsigned long long)len, (unsigned long long)offset, handle,
                     (unsigned long long)b->size);
        return NULL;
    }
    return b;
}

/* The heap range of a SET or GET, or NULL after vgr_ctx_fail(). */
static void *heap_data(struct vgr_ctx *c, const struct vgr_cmd_data *m)
{
    void *data = vgr_arena_heap(&c->arena, m->data_off, m->len);

    if (!data)
        vgr_ctx_fail(c, VGR_ERROR_RANGE, "data at %u of %u bytes is not in the heap", m->data_off,
                     m->len);
    return data;
}

/* Room for a reply in the heap, or NULL after vgr_ctx_fail(). */
static void *reply_at(struct vgr_ctx *c, uint32_t off, size_t size)
{
    void *p = vgr_arena_heap(&c->arena, off, size);

    if (!p || off % 8) {
        vgr_ctx_fail(c, VGR_ERROR_RANGE, "a reply at %u is not in the heap", off);
        return NULL;
    }
    vgr_counts_add(c->counts, VGR_COUNTER_DOWNLOAD_BYTES, size);
    return p;
}

static int cmd_sync(struct vgr_ctx *c, const void *cmd)
{
    (void)cmd;
    vgr_ctx_sync(c);
    return 0;
}

static int cmd_stream_open(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_stream *m = cmd;
    struct vgr_host_stream *s;

    if (vgr_ctx_device(c, m->device))
        return -1;
    if (!m->stream || m->stream > VGR_CTX_MAX_STREAMS)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "stream handle %u is out of range", m->stream);
    s = &c->streams[m->stream];
    if (s->backend)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "stream %u is open already", m->stream);
    s->device = m->device;
    s->backend = vgr_backends_stream(&c->backends, m->device, &c->arena);
    if (!s->backend)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "the host cannot open a stream");
    return 0;
}

static int cmd_stream_close(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_stream *m = cmd;
    struct vgr_host_stream *s = vgr_ctx_stream(c, m->stream);

    if (!s)
        return -1;
    vgr_ctx_sync(c);
    if (c->last_run[s->device] == m->stream)
        c->last_run[s->device] = 0;
    ggml_backend_free(s->backend);
    s->backend = NULL;
    return 0;
}

/* The other stream is waited for here, where nobody but this context waits. */
static int cmd_stream_wait(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_stream_wait *m = cmd;

    if (!vgr_ctx_stream(c, m->stream) || !vgr_ctx_stream(c, m->other))
        return -1;
    if (c->streams[m->other].dirty || c->routed == m->other)
        vgr_ctx_sync(c);
    return 0;
}

/* A guest may ask again and again: one line each. */
static void tell_refusal(struct vgr_ctx *c, uint64_t size, const char *why)
{
    vgr_counts_add(c->counts, VGR_COUNTER_ALLOCS_REFUSED, 1);
    vgr_log(__atomic_exchange_n(&c->memory->told, true, __ATOMIC_RELAXED) ? VGR_LOG_DEBUG
                                                                          : VGR_LOG_WARN,
            "no %llu bytes of device memory for the guest: %s", (unsigned long long)size, why);
}

static int cmd_buffer_alloc(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_alloc *m = cmd;
    struct vgr_alloc_reply reply = {0};
    struct vgr_host_buffer *b;
    void *at = reply_at(c, m->reply_off, sizeof(reply));
    const char *why;

    if (!at || vgr_ctx_device(c, m->device))
        return -1;
    if (!m->buffer || m->buffer > VGR_CTX_MAX_BUFFERS || c->buffers[m->buffer].buffer)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "buffer handle %u is in use or out of range",
                            m->buffer);
    if (!m->size || m->usage > GGML_BACKEND_BUFFER_USAGE_COMPUTE)
        return vgr_ctx_fail(c, VGR_ERROR_COMMAND, "an empty buffer, or one of unknown usage");

    b = &c->buffers[m->buffer];
    b->buffer = vgr_memory_alloc(c->memory, &c->backends.device[m->device], m->size, &why);
    if (b->buffer) {
        b->base = ggml_backend_buffer_get_base(b->buffer);
        b->size = ggml_backend_buffer_get_size(b->buffer);
        b->device = m->device;
        vgr_counts_add(c->counts, VGR_COUNTER_BUFFER_BYTES, b->size);
        ggml_backend_buffer_set_usage(b->buffer, (enum ggml_backend_buffer_usage)m->usage);
        /* Nobody may see what was there before. */
        vgr_tensor_fill(b, 0, 0, b->size);
        reply.ok = 1;
        reply.size = b->size;
    } else {
        tell_refusal(c, m->size, why);
    }
    memcpy(at, &reply, sizeof(reply));
    return 0;
}

static int cmd_buffer_free(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_handle *m = cmd;
    struct vgr_host_buffer *b = vgr_ctx_buffer(c, m->handle);

    if (!b)
        return -1;
    vgr_ctx_sync(c);
    vgr_graph_end_in(c, m->handle);
    vgr_memory_free(c->memory, b->buffer);
    vgr_counts_add(c->counts, VGR_COUNTER_BUFFER_BYTES, -b->size);
    b->buffer = NULL;
    return 0;
}

/* The stream that a data command names; *s is NULL for 0. Waits for what must come before. */
static int data_stream(struct vgr_ctx *c, uint32_t handle, uint32_t device,
                       struct vgr_host_stream **s)
{
    *s = NULL;
    if (handle) {
        *s = vgr_ctx_stream(c, handle);
        if (!*s)
            return -1;
        if ((*s)->device != device)
            return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "stream %u is not of the buffer's device",
                                handle);
    }
    vgr_ctx_order(c, handle);
    return 0;
}

/* Uploads through `stream` of an asynchronous device, if the data can be staged. */
static bool set_staged(struct vgr_ctx *c, uint32_t stream, struct ggml_tensor *t, const void *data,
                       uint32_t len)
{
    struct vgr_host_stream *s = &c->streams[stream];
    struct vgr_host_device *d = &c->backends.device[s->device];

    if (!d->staging_base || len > VGR_STAGING_SIZE / 4)
        return false;
    vgr_ctx_order(c, stream);
    if (len > VGR_STAGING_SIZE - d->staging_used)
        vgr_ctx_sync(c);
    ggml_backend_tensor_set_async(s->backend, t, vgr_backends_stage(d, data, len), 0, len);
    vgr_ctx_mark_dirty(c, s);
    vgr_counts_add(c->counts, VGR_COUNTER_UPLOADS_STAGED, 1);
    return true;
}

static int set_bytes(struct vgr_ctx *c, const struct vgr_cmd_data *m, const void *data)
{
    struct vgr_host_buffer *b = buffer_range(c, m->buffer, m->offset, m->len);
    uint32_t route = b && !m->stream ? c->last_run[b->device] : m->stream;
    struct vgr_host_stream *s;
    struct ggml_tensor t;

    if (!b)
        return -1;
    vgr_counts_add(c->counts, VGR_COUNTER_UPLOAD_BYTES, m->len);
    if (!m->len)
        return 0;
    vgr_tensor_bytes(&t, b, m->offset, m->len);
    if (!m->stream && route && set_staged(c, route, &t, data, m->len)) {
        c->routed = route;
        return 0;
    }
    if (data_stream(c, m->stream, b->device, &s))
        return -1;
    if (s && set_staged(c, m->stream, &t, data, m->len))
        return 0;
    /* GGML's plain call returns when the data is used; no need to keep it. */
    vgr_ctx_sync(c);
    ggml_backend_tensor_set(&t, data, 0, m->len);
    return 0;
}

static int cmd_set(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_data *m = cmd;
    const void *data = heap_data(c, m);

    return data ? set_bytes(c, m, data) : -1;
}

static int cmd_set_inline(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_data *m = cmd;

    if (m->len > m->h.size - sizeof(*m))
        return vgr_ctx_fail(c, VGR_ERROR_COMMAND, "inline data is longer than its record");
    return set_bytes(c, m, m + 1);
}

static int cmd_get(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_data *m = cmd;
    struct vgr_host_buffer *b = buffer_range(c, m->buffer, m->offset, m->len);
    void *data = b ? heap_data(c, m) : NULL;
    struct vgr_host_stream *s;
    struct ggml_tensor t;
    uint32_t route;
    bool waits;

    if (!data)
        return -1;
    if (data_stream(c, m->stream, b->device, &s))
        return -1;
    vgr_counts_add(c->counts, VGR_COUNTER_DOWNLOAD_BYTES, m->len);
    if (!m->len)
        return 0;
    vgr_tensor_bytes(&t, b, m->offset, m->len);
    route = s ? m->stream : c->last_run[b->device];
    if (route &&
        vgr_dma_read(c->backends.device[b->device].dma, c->streams[route].backend, &t, data)) {
        vgr_ctx_mark_dirty(c, &c->streams[route]);
        vgr_counts_add(c->counts, VGR_COUNTER_DEVICE_COPIES, 1);
    } else if (s) {
        waits = s->dirty; /* Vulkan waits in there, as the arena is not memory that it knows */
        if (waits)
            vgr_counts_begin(c->counts, VGR_COUNTER_COMPUTING);
        ggml_backend_tensor_get_async(s->backend, &t, data, 0, m->len);
        if (waits)
            vgr_counts_end(c->counts, VGR_COUNTER_COMPUTING);
        vgr_ctx_mark_dirty(c, s);
    } else {
        ggml_backend_tensor_get(&t, data, 0, m->len);
    }
    return 0;
}

static int cmd_memset(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_memset *m = cmd;
    struct vgr_host_buffer *b = buffer_range(c, m->buffer, m->offset, m->len);

    if (!b)
        return -1;
    vgr_ctx_sync(c);
    vgr_tensor_fill(b, m->offset, (uint8_t)m->value, m->len);
    return 0;
}

static int cmd_copy(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_copy *m = cmd;
    struct vgr_host_buffer *dst = buffer_range(c, m->dst, m->dst_offset, m->len), *src;
    struct ggml_tensor to, from;

    if (!dst)
        return -1;
    if (m->src_queue != c->number)
        return vgr_queue_copy(c, m, dst);
    src = buffer_range(c, m->src, m->src_offset, m->len);
    if (!src)
        return -1;
    if (src == dst && m->dst_offset < m->src_offset + m->len &&
        m->src_offset < m->dst_offset + m->len)
        return vgr_ctx_fail(c, VGR_ERROR_RANGE, "a copy inside buffer %u overlaps", m->dst);
    vgr_ctx_sync(c);
    if (!m->len)
        return 0;
    vgr_tensor_bytes(&to, dst, m->dst_offset, m->len);
    vgr_tensor_bytes(&from, src, m->src_offset, m->len);
    ggml_backend_tensor_copy(&from, &to);
    return 0;
}

static int cmd_init_tensor(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_init_tensor *m = cmd;
    struct vgr_host_buffer *b = vgr_ctx_buffer(c, m->tensor.buffer);
    struct ggml_tensor t = {0};
    const char *why = "";

    if (!b)
        return -1;
    vgr_ctx_sync(c);
    if (vgr_tensor_describe(c, &t, &m->tensor, &why) ||
        vgr_tensor_place(c, &t, &m->tensor, b->device, &why))
        return vgr_ctx_fail(c, VGR_ERROR_RANGE, "init of %s", why);
    t.op = GGML_OP_NONE;
    if (vgr_tensor_init(c, &t, &m->tensor, &why))
        return vgr_ctx_fail(c, VGR_ERROR_RANGE, "init of %s", why);
    return 0;
}

/* The payload of a graph or question, or NULL after vgr_ctx_fail(). */
static const void *payload_of(struct vgr_ctx *c, uint32_t off, uint32_t len)
{
    vgr_counts_add(c->counts, VGR_COUNTER_UPLOAD_BYTES, len);
    return vgr_ctx_payload(c, off, len);
}

static int cmd_graph_define(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_graph *m = cmd;
    const void *payload = payload_of(c, m->data_off, m->data_len);

    return payload ? vgr_graph_define(c, m->graph, payload, m->data_len) : -1;
}

static int cmd_graph_patch(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_graph *m = cmd;
    const void *payload = payload_of(c, m->data_off, m->data_len);

    return payload ? vgr_graph_patch(c, m->graph, payload, m->data_len) : -1;
}

static int cmd_graph_run(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_run *m = cmd;

    return vgr_graph_run(c, m->graph, m->stream);
}

static int cmd_graph_free(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_handle *m = cmd;

    return vgr_graph_free(c, m->handle);
}

static int cmd_query_op(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_query_op *m = cmd;
    struct vgr_query_reply reply;
    void *at = reply_at(c, m->reply_off, sizeof(reply));
    const void *payload;

    if (!at || vgr_ctx_device(c, m->device))
        return -1;
    payload = payload_of(c, m->data_off, m->data_len);
    if (!payload || vgr_graph_query(c, m->device, payload, m->data_len, &reply))
        return -1;
    vgr_counts_add(c->counts, VGR_COUNTER_OP_MISSES, 1);
    memcpy(at, &reply, sizeof(reply));
    return 0;
}

static int cmd_query_memory(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_query_memory *m = cmd;
    struct vgr_memory_reply reply;
    void *at = reply_at(c, m->reply_off, sizeof(reply));
    size_t free = 0, total = 0;

    if (!at || vgr_ctx_device(c, m->device))
        return -1;
    ggml_backend_dev_memory(c->backends.device[m->device].dev, &free, &total);
    reply.free = free;
    reply.total = total;
    vgr_memory_clamp(c->memory, &reply.free, &reply.total);
    memcpy(at, &reply, sizeof(reply));
    return 0;
}

static int cmd_query_order(struct vgr_ctx *c, const void *cmd)
{
    const struct vgr_cmd_query_order *m = cmd;
    const void *payload = payload_of(c, m->data_off, m->data_len);
    struct vgr_graph_wishes w = {0};
    struct vgr_order_reply reply = {0};
    size_t nodes_len, deps_len = (size_t)m->max_deps * sizeof(*w.dep);
    uint8_t *at = NULL;

    if (payload && !vgr_graph_order(c, payload, m->data_len, m->max_deps, &w)) {
        nodes_len = w.n * sizeof(*w.order);
        at = reply_at(c, m->reply_off, sizeof(reply) + nodes_len + deps_len);
        if (at) {
            reply.answer = w.answer;
            reply.n_deps = w.n_deps;
            memcpy(at, &reply, sizeof(reply));
            if (w.order)
                memcpy(at + sizeof(reply), w.order, nodes_len);
            if (w.dep)
                memcpy(at + sizeof(reply) + nodes_len, w.dep, w.n_deps * sizeof(*w.dep));
            vgr_counts_add(c->counts, VGR_COUNTER_ORDER_MISSES, 1);
        }
    }
    vgr_graph_wishes_free(&w);
    return at ? 0 : -1;
}

static int cmd_queue_open(struct vgr_ctx *c, const void *cmd)
{
    return vgr_queue_open(c, cmd);
}

static int cmd_queue_wait(struct vgr_ctx *c, const void *cmd)
{
    return vgr_queue_wait(c, cmd);
}

static const struct {
    int (*run)(struct vgr_ctx *c, const void *cmd);
    uint32_t size;
    bool longer; /* data follows the struct */
} commands[VGR_CMD_COUNT] = {
    [VGR_CMD_SYNC] = {cmd_sync, sizeof(struct vgr_cmd), false},
    [VGR_CMD_STREAM_OPEN] = {cmd_stream_open, sizeof(struct vgr_cmd_stream), false},
    [VGR_CMD_STREAM_CLOSE] = {cmd_stream_close, sizeof(struct vgr_cmd_stream), false},
    [VGR_CMD_STREAM_WAIT] = {cmd_stream_wait, sizeof(struct vgr_cmd_stream_wait), false},
    [VGR_CMD_BUFFER_ALLOC] = {cmd_buffer_alloc, sizeof(struct vgr_cmd_alloc), false},
    [VGR_CMD_BUFFER_FREE] = {cmd_buffer_free, sizeof(struct vgr_cmd_handle), false},
    [VGR_CMD_SET] = {cmd_set, sizeof(struct vgr_cmd_data), false},
    [VGR_CMD_SET_INLINE] = {cmd_set_inline, sizeof(struct vgr_cmd_data), true},
    [VGR_CMD_GET] = {cmd_get, sizeof(struct vgr_cmd_data), false},
    [VGR_CMD_MEMSET] = {cmd_memset, sizeof(struct vgr_cmd_memset), false},
    [VGR_CMD_COPY] = {cmd_copy, sizeof(struct vgr_cmd_copy), false},
    [VGR_CMD_INIT_TENSOR] = {cmd_init_tensor, sizeof(struct vgr_cmd_init_tensor), false},
    [VGR_CMD_GRAPH_DEFINE] = {cmd_graph_define, sizeof(struct vgr_cmd_graph), false},
    [VGR_CMD_GRAPH_PATCH] = {cmd_graph_patch, sizeof(struct vgr_cmd_graph), false},
    [VGR_CMD_GRAPH_RUN] = {cmd_graph_run, sizeof(struct vgr_cmd_run), false},
    [VGR_CMD_GRAPH_FREE] = {cmd_graph_free, sizeof(struct vgr_cmd_handle), false},
    [VGR_CMD_QUERY_OP] = {cmd_query_op, sizeof(struct vgr_cmd_query_op), false},
    [VGR_CMD_QUERY_MEMORY] = {cmd_query_memory, sizeof(struct vgr_cmd_query_memory), false},
    [VGR_CMD_QUERY_ORDER] = {cmd_query_order, sizeof(struct vgr_cmd_query_order), false},
    [VGR_CMD_QUEUE_OPEN] = {cmd_queue_open, sizeof(struct vgr_cmd_queue_open), false},
    [VGR_CMD_QUEUE_WAIT] = {cmd_queue_wait, sizeof(struct vgr_cmd_queue_wait), false},
};

int vgr_ctx_dispatch(struct vgr_ctx *c, const struct vgr_cmd *h)
{
    if (h->op >= VGR_CMD_COUNT || !commands[h->op].run)
        return vgr_ctx_fail(c, VGR_ERROR_COMMAND, "unknown command %u", h->op);
    if (commands[h->op].longer ? h->size < commands[h->op].size : h->size != commands[h->op].size)
        return vgr_ctx_fail(c, VGR_ERROR_COMMAND, "command %u has a record of %u bytes", h->op,
                            h->size);
    return commands[h->op].run(c, h);
}
