/* SPDX-License-Identifier: MIT
 *
 * worker_guest.h - the guest of fuzz_worker and fuzz_queues: its view of the worker, and its commands.
 *
 * Commands name handles that may exist and ranges that may fit; now and then one lies, about a number or
 * about its own length. Some come in groups, as a program sends them: a graph that nobody runs finds
 * nothing.
 */
#ifndef VGR_FUZZ_WORKER_GUEST_H
#define VGR_FUZZ_WORKER_GUEST_H

#include "worker_graph.h"
#include "worker_rig.h"

#ifndef BLOCKS
#define BLOCKS (ARENA - (64u << 10)) /* payloads, one after the other */
#endif

#define GRAPHS  2u
#define STREAMS 3u

struct guest {
    struct fuzz_in in;
    struct vgr_ctx *c;
    struct vgr_ring_producer ring;
    struct fuzz_buffers buffers;
    struct fuzz_graph graphs[GRAPHS + 1];
    uint32_t next_block;
    uint32_t device;
    bool concurrent; /* the worker is at work meanwhile: who wants to know of buffers asks before */
};

static void look_at_buffers(struct guest *g)
{
    for (uint32_t i = 0; i < FUZZ_BUFFERS; i++)
        g->buffers.size[i] = g->c->buffers[i + 1].buffer ? g->c->buffers[i + 1].size : 0;
}

static void learn_buffers(struct guest *g)
{
    if (!g->concurrent)
        look_at_buffers(g);
}

/* Puts a payload into the heap and returns where. */
static uint32_t payload(struct guest *g, const void *data, uint32_t len)
{
    if (g->next_block + len > ARENA)
        g->next_block = BLOCKS;
    memcpy(arena + g->next_block, data, len);
    g->next_block += (len + 7) & ~7u;
    return g->next_block - ((len + 7) & ~7u);
}

static uint32_t buffer_handle(struct guest *g)
{
    return fuzz_mostly(&g->in, FUZZ_BUFFERS) + 1;
}

static uint32_t reply_off(struct guest *g)
{
    return fuzz_rarely(&g->in) ? fuzz_u32(&g->in) : DATA + 8 * fuzz_u8(&g->in);
}

static uint64_t range(struct guest *g)
{
    return fuzz_rarely(&g->in) ? fuzz_size(&g->in) : fuzz_below(&g->in, 2048);
}

union record {
    struct vgr_cmd h;
    struct vgr_cmd_stream stream;
    struct vgr_cmd_stream_wait stream_wait;
    struct vgr_cmd_alloc alloc;
    struct vgr_cmd_handle handle;
    struct vgr_cmd_data data;
    struct vgr_cmd_memset memset;
    struct vgr_cmd_copy copy;
    struct vgr_cmd_init_tensor init;
    struct vgr_cmd_graph graph;
    struct vgr_cmd_run run;
    struct vgr_cmd_query_op query;
    struct vgr_cmd_query_memory memory;
    struct vgr_cmd_query_order order;
    struct vgr_cmd_queue_open queue_open;
    struct vgr_cmd_queue_wait queue_wait;
    uint8_t bytes[512];
};

static void data_command(struct guest *g, union record *r)
{
    struct fuzz_in *in = &g->in;

    r->data.buffer = buffer_handle(g);
    r->data.stream = (uint16_t)fuzz_mostly(in, STREAMS + 1);
    r->data.offset = range(g);
    r->data.len = (uint32_t)range(g);
    r->data.data_off = fuzz_rarely(in) ? fuzz_u32(in) : DATA + fuzz_u16(in);
}

static void graph_command(struct guest *g, union record *r)
{
    uint32_t handle = fuzz_below(&g->in, GRAPHS) + 1;
    struct fuzz_graph *f = &g->graphs[handle];

    learn_buffers(g);
    make_graph(&g->in, &g->buffers, f);
    f->head.device += g->device;
    r->graph.graph = fuzz_rarely(&g->in) ? fuzz_u32(&g->in) : handle;
    r->graph.data_len = graph_len(f);
    r->graph.data_off = payload(g, f, r->graph.data_len);
}

static void patch_command(struct guest *g, union record *r)
{
    uint32_t handle = fuzz_below(&g->in, GRAPHS) + 1, n = 1 + fuzz_below(&g->in, 4);
    struct fuzz_graph *f = &g->graphs[handle];
    struct vgr_graph_patch p[4] = {0};

    learn_buffers(g);
    for (uint32_t i = 0; i < n; i++) {
        p[i].index = f->head.n_tensors ? fuzz_mostly(&g->in, f->head.n_tensors) : 0;
        if (p[i].index > GRAPH_MAX)
            continue;
        p[i].tensor = f->t[p[i].index];
        if (!p[i].tensor.view_src)
            place(&g->in, &g->buffers, &p[i].tensor);
        if (fuzz_rarely(&g->in))
            damage(&g->in, &p[i].tensor, f->head.n_tensors);
    }
    r->graph.graph = handle;
    r->graph.data_len = n * (uint32_t)sizeof(p[0]);
    r->graph.data_off = payload(g, p, r->graph.data_len);
}

static void question(struct guest *g, union record *r)
{
    struct vgr_tensor q[1 + 2 * VGR_SRCS];
    struct fuzz_graph f;
    uint32_t n;

    learn_buffers(g);
    make_graph(&g->in, &g->buffers, &f);
    n = make_question(&f, 0, q);
    if (fuzz_rarely(&g->in))
        damage(&g->in, &q[fuzz_below(&g->in, n)], n);
    r->query.device = fuzz_rarely(&g->in) ? fuzz_u32(&g->in) : g->device;
    r->query.data_len = n * (uint32_t)sizeof(q[0]);
    r->query.data_off = payload(g, q, r->query.data_len);
    r->query.reply_off = reply_off(g);
}

static void order(struct guest *g, union record *r)
{
    struct fuzz_graph f;

    learn_buffers(g);
    make_graph(&g->in, &g->buffers, &f);
    f.head.device += g->device;
    r->order.data_len = graph_len(&f);
    r->order.data_off = payload(g, &f, r->order.data_len);
    r->order.reply_off = reply_off(g);
}

/* Fills in a command and returns its size. */
static uint32_t make_command(struct guest *g, union record *r, uint16_t op)
{
    struct fuzz_in *in = &g->in;

    memset(r, 0, sizeof(*r));
    r->h.op = op;
    r->h.flags = fuzz_below(in, 4) ? 0 : VGR_CMD_F_AWAIT;
    switch (r->h.op) {
    case VGR_CMD_SYNC:
        return sizeof(r->h);
    case VGR_CMD_STREAM_OPEN:
    case VGR_CMD_STREAM_CLOSE:
        r->stream.stream = fuzz_mostly(in, STREAMS) + 1;
        r->stream.device = fuzz_rarely(in) ? fuzz_u32(in) : g->device;
        return sizeof(r->stream);
    case VGR_CMD_STREAM_WAIT:
        r->stream_wait.stream = fuzz_mostly(in, STREAMS) + 1;
        r->stream_wait.other = fuzz_mostly(in, STREAMS) + 1;
        return sizeof(r->stream_wait);
    case VGR_CMD_BUFFER_ALLOC:
        r->alloc.buffer = buffer_handle(g);
        r->alloc.device = fuzz_rarely(in) ? fuzz_u32(in) : g->device;
        /* Mostly small; what the machine could give in earnest would only cost time. */
        r->alloc.size = fuzz_rarely(in) ? 1ull << (44 + fuzz_below(in, 20)) : 1u + fuzz_u16(in);
        r->alloc.usage = fuzz_mostly(in, 3);
        r->alloc.reply_off = reply_off(g);
        return sizeof(r->alloc);
    case VGR_CMD_BUFFER_FREE:
        r->handle.handle = buffer_handle(g);
        return sizeof(r->handle);
    case VGR_CMD_GRAPH_FREE:
        r->handle.handle = fuzz_mostly(in, GRAPHS) + 1;
        return sizeof(r->handle);
    case VGR_CMD_SET:
    case VGR_CMD_GET:
        data_command(g, r);
        return sizeof(r->data);
    case VGR_CMD_SET_INLINE:
        data_command(g, r);
        if (!fuzz_rarely(in))
            r->data.len %= 256;
        fuzz_bytes(in, r->bytes + sizeof(r->data), r->data.len < 64 ? r->data.len : 64);
        return (uint32_t)sizeof(r->data) + (r->data.len % 400 + 7) / 8 * 8;
    case VGR_CMD_MEMSET:
        r->memset.buffer = buffer_handle(g);
        r->memset.value = fuzz_u32(in);
        r->memset.offset = range(g);
        r->memset.len = range(g);
        return sizeof(r->memset);
    case VGR_CMD_COPY:
        r->copy.dst = buffer_handle(g);
        r->copy.src = buffer_handle(g);
        r->copy.dst_offset = range(g);
        r->copy.src_offset = range(g);
        r->copy.len = range(g);
        r->copy.src_queue = fuzz_rarely(in) ? fuzz_u16(in) : (uint16_t)g->device;
        return sizeof(r->copy);
    case VGR_CMD_INIT_TENSOR:
        learn_buffers(g);
        leaf(in, &g->buffers, &r->init.tensor);
        if (fuzz_rarely(in))
            damage(in, &r->init.tensor, 1);
        return sizeof(r->init);
    case VGR_CMD_GRAPH_DEFINE:
        graph_command(g, r);
        return sizeof(r->graph);
    case VGR_CMD_GRAPH_PATCH:
        patch_command(g, r);
        return sizeof(r->graph);
    case VGR_CMD_GRAPH_RUN:
        r->run.graph = fuzz_mostly(in, GRAPHS) + 1;
        r->run.stream = fuzz_below(in, 8) ? 1 : fuzz_mostly(in, STREAMS) + 1;
        return sizeof(r->run);
    case VGR_CMD_QUERY_OP:
        question(g, r);
        return sizeof(r->query);
    case VGR_CMD_QUERY_MEMORY:
        r->memory.device = fuzz_rarely(in) ? fuzz_u32(in) : g->device;
        r->memory.reply_off = reply_off(g);
        return sizeof(r->memory);
    case VGR_CMD_QUEUE_OPEN:
        r->queue_open.device = fuzz_mostly(in, 3);
        r->queue_open.off = fuzz_rarely(in) ? fuzz_u32(in) : DATA;
        r->queue_open.ring_size = fuzz_rarely(in) ? fuzz_u32(in) : RING;
        return sizeof(r->queue_open);
    case VGR_CMD_QUEUE_WAIT:
        r->queue_wait.queue = fuzz_mostly(in, 3);
        r->queue_wait.seq = fuzz_size(in);
        return sizeof(r->queue_wait);
    default:
        order(g, r);
        return sizeof(r->order);
    }
}

/* Adds a command to the ring. False if it is full. */
static bool push(struct guest *g, uint16_t op)
{
    union record r;
    uint32_t size = make_command(g, &r, op);
    void *at;

    r.h.size = size;
    if (fuzz_rarely(&g->in)) { /* lies about itself */
        r.h.size = (uint32_t)fuzz_size(&g->in);
        r.h.op = (uint16_t)fuzz_mostly(&g->in, VGR_CMD_COUNT);
    }
    at = vgr_ring_reserve(&g->ring, size);
    if (!at)
        return false;
    memcpy(at, &r, size);
    vgr_ring_commit(&g->ring, size);
    return true;
}

/* What graphs run on: buffers, and a stream, of `device`. The rest is up to the input. */
static void open_shop(struct guest *g, uint32_t device)
{
    struct vgr_cmd_stream s = {{VGR_CMD_STREAM_OPEN, 0, sizeof(s)}, 1, device};

    memcpy(vgr_ring_reserve(&g->ring, sizeof(s)), &s, sizeof(s));
    vgr_ring_commit(&g->ring, sizeof(s));
    for (uint32_t i = 1; i <= 3; i++) {
        struct vgr_cmd_alloc a = {
            {VGR_CMD_BUFFER_ALLOC, 0, sizeof(a)}, i, device, 8192ull << i, 0, DATA};

        memcpy(vgr_ring_reserve(&g->ring, sizeof(a)), &a, sizeof(a));
        vgr_ring_commit(&g->ring, sizeof(a));
    }
}

/* The next commands: any, or such as belong together. */
static bool push_some(struct guest *g)
{
    static const uint8_t often[][4] = {
        {VGR_CMD_GRAPH_DEFINE, VGR_CMD_GRAPH_RUN},
        {VGR_CMD_GRAPH_PATCH, VGR_CMD_GRAPH_RUN},
        {VGR_CMD_SET, VGR_CMD_GRAPH_RUN, VGR_CMD_GET},
        {VGR_CMD_BUFFER_FREE, VGR_CMD_BUFFER_ALLOC, VGR_CMD_GRAPH_PATCH, VGR_CMD_GRAPH_RUN},
    };
    uint8_t what = fuzz_u8(&g->in);
    bool room = true;

    if (what < 0x80)
        return push(g, 1 + what % (VGR_CMD_COUNT - 1));
    for (int i = 0; room && i < 4 && often[what % 4][i]; i++)
        room = push(g, often[what % 4][i]);
    return room;
}

#endif
