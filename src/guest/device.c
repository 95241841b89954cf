/* SPDX-License-Identifier: MIT */
#include "guest/device.h"

#include <stdio.h>
#include <string.h>

#include "guest/dict.h"
#include "guest/tensor.h"

#define CACHE_BYTES (16u << 20)

/* More than that no tensor takes; GGML adds such sizes up without a look. */
#define ALLOC_MAX (UINT64_C(1) << 44)

/* ---- Questions ---- */

static bool host_has(const struct vgr_conn *c, enum vgr_dict_kind kind, uint32_t number)
{
    return vgr_names_lookup(&c->map, kind, number) != VGR_NAMES_NONE;
}

/* Does the host know the op and all types in the question? */
static bool host_knows(const struct vgr_conn *c, const struct vgr_question *q,
                       const struct ggml_tensor *op)
{
    const struct vgr_tensor *t = &q->tensor[0];

    if (!host_has(c, VGR_DICT_OP, t->op))
        return false;
    if (q->n > 1 || t->op != vgr_dict_op[GGML_OP_NONE]) {
        if (op->op == GGML_OP_UNARY && !host_has(c, VGR_DICT_UNARY, (uint32_t)t->op_params[0]))
            return false;
        if (op->op == GGML_OP_GLU && !host_has(c, VGR_DICT_GLU, (uint32_t)t->op_params[0]))
            return false;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        if (!host_has(c, VGR_DICT_TYPE, q->tensor[i].type))
            return false;
    }
    return true;
}

static bool ask_host(struct vgr_queue *queue, const struct vgr_question *q,
                     struct vgr_query_reply *answer)
{
    uint32_t len = q->n * (uint32_t)sizeof(q->tensor[0]), off, block;
    struct vgr_cmd_query_op cmd = {
        .h.op = VGR_CMD_QUERY_OP, .h.flags = VGR_CMD_F_AWAIT, .device = q->device, .data_len = len};
    uint64_t seq = 0;
    uint8_t *p;

    if (!vgr_queue_lock(queue))
        return false;
    p = vgr_queue_alloc(queue, len + sizeof(*answer), &off, &block);
    if (p) {
        memcpy(p, q->tensor, len);
        cmd.data_off = off;
        cmd.reply_off = off + len; /* records are multiples of 8 */
        vgr_count(queue->conn->counters.upload_bytes, len);
        seq =
            vgr_queue_get(queue, &cmd, sizeof(cmd), block, cmd.reply_off, sizeof(*answer), answer);
    }
    vgr_queue_unlock(queue);
    return seq && vgr_queue_wait(queue, seq);
}

bool vgr_device_ask(struct vgr_device *d, const struct ggml_tensor *op, bool as_leaf,
                    struct vgr_query_reply *answer)
{
    const struct vgr_query_reply *known;
    struct vgr_conn *c;
    struct vgr_question q;
    uint64_t hash;
    bool ok = true;

    if (!vgr_tensor_question(&q, d->index, op, as_leaf))
        return false;
    c = vgr_conn_hold(d->host);
    if (!host_knows(c, &q, op)) {
        vgr_conn_release(c);
        return false;
    }
    hash = vgr_opcache_hash(&q);

    pthread_mutex_lock(&d->cache_lock);
    if (d->cache_of != c->serial) {
        /* A host that is back may be another version of itself. */
        vgr_opcache_free(&d->cache);
        d->cache_of = c->serial;
    }
    known = vgr_opcache_get(&d->cache, &q, hash);
    if (known) {
        *answer = *known;
        vgr_count(c->counters.op_hits, 1);
    } else {
        vgr_count(c->counters.op_misses, 1);
        ok = ask_host(c->queue[d->index], &q, answer);
        if (ok)
            vgr_opcache_put(&d->cache, &q, hash, answer);
    }
    pthread_mutex_unlock(&d->cache_lock);
    if (!ok && vgr_conn_failed(c)) {
        /* A graph for a host that is gone must fail when it is computed. Without this, GGML finds no
         * backend for what lies in the host's buffers, and ends the program. */
        *answer = (struct vgr_query_reply){.supported = 1};
        ok = true;
    }
    vgr_conn_release(c);
    return ok;
}

/* GGML's own word on whose results may take more than their bytes. It ends the program where a
 * backend has another opinion, so no host may have one. Older versions take any. */
bool ggml_op_alloc_size_may_expand(enum ggml_op op) __attribute__((weak));

static bool may_expand(const struct ggml_tensor *t)
{
    switch (t->op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
        return true;
    default:
        return ggml_is_quantized(t->type) || !ggml_op_alloc_size_may_expand ||
               ggml_op_alloc_size_may_expand(t->op);
    }
}

/* A result's size is asked for with its op, whose answer is then there for supports_op too. */
size_t vgr_device_alloc_size(struct vgr_device *d, const struct ggml_tensor *t)
{
    size_t size = ggml_nbytes(t);
    struct vgr_query_reply answer;

    if (vgr_device_ask(d, t, t->op == GGML_OP_NONE, &answer) && answer.alloc_size > size &&
        answer.alloc_size <= ALLOC_MAX && may_expand(t))
        size = answer.alloc_size;
    return size;
}

void vgr_device_forked(struct vgr_device *d)
{
    pthread_mutex_init(&d->cache_lock, NULL);
    vgr_opcache_init(&d->cache, CACHE_BYTES); /* it may be half changed: better lost than used */
}

/* ---- GGML's slots ---- */

static const char *device_get_name(ggml_backend_dev_t dev)
{
    return ((struct vgr_device *)dev->context)->name;
}

static const char *device_get_description(ggml_backend_dev_t dev)
{
    return ((struct vgr_device *)dev->context)->info.description;
}

static void device_get_memory(ggml_backend_dev_t dev, size_t *free, size_t *total)
{
    struct vgr_device *d = dev->context;
    struct vgr_cmd_query_memory cmd = {
        .h.op = VGR_CMD_QUERY_MEMORY, .h.flags = VGR_CMD_F_AWAIT, .device = d->index};
    struct vgr_memory_reply reply = {0};
    struct vgr_conn *c = vgr_conn_hold_working(d->host);
    struct vgr_queue *q = c ? c->queue[d->index] : NULL;
    uint32_t block;
    uint64_t seq = 0;

    if (q && vgr_queue_lock(q)) {
        if (vgr_queue_alloc(q, sizeof(reply), &cmd.reply_off, &block))
            seq = vgr_queue_get(q, &cmd, sizeof(cmd), block, cmd.reply_off, sizeof(reply), &reply);
        vgr_queue_unlock(q);
    }
    if (seq)
        vgr_queue_wait(q, seq);
    if (c)
        vgr_conn_release(c);
    *free = reply.free;
    *total = reply.total;
}

/* Programs offload to GPUs and not to CPUs; a host's CPU is as far away as its GPU. */
static enum ggml_backend_dev_type device_get_type(ggml_backend_dev_t dev)
{
    switch (((struct vgr_device *)dev->context)->info.type) {
    case VGR_DEVICE_IGPU:
        return GGML_BACKEND_DEVICE_TYPE_IGPU;
    case VGR_DEVICE_ACCEL:
        return GGML_BACKEND_DEVICE_TYPE_ACCEL;
    default:
        return GGML_BACKEND_DEVICE_TYPE_GPU;
    }
}

static void device_get_props(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props)
{
    const struct vgr_device *d = dev->context;

    *props = (struct ggml_backend_dev_props){
        .name = device_get_name(dev),
        .description = device_get_description(dev),
        .type = device_get_type(dev),
        .device_id = d->id[0] ? d->id : NULL,
        .caps = {.async = true, .host_buffer = true, .events = true},
    };
#ifdef VGR_HAVE_MMAP_SUPPORT
    /* Weights are read straight from the mapped file into the arena. */
    props->caps.mmap_support = true;
#endif
    device_get_memory(dev, &props->memory_free, &props->memory_total);
}

static ggml_backend_buffer_type_t device_get_buffer_type(ggml_backend_dev_t dev)
{
    return &((struct vgr_device *)dev->context)->buft;
}

static ggml_backend_buffer_type_t device_get_host_buffer_type(ggml_backend_dev_t dev)
{
    return &((struct vgr_device *)dev->context)->host_buft;
}

static bool device_supports_op(ggml_backend_dev_t dev, const struct ggml_tensor *op)
{
    struct vgr_query_reply answer;

    return vgr_device_ask(dev->context, op, false, &answer) && answer.supported;
}

static bool device_supports_buft(ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft)
{
    return buft == &((struct vgr_device *)dev->context)->buft;
}

static bool device_offload_op(ggml_backend_dev_t dev, const struct ggml_tensor *op)
{
    struct vgr_query_reply answer;

    return vgr_device_ask(dev->context, op, false, &answer) && answer.offload;
}

/* Programs use one of several devices with the same id. In a machine of its own, a guest may have
 * another GPU at the address that this one has on the host. */
static void set_id(struct vgr_device *d, const char *id)
{
    snprintf(d->id, sizeof(d->id), "%s%s", id[0] && d->host->node.path[0] ? "host:" : "", id);
}

void vgr_device_init(struct vgr_device *d, const struct vgr_conn *c, uint32_t index,
                     uint32_t number, ggml_backend_reg_t reg)
{
    d->host = c->to;
    d->index = index;
    d->info = c->reply.devices[index];
    set_id(d, c->id[index].id);
    snprintf(d->name, sizeof(d->name), "VirtGPU%u", number);
    snprintf(d->host_name, sizeof(d->host_name), "%s_Host", d->name);
    pthread_mutex_init(&d->cache_lock, NULL);
    vgr_opcache_init(&d->cache, CACHE_BYTES);
    d->dev = (struct ggml_backend_device){
        .iface =
            {
                .get_name = device_get_name,
                .get_description = device_get_description,
                .get_memory = device_get_memory,
                .get_type = device_get_type,
                .get_props = device_get_props,
                .init_backend = vgr_stream_new,
                .get_buffer_type = device_get_buffer_type,
                .get_host_buffer_type = device_get_host_buffer_type,
                .supports_op = device_supports_op,
                .supports_buft = device_supports_buft,
                .offload_op = device_offload_op,
                .event_new = vgr_event_new,
                .event_free = vgr_event_free,
                .event_synchronize = vgr_event_synchronize,
            },
        .reg = reg,
        .context = d,
    };
    vgr_buft_init(d);
    vgr_host_buft_init(d);
}
