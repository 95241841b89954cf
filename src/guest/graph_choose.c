/* SPDX-License-Identifier: MIT
 *
 * Choosing between RUN, PATCH and DEFINE: see graph.h.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/graph.h"

static bool same_size(const struct vgr_graph_body *a, const struct vgr_graph_body *b)
{
    return a->n_nodes == b->n_nodes && a->n_tensors == b->n_tensors;
}

/* May one record be patched into the other? */
static bool same_structure(const struct vgr_tensor *a, const struct vgr_tensor *b)
{
    return a->op == b->op && a->type == b->type && a->view_src == b->view_src &&
           !memcmp(a->src, b->src, sizeof(a->src));
}

/* Counts the records that differ; `limit` + 1 if there are more than that or one cannot be patched.
 * Notes them in `diff` unless that is NULL. */
static uint32_t count_diff(const struct vgr_graph_body *a, const struct vgr_graph_body *b,
                           uint32_t limit, uint32_t *diff)
{
    const struct vgr_tensor *ra = vgr_graph_records(a), *rb = vgr_graph_records(b);
    uint32_t n = 0;

    for (uint32_t i = 0; i < a->n_tensors; i++) {
        if (!memcmp(&ra[i], &rb[i], sizeof(ra[i])))
            continue;
        if (n == limit || !same_structure(&ra[i], &rb[i]))
            return limit + 1;
        if (diff)
            diff[n] = i;
        n++;
    }
    return n;
}

static struct vgr_graph_slot *find_equal(struct vgr_graphs *g)
{
    for (uint32_t k = 0; k < g->n_slots; k++) {
        struct vgr_graph_slot *s = &g->slot[(g->last + k) % g->n_slots];

        if (vgr_graphs_alive(g, s) && same_size(&s->body, &g->scratch) &&
            !memcmp(s->body.payload, g->scratch.payload, vgr_graph_len(&g->scratch)))
            return s;
    }
    return NULL;
}

/* The slot with the fewest differences, at most half of all records. */
static struct vgr_graph_slot *find_similar(struct vgr_graphs *g)
{
    uint32_t limit = g->scratch.n_tensors / 2;
    struct vgr_graph_slot *best = NULL;

    for (uint32_t i = 0; i < g->n_slots && limit; i++) {
        struct vgr_graph_slot *s = &g->slot[i];
        uint32_t n;

        if (!vgr_graphs_alive(g, s) || !same_size(&s->body, &g->scratch))
            continue;
        n = count_diff(&s->body, &g->scratch, limit, NULL);
        if (n <= limit) {
            best = s;
            limit = n - 1; /* n > 0: find_equal() came before */
        }
    }
    return best;
}

/* A slot whose graph is of no use any more, or else the one not used for the longest time. */
static struct vgr_graph_slot *find_victim(struct vgr_graphs *g)
{
    struct vgr_graph_slot *oldest = &g->slot[0];

    for (uint32_t i = 0; i < g->n_slots; i++) {
        struct vgr_graph_slot *s = &g->slot[i];

        if (!vgr_graphs_alive(g, s))
            return s;
        if (s->stamp < oldest->stamp)
            oldest = s;
    }
    return oldest;
}

static bool diff_room(struct vgr_graphs *g, uint32_t n)
{
    uint32_t *diff;

    if (n <= g->diff_cap)
        return true;
    diff = realloc(g->diff, n * sizeof(*diff));
    if (!diff)
        return false;
    g->diff = diff;
    g->diff_cap = n;
    return true;
}

enum vgr_graph_action vgr_graphs_choose(struct vgr_graphs *g, struct vgr_graph_slot **slot)
{
    enum vgr_graph_action action = VGR_GRAPH_RUN;

    *slot = find_equal(g);
    if (!*slot) {
        action = VGR_GRAPH_PATCH;
        *slot = diff_room(g, g->scratch.n_tensors) ? find_similar(g) : NULL;
        if (*slot)
            g->n_diff = count_diff(&(*slot)->body, &g->scratch, g->scratch.n_tensors, g->diff);
    }
    if (!*slot) {
        action = VGR_GRAPH_DEFINE;
        *slot = find_victim(g);
        (*slot)->valid = false;
    }
    return action;
}

void vgr_graphs_commit(struct vgr_graphs *g, struct vgr_graph_slot *slot)
{
    struct vgr_graph_body old = slot->body;

    slot->body = g->scratch;
    g->scratch = old;
    slot->valid = true;
    slot->stamp = ++g->clock;
    g->last = (uint32_t)(slot - g->slot);
}
