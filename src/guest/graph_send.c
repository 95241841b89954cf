/* SPDX-License-Identifier: MIT */
#include "guest/graph_send.h"

#include <errno.h>
#include <string.h>

#include "guest/counters.h"

/* Of one stream, whatever there is: 65,536 tensors are some 35 MB here and 45 MB on the host. */
#define MAX_SLOTS 512u
#define MAX_KEPT  65536u

/* What one of `n` streams may take. */
static uint32_t part(uint64_t total, uint32_t n, uint32_t most)
{
    uint64_t part = total / 8 / (n ? n : 1);

    return part < 1 ? 1 : part < most ? (uint32_t)part : most;
}

void vgr_graph_limits(struct vgr_graphs *g, const struct vgr_queue *q)
{
    const struct vgr_reply *r = &q->conn->reply;

    g->max_slots = part(r->max_graphs, __atomic_load_n(&q->n_streams, __ATOMIC_RELAXED), MAX_SLOTS);
    g->max_kept =
        part(r->max_kept, __atomic_load_n(&q->conn->n_streams, __ATOMIC_RELAXED), MAX_KEPT);
}

static void drop(struct vgr_graphs *g, struct vgr_queue *q, struct vgr_graph_slot *slot)
{
    struct vgr_cmd_handle cmd = {.h.op = VGR_CMD_GRAPH_FREE, .handle = slot->handle};

    if (slot->held)
        vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    if (slot->handle)
        vgr_handles_give(&q->graphs, slot->handle);
    __atomic_sub_fetch(&q->conn->kept, slot->held, __ATOMIC_RELAXED);
    vgr_graphs_forget(g, slot);
}

void vgr_graph_drop_all(struct vgr_graphs *g, struct vgr_queue *q)
{
    for (uint32_t i = 0; i < g->n_slots; i++)
        drop(g, q, &g->slot[i]);
}

/* Counts what scratch adds to all that the host keeps, if there is room for it. */
static bool keep(struct vgr_queue *q, uint64_t more)
{
    if (__atomic_add_fetch(&q->conn->kept, more, __ATOMIC_RELAXED) <= q->conn->reply.max_kept)
        return true;
    __atomic_sub_fetch(&q->conn->kept, more, __ATOMIC_RELAXED);
    return false;
}

/* For scratch in `slot`. */
static int make_room(struct vgr_graphs *g, struct vgr_queue *q, struct vgr_graph_slot *slot)
{
    struct vgr_graph_slot *other;

    while ((other = vgr_graphs_surplus(g, slot)))
        drop(g, q, other);
    while (!slot->handle && !(slot->handle = vgr_handles_take(&q->graphs))) {
        other = vgr_graphs_oldest(g, slot);
        if (!other)
            return -ENOMEM;
        drop(g, q, other);
    }
    /* The worker drops what the handle held before it looks for room. */
    __atomic_sub_fetch(&q->conn->kept, slot->held, __ATOMIC_RELAXED);
    while (!keep(q, g->scratch.n_tensors)) {
        other = vgr_graphs_oldest(g, slot);
        if (!other) {
            __atomic_add_fetch(&q->conn->kept, slot->held, __ATOMIC_RELAXED);
            return -E2BIG;
        }
        drop(g, q, other);
    }
    return 0;
}

static int send_whole(struct vgr_graphs *g, struct vgr_queue *q, struct vgr_graph_slot *slot)
{
    struct vgr_cmd_graph cmd = {.h.op = VGR_CMD_GRAPH_DEFINE,
                                .data_len = vgr_graph_len(&g->scratch)};
    uint32_t block;
    uint64_t seq;
    void *p;
    int err = make_room(g, q, slot);

    if (err)
        return err;
    p = vgr_queue_alloc(q, cmd.data_len, &cmd.data_off, &block);
    if (!p) {
        /* The worker still has what it had. */
        __atomic_add_fetch(&q->conn->kept, slot->held - g->scratch.n_tensors, __ATOMIC_RELAXED);
        return -E2BIG;
    }
    memcpy(p, g->scratch.payload, cmd.data_len);
    cmd.graph = slot->handle;
    seq = vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_sent(q, block, cmd.data_len, seq);
    vgr_count(q->conn->counters.graphs_defined, 1);
    return seq ? 0 : -EIO;
}

static int send_changes(struct vgr_graphs *g, struct vgr_queue *q,
                        const struct vgr_graph_slot *slot)
{
    const struct vgr_tensor *r = vgr_graph_records(&g->scratch);
    struct vgr_graph_patch *patch;
    struct vgr_cmd_graph cmd = {.h.op = VGR_CMD_GRAPH_PATCH,
                                .graph = slot->handle,
                                .data_len = g->n_diff * (uint32_t)sizeof(*patch)};
    uint32_t block;
    uint64_t seq;

    patch = vgr_queue_alloc(q, cmd.data_len, &cmd.data_off, &block);
    if (!patch)
        return -E2BIG;
    for (uint32_t i = 0; i < g->n_diff; i++)
        patch[i] = (struct vgr_graph_patch){.index = g->diff[i], .tensor = r[g->diff[i]]};
    seq = vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_sent(q, block, cmd.data_len, seq);
    vgr_count(q->conn->counters.graphs_patched, 1);
    return seq ? 0 : -EIO;
}

int vgr_graph_send(struct vgr_graphs *g, struct vgr_queue *q, enum vgr_graph_action action,
                   struct vgr_graph_slot *slot)
{
    switch (action) {
    case VGR_GRAPH_DEFINE:
        return send_whole(g, q, slot);
    case VGR_GRAPH_PATCH:
        return send_changes(g, q, slot);
    default:
        return 0;
    }
}
