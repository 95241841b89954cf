/* SPDX-License-Identifier: MIT
 *
 * A stream is a ggml_backend: commands for one device that the host may run asynchronously.
 *
 * The device's queue keeps the order of all that it is sent, so a stream remembers only the number of
 * its last command whose effect the program can see: a computation, a copy, a download, or an upload
 * that is read from a host buffer. Other uploads do not count, their data is taken before the call
 * returns. synchronize() with nothing outstanding is then free, which matters: GGML's scheduler calls
 * it many times per graph. To other streams uploads do count, so that for events there is another
 * number.
 *
 * Before GGML gives memory to a graph, the host's device is asked in which order it likes its nodes
 * (order.h).
 *
 * The host runs streams side by side: only the order in which it is given work is the queue's. A stream
 * that waits for an event of another one says so to the host and goes on; if the other is of another
 * queue, this one's queue is told to wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/advice.h"
#include "guest/cgraph.h"
#include "guest/device.h"
#include "guest/graph.h"
#include "guest/graph_send.h"
#include "guest/log.h"
#include "guest/order.h"
#include "guest/tensor.h"
#include "guest/xfer.h"

struct vgr_stream {
    struct vgr_device *device;
    struct vgr_queue *queue; /* its connection is held */
    uint16_t handle;
    bool complained; /* about a graph; once is enough */
    uint64_t last;   /* the last command to wait for */
    uint64_t upload; /* the last upload, or a later command of the queue */
    uint64_t get;    /* the last download */
    struct vgr_graphs graphs;
    struct vgr_orders orders;
};

/* A stream may be closed before the event is waited for: then all it was given is done. */
struct vgr_event {
    struct vgr_queue *queue;         /* of the stream, its connection held; NULL: never recorded */
    const struct vgr_stream *stream; /* compared only */
    uint16_t handle;                 /* of the stream */
    uint64_t seq;                    /* what the program waits for */
    uint64_t order;                  /* what other streams wait for */
    uint64_t get;                    /* the last download before it */
};

static ggml_guid guid = {0x76, 0x67, 0x72, 0x2d, 0x67, 0x67, 0x6d, 0x6c,
                         0x2d, 0x76, 0x69, 0x72, 0x74, 0x67, 0x70, 0x75};

/* The last command that another stream may have to wait for. */
static uint64_t order_of(const struct vgr_stream *s)
{
    return s->upload > s->last ? s->upload : s->last;
}

static const char *stream_get_name(ggml_backend_t backend)
{
    return ((struct vgr_stream *)backend->context)->device->name;
}

static void stream_synchronize(ggml_backend_t backend)
{
    struct vgr_stream *s = backend->context;

    vgr_queue_wait(s->queue, s->last);
}

/* With the queue locked. */
static void count_stream(struct vgr_queue *q, int n)
{
    q->n_streams += (uint32_t)n;
    __atomic_add_fetch(&q->conn->n_streams, (uint32_t)n, __ATOMIC_RELAXED);
}

static void stream_free(ggml_backend_t backend)
{
    struct vgr_stream *s = backend->context;
    struct vgr_queue *q = s->queue;
    struct vgr_cmd_stream cmd = {.h.op = VGR_CMD_STREAM_CLOSE, .stream = s->handle};

    /* Uploads included: the events of a closed stream are never waited for on the host. */
    vgr_queue_wait(q, order_of(s));
    if (vgr_queue_lock(q)) {
        vgr_graph_drop_all(&s->graphs, q);
        vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
        vgr_handles_give(&q->streams, s->handle);
        count_stream(q, -1);
        vgr_queue_publish(q);
        vgr_queue_unlock(q);
    }
    vgr_graphs_free(&s->graphs);
    vgr_orders_free(&s->orders);
    vgr_conn_release(q->conn);
    free(s);
    free(backend);
}

/* ---- Data ---- */

/* Where rows of a tensor are, in this stream; in no buffer if the tensor is in none of the queue. */
static void rows_of(const struct vgr_stream *s, const struct ggml_tensor *t, size_t offset,
                    struct vgr_rows *r)
{
    struct vgr_place place;

    vgr_tensor_place(s->queue, t, &place);
    r->buffer = place.buffer;
    r->stream = s->handle;
    r->offset = place.offset + offset;
    r->room = offset <= place.room ? place.room - offset : 0;
}

static void upload(struct vgr_stream *s, struct vgr_rows r, const void *data)
{
    uint64_t seq = vgr_xfer_set(s->queue, r, data);

    if (seq)
        s->last = seq;
    s->upload = __atomic_load_n(&s->queue->sent, __ATOMIC_RELAXED);
}

static void stream_set_tensor_2d(ggml_backend_t backend, struct ggml_tensor *t, const void *data,
                                 size_t offset, size_t size, size_t n_copies, size_t stride_tensor,
                                 size_t stride_data)
{
    struct vgr_stream *s = backend->context;
    struct vgr_rows r = {
        .size = size, .n = n_copies, .stride = stride_tensor, .pitch = stride_data, .borrow = true};

    rows_of(s, t, offset, &r);
    upload(s, r, data);
}

static void stream_get_tensor_2d(ggml_backend_t backend, const struct ggml_tensor *t, void *data,
                                 size_t offset, size_t size, size_t n_copies, size_t stride_tensor,
                                 size_t stride_data)
{
    struct vgr_stream *s = backend->context;
    struct vgr_rows r = {
        .size = size, .n = n_copies, .stride = stride_tensor, .pitch = stride_data};
    uint64_t seq;

    rows_of(s, t, offset, &r);
    seq = vgr_xfer_get(s->queue, r, data);
    if (seq)
        s->last = s->get = seq;
}

static void stream_set_tensor(ggml_backend_t backend, struct ggml_tensor *t, const void *data,
                              size_t offset, size_t size)
{
    stream_set_tensor_2d(backend, t, data, offset, size, 1, size, size);
}

static void stream_get_tensor(ggml_backend_t backend, const struct ggml_tensor *t, void *data,
                              size_t offset, size_t size)
{
    stream_get_tensor_2d(backend, t, data, offset, size, 1, size, size);
}

/* Called through the interface of `dst_backend`, which is ours. */
static bool stream_cpy_tensor(ggml_backend_t src_backend, ggml_backend_t dst_backend,
                              const struct ggml_tensor *src, struct ggml_tensor *dst)
{
    struct vgr_stream *s = dst_backend->context;
    ggml_backend_buffer_t from = src->view_src ? src->view_src->buffer : src->buffer;
    /* Both on the host, of one device or two: the host waits for whatever computes `src`. */
    uint64_t seq = vgr_tensor_copy(s->queue, src, dst, s->handle);

    if (seq) {
        s->last = seq;
        return true;
    }
    /* From the program's memory: an upload, once it is computed. */
    if (from && ggml_backend_buffer_is_host(from) && src->type == dst->type &&
        ggml_are_same_shape(src, dst) && ggml_are_same_stride(src, dst) &&
        ggml_is_contiguous(src)) {
        struct vgr_rows r = {.size = ggml_nbytes(src), .n = 1};

        /* Not borrowed: what computed it may overwrite it at once. */
        ggml_backend_synchronize(src_backend);
        rows_of(s, dst, 0, &r);
        if (r.buffer) {
            upload(s, r, src->data);
            return true;
        }
    }
    return false;
}

/* ---- Graphs ---- */

static void complain(struct vgr_stream *s, int err, const struct ggml_tensor *culprit)
{
    if (s->complained)
        return;
    s->complained = true;
    switch (err) {
    case -EFAULT:
        vgr_say_error("%s: tensor '%.64s' (%s) of a graph is not in the device's memory",
                      s->device->name, culprit->name, ggml_op_name(culprit->op));
        break;
    case -ERANGE:
        vgr_say_error("%s: tensor '%.64s' (%s) of a graph extends past the end of its buffer",
                      s->device->name, culprit->name, ggml_op_name(culprit->op));
        break;
    case -ENOTSUP:
        vgr_say_error("%s: tensor '%.64s' (%s) of a graph cannot be sent to the host",
                      s->device->name, culprit->name, ggml_op_name(culprit->op));
        break;
    case -E2BIG:
        vgr_say_error("%s: a graph has more tensors or bytes than the host takes", s->device->name);
        break;
    default:
        vgr_say_error("%s: no memory for a graph", s->device->name);
    }
}

static enum ggml_status stream_graph_compute(ggml_backend_t backend, struct ggml_cgraph *cg)
{
    struct vgr_stream *s = backend->context;
    struct vgr_queue *q = s->queue;
    struct vgr_cmd_run run = {.h.op = VGR_CMD_GRAPH_RUN, .stream = s->handle};
    enum vgr_graph_action action = VGR_GRAPH_RUN;
    const struct ggml_tensor *culprit = NULL;
    bool trusted = vgr_cgraph_trusted(), same;
    struct vgr_graph_slot *slot;
    uint64_t seq = 0;
    int err = 0;

    if (vgr_conn_failed(q->conn))
        return GGML_STATUS_FAILED;
    if (ggml_graph_n_nodes(cg) <= 0)
        return GGML_STATUS_SUCCESS;

    slot = vgr_graphs_same(&s->graphs, cg, trusted);
    same = slot != NULL;
    if (!same) {
        err = vgr_graphs_encode(&s->graphs, cg, true, trusted, &culprit);
        if (err) {
            complain(s, err, culprit);
            return GGML_STATUS_FAILED;
        }
        if (!s->graphs.work)
            return GGML_STATUS_SUCCESS;
        vgr_graph_limits(&s->graphs, q);
        action = vgr_graphs_choose(&s->graphs, &slot);
        if (!slot) {
            complain(s, -ENOMEM, culprit);
            return GGML_STATUS_ALLOC_FAILED;
        }
    }

    if (!vgr_queue_lock(q))
        return GGML_STATUS_FAILED;
    if (!same)
        err = vgr_graph_send(&s->graphs, q, action, slot);
    if (!err) {
        run.graph = slot->handle;
        seq = vgr_queue_push(q, &run, sizeof(run), NULL, 0);
        vgr_queue_publish(q);
    }
    vgr_queue_unlock(q);

    if (!seq) {
        slot->valid = false;
        if (!vgr_conn_failed(q->conn))
            complain(s, err, culprit);
        return err == -ENOMEM ? GGML_STATUS_ALLOC_FAILED : GGML_STATUS_FAILED;
    }
    if (!same)
        vgr_graphs_commit(&s->graphs, slot);
    s->last = seq;
    vgr_count(q->conn->counters.graphs_run, 1);
    vgr_count(q->conn->counters.graphs_same, same);
    vgr_count(q->conn->counters.graphs_known, !same && action == VGR_GRAPH_RUN);
    vgr_advise(s->device, &s->graphs);
    return GGML_STATUS_SUCCESS;
}

static void stream_graph_optimize(ggml_backend_t backend, struct ggml_cgraph *cg,
                                  struct ggml_backend_graph_optimize_params *params)
{
    struct vgr_stream *s = backend->context;

#ifndef VGR_GGML_HAS_ALLOC_DEPS
    params = NULL;
#endif
    vgr_orders_apply(&s->orders, s->queue, &s->graphs, cg, vgr_cgraph_trusted(), params);
}

/* ---- Events ---- */

static void stream_event_record(ggml_backend_t backend, ggml_backend_event_t event)
{
    const struct vgr_stream *s = backend->context;
    struct vgr_event *e = event->context;

    if (e->queue != s->queue) {
        if (e->queue)
            vgr_conn_release(e->queue->conn);
        vgr_conn_hold_again(s->queue->conn);
        e->queue = s->queue;
    }
    e->stream = s;
    e->handle = s->handle;
    e->seq = s->last;
    e->order = order_of(s);
    e->get = s->get;
}

static void stream_event_wait(ggml_backend_t backend, ggml_backend_event_t event)
{
    struct vgr_stream *s = backend->context;
    const struct vgr_event *e = event->context;
    struct vgr_queue *q = s->queue;
    uint64_t seq;

    struct vgr_cmd_stream_wait cmd = {
        .h.op = VGR_CMD_STREAM_WAIT, .stream = s->handle, .other = e->handle};

    if (!e->queue || e->stream == s)
        return;
    /* Only a wait in its own queue delivers a download. */
    vgr_queue_wait(e->queue, e->get);
    /* What a connection that has failed was to compute is not waited for. */
    if (!e->queue || e->queue->conn != q->conn || !e->order || e->stream == s ||
        e->order <= __atomic_load_n(&e->queue->done, __ATOMIC_RELAXED))
        return;
    if (e->queue != q)
        vgr_queue_mark(e->queue); /* the event must be visible first */
    if (!vgr_queue_lock(q))
        return;
    seq = e->queue != q ? vgr_queue_after(q, e->queue, e->order)
                        : vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_unlock(q);
    /* Who waits for this stream waits for the other one, too. */
    if (seq)
        s->last = seq;
}

ggml_backend_event_t vgr_event_new(ggml_backend_dev_t dev)
{
    struct ggml_backend_event *event = malloc(sizeof(*event));
    struct vgr_event *e = calloc(1, sizeof(*e));

    if (!event || !e) {
        free(event);
        free(e);
        return NULL;
    }
    *event = (struct ggml_backend_event){.device = dev, .context = e};
    return event;
}

void vgr_event_free(ggml_backend_dev_t dev, ggml_backend_event_t event)
{
    struct vgr_event *e = event->context;

    if (e->queue)
        vgr_conn_release(e->queue->conn);
    free(e);
    free(event);
}

void vgr_event_synchronize(ggml_backend_dev_t dev, ggml_backend_event_t event)
{
    const struct vgr_event *e = event->context;

    if (e->queue)
        vgr_queue_wait(e->queue, e->seq);
}

/* ---- Opening ---- */

static const struct ggml_backend_i stream_iface = {
    .get_name = stream_get_name,
    .free = stream_free,
    .set_tensor_async = stream_set_tensor,
    .get_tensor_async = stream_get_tensor,
    .set_tensor_2d_async = stream_set_tensor_2d,
    .get_tensor_2d_async = stream_get_tensor_2d,
    .cpy_tensor_async = stream_cpy_tensor,
    .synchronize = stream_synchronize,
    .graph_compute = stream_graph_compute,
    .event_record = stream_event_record,
    .event_wait = stream_event_wait,
    .graph_optimize = stream_graph_optimize,
};

ggml_backend_t vgr_stream_new(ggml_backend_dev_t dev, const char *params)
{
    struct vgr_device *d = dev->context;
    struct vgr_conn *c = vgr_conn_hold_working(d->host);
    struct vgr_queue *q = c ? c->queue[d->index] : NULL;
    struct vgr_cmd_stream cmd = {.h.op = VGR_CMD_STREAM_OPEN, .device = d->index};
    struct ggml_backend *backend = malloc(sizeof(*backend));
    struct vgr_stream *s = calloc(1, sizeof(*s));

    if (!c || !backend || !s ||
        vgr_graphs_init(&s->graphs, d->index, c->reply.max_tensors, 1, 0, q, q->buffer_epoch))
        goto fail;
    if (!vgr_queue_lock(q))
        goto fail;
    cmd.stream = vgr_handles_take(&q->streams);
    if (cmd.stream) {
        count_stream(q, 1);
        vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    }
    vgr_queue_unlock(q);
    if (!cmd.stream) {
        vgr_say_error("%s: no more than %u backends at once", d->name, q->streams.max);
        goto fail;
    }

    s->device = d;
    s->queue = q;
    s->handle = (uint16_t)cmd.stream;
    *backend =
        (struct ggml_backend){.guid = &guid, .iface = stream_iface, .device = dev, .context = s};
    return backend;

fail:
    if (s)
        vgr_graphs_free(&s->graphs);
    free(s);
    free(backend);
    if (c)
        vgr_conn_release(c);
    return NULL;
}
