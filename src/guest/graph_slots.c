/* SPDX-License-Identifier: MIT
 *
 * The slots, how many there are and which has to go: see graph.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "guest/graph.h"

#define FIRST_SLOTS 8u

/* Tensors. */
#define SMALL 64u

/* Runs. Few programs have more graphs in turn: that would be two for each of 128 layers. */
#define FIRST_WINDOW 256u

int vgr_graphs_init(struct vgr_graphs *g, uint32_t device, uint32_t max_tensors, uint32_t max_slots,
                    uint32_t max_kept, const struct vgr_queue *queue, const uint32_t *epochs)
{
    *g = (struct vgr_graphs){.device = device,
                             .max_tensors = max_tensors,
                             .max_slots = max_slots,
                             .max_kept = max_kept,
                             .window = FIRST_WINDOW,
                             .queue = queue,
                             .epochs = epochs};
    g->gone = calloc(VGR_GRAPHS_GONE, sizeof(*g->gone));
    return g->gone ? 0 : -ENOMEM;
}

static void free_body(struct vgr_graph_body *b)
{
    free(b->payload);
    free(b->tensor);
    free(b->flaw);
    free(b->uses);
    free(b->hash_slot);
    free(b->image);
    *b = (struct vgr_graph_body){0};
}

void vgr_graphs_free(struct vgr_graphs *g)
{
    for (uint32_t i = 0; i < g->n_slots; i++)
        free_body(&g->slot[i].body);
    free_body(&g->scratch);
    free(g->slot);
    free(g->key);
    free(g->gone);
    free(g->diff);
    free(g->map);
    *g = (struct vgr_graphs){0};
}

/* ---- Room ---- */

static bool grow(struct vgr_graphs *g)
{
    uint32_t cap = g->cap_slots ? 2 * g->cap_slots : FIRST_SLOTS;
    struct vgr_graph_slot *slot = realloc(g->slot, cap * sizeof(*slot));
    struct vgr_graph_key *key;

    if (!slot)
        return false;
    g->slot = slot;
    key = realloc(g->key, cap * sizeof(*key));
    if (!key)
        return false;
    g->key = key;
    g->cap_slots = cap;
    return true;
}

struct vgr_graph_slot *vgr_graphs_dead(struct vgr_graphs *g)
{
    for (uint32_t i = 0; i < g->n_slots; i++) {
        if (!vgr_graphs_alive(g, &g->slot[i]))
            return &g->slot[i];
    }
    return NULL;
}

struct vgr_graph_slot *vgr_graphs_add(struct vgr_graphs *g)
{
    uint32_t i = g->n_slots;

    if (i == g->cap_slots && !grow(g))
        return NULL;
    g->slot[i] = (struct vgr_graph_slot){.next = i};
    g->key[i] = (struct vgr_graph_key){0};
    g->n_slots++;
    return &g->slot[i];
}

struct vgr_graph_slot *vgr_graphs_oldest(struct vgr_graphs *g, const struct vgr_graph_slot *but)
{
    struct vgr_graph_slot *oldest = NULL;

    for (uint32_t i = 0; i < g->n_slots; i++) {
        struct vgr_graph_slot *s = &g->slot[i];

        if (s == but || (!s->handle && !s->held))
            continue;
        if (!vgr_graphs_alive(g, s))
            return s;
        if (!oldest || s->stamp < oldest->stamp)
            oldest = s;
    }
    return oldest;
}

struct vgr_graph_slot *vgr_graphs_surplus(struct vgr_graphs *g, const struct vgr_graph_slot *slot)
{
    if (g->kept - slot->held + g->scratch.n_tensors <= g->max_kept)
        return NULL;
    return vgr_graphs_oldest(g, slot);
}

void vgr_graphs_forget(struct vgr_graphs *g, struct vgr_graph_slot *slot)
{
    uint32_t i = (uint32_t)(slot - g->slot);

    g->kept -= slot->held;
    free_body(&slot->body);
    *slot = (struct vgr_graph_slot){.next = i};
    g->key[i] = (struct vgr_graph_key){0};
}

/* ---- Exchange ---- */

static void shrink_array(void *array, size_t size)
{
    void **p = array, *q = realloc(*p, size);

    if (q)
        *p = q;
}

/* Arrays go round with scratch: a small graph must not keep those that a large one once needed. */
static void fit(struct vgr_graph_body *b)
{
    uint32_t n = b->n_tensors;

    if (b->cap <= 4 * n || b->cap <= SMALL)
        return;
    shrink_array(&b->payload, vgr_graph_len(b));
    shrink_array(&b->tensor, n * sizeof(*b->tensor));
    shrink_array(&b->flaw, n * sizeof(*b->flaw));
    shrink_array(&b->uses, n * sizeof(*b->uses));
    shrink_array(&b->hash_slot, n * sizeof(*b->hash_slot));
    shrink_array(&b->image, n * sizeof(*b->image));
    b->cap = n;
}

void vgr_graphs_commit(struct vgr_graphs *g, struct vgr_graph_slot *slot)
{
    struct vgr_graph_body old = slot->body;
    uint32_t i = (uint32_t)(slot - g->slot);

    slot->body = g->scratch;
    g->scratch = old;
    fit(&slot->body);
    slot->valid = true;
    slot->hash = g->hash;
    g->kept += slot->body.n_tensors - slot->held;
    slot->held = slot->body.n_tensors;
    g->key[i] = (struct vgr_graph_key){
        .first = slot->body.tensor[0],
        .last = slot->body.tensor[slot->body.n_nodes - 1],
        .n = slot->body.n_nodes,
    };
    vgr_graphs_use(g, i);
}
