/* SPDX-License-Identifier: MIT
 *
 * Choosing between RUN, PATCH and DEFINE: see graph.h.
 *
 * To patch a slot is cheaper than to define another one, but the graph that was in there is gone. If the
 * program runs that graph again, both were in vain. So a slot is patched only if its graph will hardly
 * come back:
 *
 * - It was made of the same tensors as the new graph: the program has changed them, and cannot run what
 *   they were. That is how a K/V cache grows.
 * - Or it has not been run for as many runs as `window` says. A program that builds each graph in other
 *   memory is served by a few slots that way.
 *
 * Either may be wrong: a program may go to and fro between two graphs in the same memory, and a model of
 * many layers may have more graphs in turn than the window is long. So what was patched away is
 * remembered by its hash. If it is asked for again, it gets a slot of its own, and the window becomes
 * long enough to see it the next time. After one or two rounds all are known.
 *
 * Without room for another slot, the one that was not used for the longest time has to do.
 */
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "guest/graph.h"
#include "protocol/codec.h"

static bool same_size(const struct vgr_graph_body *a, const struct vgr_graph_body *b)
{
    return a->n_nodes == b->n_nodes && a->n_tensors == b->n_tensors;
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
        if (n == limit || !vgr_codec_same_structure(&ra[i], &rb[i]))
            return limit + 1;
        if (diff)
            diff[n] = i;
        n++;
    }
    return n;
}

/* Can the slot be patched into scratch, with at most half of all records? */
static bool is_similar(const struct vgr_graphs *g, const struct vgr_graph_slot *s)
{
    uint32_t limit = g->scratch.n_tensors / 2;

    return vgr_graphs_alive(g, s) && same_size(&s->body, &g->scratch) &&
           count_diff(&s->body, &g->scratch, limit, NULL) <= limit;
}

static struct vgr_graph_slot *find_equal(struct vgr_graphs *g)
{
    for (uint32_t i = 0; i < g->n_slots; i++) {
        struct vgr_graph_slot *s = &g->slot[i];

        if (s->hash == g->hash && vgr_graphs_alive(g, s) && same_size(&s->body, &g->scratch) &&
            !memcmp(s->body.payload, g->scratch.payload, vgr_graph_len(&g->scratch)))
            return s;
    }
    return NULL;
}

/* Was the slot made of the tensors of which scratch is? */
static bool same_tensors(const struct vgr_graphs *g, uint32_t i)
{
    const struct vgr_graph_body *b = &g->scratch;
    const struct vgr_graph_key *k = &g->key[i];

    return k->n == b->n_nodes && k->first == b->tensor[0] && k->last == b->tensor[k->n - 1];
}

/* The slot to patch, NULL if there is none: the one of the same tensors, else one out of use. Of
 * several, the one not used for the longest time. */
static struct vgr_graph_slot *find_similar(struct vgr_graphs *g)
{
    struct vgr_graph_slot *best = NULL;
    bool best_own = false;

    for (uint32_t i = 0; i < g->n_slots; i++) {
        struct vgr_graph_slot *s = &g->slot[i];
        bool own = same_tensors(g, i);

        if ((!own && g->clock - s->stamp < g->window) ||
            (best && (best_own > own || (best_own == own && best->stamp < s->stamp))) ||
            !is_similar(g, s))
            continue;
        best = s;
        best_own = own;
    }
    return best;
}

/* Remembers the graph of a slot that is about to be patched. */
static void note_gone(struct vgr_graphs *g, const struct vgr_graph_slot *s)
{
    g->gone[g->next_gone] = (struct vgr_graph_gone){s->hash, s->stamp};
    g->next_gone = (g->next_gone + 1) % VGR_GRAPHS_GONE;
}

/* Was scratch patched away before? Makes the window long enough to see it the next time. */
static bool has_come_back(struct vgr_graphs *g)
{
    for (uint32_t i = 0; i < VGR_GRAPHS_GONE; i++) {
        struct vgr_graph_gone *e = &g->gone[i];
        uint64_t age = g->clock - e->stamp;

        if (!e->stamp || e->hash != g->hash)
            continue;
        if (g->window < 2 * age)
            g->window = 2 * age;
        e->stamp = 0;
        return true;
    }
    return false;
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

/* Where scratch goes if it is not there yet: a slot to patch, or one to define it in. */
static struct vgr_graph_slot *find_place(struct vgr_graphs *g, bool *patch)
{
    struct vgr_graph_slot *dead = vgr_graphs_dead(g), *s = NULL;
    bool back = has_come_back(g);
    bool room = (dead || g->n_slots < g->max_slots) &&
                g->kept - (dead ? dead->held : 0) + g->scratch.n_tensors <= g->max_kept;

    *patch = false;
    if (!back || !room)
        s = find_similar(g);
    if (!s && room) {
        s = dead ? dead : vgr_graphs_add(g);
        if (s)
            return s;
    }
    *patch = s;
    if (!s) {
        s = vgr_graphs_oldest(g, NULL);
        *patch = s && is_similar(g, s);
    }
    *patch = *patch && diff_room(g, g->scratch.n_tensors);
    return s;
}

enum vgr_graph_action vgr_graphs_choose(struct vgr_graphs *g, struct vgr_graph_slot **slot)
{
    bool patch;

    g->hash = XXH3_64bits(g->scratch.payload, vgr_graph_len(&g->scratch));
    *slot = find_equal(g);
    if (*slot)
        return VGR_GRAPH_RUN;
    *slot = find_place(g, &patch);
    if (*slot && patch) {
        g->n_diff = count_diff(&(*slot)->body, &g->scratch, g->scratch.n_tensors, g->diff);
        note_gone(g, *slot);
        return VGR_GRAPH_PATCH;
    }
    if (*slot)
        (*slot)->valid = false;
    return VGR_GRAPH_DEFINE;
}
