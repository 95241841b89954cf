/* SPDX-License-Identifier: MIT
 *
 * graph.h - graphs on the wire, sent as seldom as possible.
 *
 * Theory of operation
 * -------------------
 *
 * The worker keeps graphs; the guest remembers, per stream, what it sent (slots). A graph to
 * compute is looked for in three steps, from cheap to dear:
 *
 *   vgr_graphs_same()    compares the program's tensors, all of them and every byte that matters,
 *                        with images of those that a slot was made from. The pointers in there are
 *                        not trusted to mean anything, only to be equal: a tensor that refers to
 *                        another by the same pointer vouches that this is there to be compared.
 *   vgr_graphs_encode()  writes the graph as records into a scratch payload.
 *   vgr_graphs_choose()  compares the payload with all slots: equal (RUN), equal in structure with
 *                        few records changed (PATCH), else a slot to DEFINE anew.
 *
 * Programs whose model is split between devices run many graphs in turn, a graph or two for each layer,
 * which differ in little more than addresses. The first step finds each of them without a search: every
 * slot knows which one was used after it the last time. The third step patches no slot that is in use
 * (graph_choose.c).
 *
 * So what is served is never stale, whatever addresses, contexts or ids the program reuses. A slot
 * that names a buffer which was freed since is dead, even if the handle is in use again: the worker
 * runs no graph across a free (by a count of frees per handle).
 *
 * A payload is struct vgr_graph, then its records; nodes first, then leafs in the order of their
 * first use. A leaf is what a node refers to and that is no node before it. In the steady state
 * nothing here allocates. One thread at a time.
 */
#ifndef VGR_GUEST_GRAPH_H
#define VGR_GUEST_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/ggml_abi.h"
#include "protocol/wire.h"

struct vgr_queue;

#define VGR_GRAPH_BUFFERS 32u  /* different buffers in a graph that is kept */
#define VGR_GRAPHS_GONE   512u /* graphs remembered after they were patched into others */

enum vgr_graph_action {
    VGR_GRAPH_RUN,    /* the worker has it */
    VGR_GRAPH_PATCH,  /* it has it but for the records in diff[] */
    VGR_GRAPH_DEFINE, /* it has to be sent */
};

/* The part of a ggml_tensor that holds all that matters to the host, as it lies in memory. */
#define VGR_GRAPH_IMAGE (offsetof(struct ggml_tensor, data) + sizeof(void *))

/* A graph as records, and what belongs to each record. Arrays are `cap` long. */
struct vgr_graph_body {
    uint32_t cap;
    uint32_t n_nodes, n_tensors;
    struct vgr_graph *payload;          /* then the records */
    const struct ggml_tensor **tensor;  /* by record; only compared, until found in a live graph */
    uint8_t *flaw;                      /* by record: why no op can use it; 0: none */
    int32_t *uses;                      /* by node: inside of this graph */
    uint32_t *hash_slot;                /* by node: hint for vgr_cgraph_uses() */
    uint8_t (*image)[VGR_GRAPH_IMAGE];  /* by record: the tensor's bytes as they were */
    uint32_t n_buffers;                 /* VGR_GRAPH_BUFFERS + 1: too many to tell */
    uint32_t buffer[VGR_GRAPH_BUFFERS]; /* handles, and their count of frees at that time */
    uint32_t epoch[VGR_GRAPH_BUFFERS];
};

struct vgr_graph_slot {
    uint32_t handle; /* 0: none yet; the owner assigns it */
    bool valid;      /* the worker has `body` under `handle` */
    uint32_t held;   /* tensors that the worker keeps under `handle`, valid or not */
    uint32_t next;   /* the slot that was used after this one the last time */
    uint64_t stamp;  /* of last use */
    uint64_t hash;   /* of the payload */
    struct vgr_graph_body body;
};

/* What can be told of a graph at a glance. No graph has n = 0. */
struct vgr_graph_key {
    const struct ggml_tensor *first, *last; /* nodes */
    uint32_t n;                             /* of nodes */
};

struct vgr_graphs {
    uint32_t device;
    uint32_t max_tensors;
    uint32_t n_slots;             /* that exist */
    uint32_t max_slots, max_kept; /* how many there may be, and tensors in them; may change */
    uint32_t cap_slots;
    struct vgr_graph_slot *slot;
    struct vgr_graph_key *key; /* of each slot */
    uint32_t kept;             /* the sum of what the slots hold */
    uint32_t last;             /* used last */
    uint64_t clock;            /* graphs that were run */
    uint64_t window;           /* what was used so many graphs ago or later is in use */
    uint64_t turns;            /* graphs that were run after another one */
    uint64_t looks;            /* slots that vgr_graphs_same() has looked at */
    struct vgr_graph_gone {
        uint64_t hash; /* 0: unused */
        uint64_t stamp;
    } *gone;
    uint32_t next_gone;
    uint64_t hash;                 /* of scratch, since choose() */
    const struct vgr_queue *queue; /* compared only */
    const uint32_t *epochs;        /* by buffer handle: count of frees; the queue's */
    struct vgr_graph_body scratch;
    bool placed;    /* scratch is encoded with memory */
    uint32_t work;  /* how many nodes of scratch have something to do */
    uint32_t *diff; /* records that differ; valid after choose() said PATCH */
    uint32_t n_diff, diff_cap;
    struct vgr_graph_map {
        const struct ggml_tensor *key;
        uint32_t epoch; /* the entry exists if this is map_epoch */
        uint32_t index;
    } *map;
    uint32_t map_cap, map_used, map_epoch;
};

/* Graphs whose tensors lie in buffers of `queue`; `epochs` must outlive it. There are no more than
 * max_slots slots; if these hold more than max_kept tensors together, old ones have to go
 * (vgr_graphs_surplus()). Returns 0 or -ENOMEM. */
int vgr_graphs_init(struct vgr_graphs *g, uint32_t device, uint32_t max_tensors, uint32_t max_slots,
                    uint32_t max_kept, const struct vgr_queue *queue, const uint32_t *epochs);
void vgr_graphs_free(struct vgr_graphs *g);

/* The records of a body. */
static inline struct vgr_tensor *vgr_graph_records(const struct vgr_graph_body *b)
{
    return (struct vgr_tensor *)(b->payload + 1);
}

static inline uint32_t vgr_graph_len(const struct vgr_graph_body *b)
{
    return (uint32_t)(sizeof(struct vgr_graph) + b->n_tensors * sizeof(struct vgr_tensor));
}

/* The slot that holds exactly this graph, if the program still uses the same tensors for it, or
 * NULL. `trusted`: vgr_cgraph_trusted(). */
struct vgr_graph_slot *vgr_graphs_same(struct vgr_graphs *g, struct ggml_cgraph *cg, bool trusted);

/* Does the worker still have what the slot says? */
bool vgr_graphs_alive(const struct vgr_graphs *g, const struct vgr_graph_slot *s);

/* Encodes a graph of at least one node into g->scratch; unless `placed`, without the tensors' memory,
 * which they need not have yet. With memory, a node that has nothing to do becomes one without an op: one
 * without elements, one that is not marked to be computed, a view of somebody else's tensor. GGML's scheduler
 * leaves such views in a split, since no backend does anything for them: who computes from one gets a copy that
 * the scheduler has made. Returns 0; -E2BIG: over max_tensors; -EFAULT: an op uses *culprit, which is not in a
 * buffer of ours; -ERANGE: or is, but extends past its end; -ENOTSUP: *culprit has an op that cannot be sent or
 * refers to a later node; -ENOMEM. */
int vgr_graphs_encode(struct vgr_graphs *g, struct ggml_cgraph *cg, bool placed, bool trusted,
                      const struct ggml_tensor **culprit);

/* What to do with g->scratch, and in which slot. NULL in *slot: no memory. */
enum vgr_graph_action vgr_graphs_choose(struct vgr_graphs *g, struct vgr_graph_slot **slot);

/* Before g->scratch is defined in `slot`: another slot that has to go first, because the slots would hold
 * too much; NULL: none. The owner frees the worker's graph, calls vgr_graphs_forget(), and asks again. */
struct vgr_graph_slot *vgr_graphs_surplus(struct vgr_graphs *g, const struct vgr_graph_slot *slot);

/* Makes the slot as new. Its handle is the caller's. */
void vgr_graphs_forget(struct vgr_graphs *g, struct vgr_graph_slot *slot);

/* Says that the worker has g->scratch in `slot` now: exchanges the two. */
void vgr_graphs_commit(struct vgr_graphs *g, struct vgr_graph_slot *slot);

/* A slot whose graph is of no use any more, or that has none; NULL if there is none. */
struct vgr_graph_slot *vgr_graphs_dead(struct vgr_graphs *g);

/* One slot more, whatever max_slots is; NULL: no memory. Slots may move. */
struct vgr_graph_slot *vgr_graphs_add(struct vgr_graphs *g);

/* Of the slots that have been used, one whose graph is of no use, else the one not used for the longest time;
 * not `but`. NULL: there is none. */
struct vgr_graph_slot *vgr_graphs_oldest(struct vgr_graphs *g, const struct vgr_graph_slot *but);

/* Says that slot `i` is being run. */
static inline void vgr_graphs_use(struct vgr_graphs *g, uint32_t i)
{
    g->turns += i != g->last;
    g->slot[g->last].next = i;
    g->slot[i].stamp = ++g->clock;
    g->last = i;
}

#endif
