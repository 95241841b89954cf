/* SPDX-License-Identifier: MIT */
#include "guest/order.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "guest/log.h"

/* Two nodes have one order. */
#define NODES_MIN 3
/* Room for an answer: a fusion of n nodes has a few sources more than nodes. */
#define DEPS_PER_NODE 2

static void forget(struct vgr_order *e)
{
    free(e->node);
    free(e->dep);
    *e = (struct vgr_order){0};
}

void vgr_orders_free(struct vgr_orders *o)
{
    for (uint32_t i = 0; i < VGR_ORDERS; i++)
        forget(&o->entry[i]);
    *o = (struct vgr_orders){0};
}

static bool ran(const uint8_t *seen, uint32_t n, uint32_t ref)
{
    return !ref || ref > n || seen[ref - 1];
}

bool vgr_order_valid(const struct vgr_tensor *records, const uint32_t *node, uint32_t n,
                     uint8_t *seen)
{
    memset(seen, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct vgr_tensor *r;

        if (node[i] >= n || seen[node[i]])
            return false;
        r = &records[node[i]];
        for (int s = 0; s < VGR_SRCS; s++) {
            if (r->src[s] != node[i] + 1 && !ran(seen, n, r->src[s]))
                return false;
        }
        if (!ran(seen, n, r->view_src))
            return false;
        seen[node[i]] = 1;
    }
    return true;
}

uint32_t vgr_order_deps(struct vgr_order_dep *dep, uint32_t n_deps, const uint32_t *node,
                        uint32_t n_nodes, uint32_t n_tensors, uint32_t *pos)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n_nodes; i++)
        pos[node ? node[i] : i] = i;
    for (uint32_t i = 0; i < n_deps; i++) {
        struct vgr_order_dep d = dep[i];

        if (d.until < n_nodes && d.tensor < n_tensors &&
            (d.tensor >= n_nodes || pos[d.tensor] <= pos[d.until]))
            dep[kept++] = d;
    }
    return kept;
}

/* Takes over an answer of the host about g->scratch, as far as it makes sense. */
static void take(struct vgr_order *e, const struct vgr_graph_body *b,
                 const struct vgr_order_reply *reply, uint32_t max_deps)
{
    uint32_t n = b->n_nodes, n_deps = reply->n_deps < max_deps ? reply->n_deps : max_deps;
    const struct vgr_order_dep *dep = (const void *)(reply->node + n);
    uint32_t *pos = malloc(n * sizeof(*pos)); /* or n flags */

    if (pos && reply->answer == VGR_ORDER_CHANGED) {
        if (!vgr_order_valid(vgr_graph_records(b), reply->node, n, (uint8_t *)pos))
            vgr_say_debug("the host's order of a graph makes no sense");
        else if ((e->node = malloc(n * sizeof(*e->node))))
            memcpy(e->node, reply->node, n * sizeof(*e->node));
    }
    if (pos && n_deps && (e->dep = malloc(n_deps * sizeof(*dep)))) {
        memcpy(e->dep, dep, n_deps * sizeof(*dep));
        e->n_deps = vgr_order_deps(e->dep, n_deps, e->node, n, b->n_tensors, pos);
    }
    free(pos);
}

/* Asks the host about g->scratch. False if there is no answer. */
static bool ask(struct vgr_orders *o, struct vgr_queue *q, const struct vgr_graphs *g,
                uint32_t max_deps, struct vgr_order *e)
{
    uint32_t n = g->scratch.n_nodes, len = vgr_graph_len(&g->scratch), off, block;
    uint32_t reply_len = (uint32_t)(sizeof(struct vgr_order_reply) + n * sizeof(*e->node) +
                                    max_deps * sizeof(*e->dep));
    struct vgr_cmd_query_order cmd = {.h.op = VGR_CMD_QUERY_ORDER,
                                      .h.flags = VGR_CMD_F_AWAIT,
                                      .data_len = len,
                                      .max_deps = max_deps};
    struct vgr_order_reply *reply = malloc(reply_len);
    uint64_t seq = 0;
    bool ok = false;
    uint8_t *p;

    if (!reply)
        return false;
    if (vgr_queue_lock(q)) {
        p = vgr_queue_alloc(q, (uint64_t)len + reply_len, &off, &block);
        if (p) {
            memcpy(p, g->scratch.payload, len);
            cmd.data_off = off;
            cmd.reply_off = off + len; /* header and records are multiples of 8 */
            vgr_count(q->conn->counters.upload_bytes, len);
            seq = vgr_queue_get(q, &cmd, sizeof(cmd), block, cmd.reply_off, reply_len, reply);
        }
        vgr_queue_unlock(q);
    }
    if (seq && vgr_queue_wait(q, seq)) {
        ok = true;
        o->never = reply->answer == VGR_ORDER_NEVER;
        if (!o->never)
            take(e, &g->scratch, reply, max_deps);
    }
    free(reply);
    return ok;
}

static struct vgr_order *find(struct vgr_orders *o, const XXH128_hash_t *hash, uint32_t n)
{
    struct vgr_order *oldest = &o->entry[0];

    for (uint32_t i = 0; i < VGR_ORDERS; i++) {
        struct vgr_order *e = &o->entry[i];

        if (e->stamp && e->n == n && e->hash[0] == hash->low64 && e->hash[1] == hash->high64)
            return e;
        if (e->stamp < oldest->stamp)
            oldest = e;
    }
    forget(oldest);
    *oldest = (struct vgr_order){.hash = {hash->low64, hash->high64}, .n = n};
    return oldest;
}

static void apply(const struct vgr_order *e, struct ggml_cgraph *cg, const struct vgr_graph_body *b,
                  struct ggml_backend_graph_optimize_params *params)
{
    struct ggml_tensor **nodes = ggml_graph_nodes(cg);
    struct ggml_tensor *const *tensor = (struct ggml_tensor *const *)b->tensor;

    for (uint32_t i = 0; e->node && i < b->n_nodes; i++)
        nodes[i] = tensor[e->node[i]];
    for (uint32_t i = 0; params && i < e->n_deps; i++)
        params->add_alloc_dep(params->user_data, tensor[e->dep[i].tensor], tensor[e->dep[i].until]);
}

void vgr_orders_apply(struct vgr_orders *o, struct vgr_queue *q, struct vgr_graphs *g,
                      struct ggml_cgraph *cg, bool trusted,
                      struct ggml_backend_graph_optimize_params *params)
{
    const struct ggml_tensor *culprit;
    struct vgr_order *e;
    XXH128_hash_t hash;

    if (o->never || ggml_graph_n_nodes(cg) < NODES_MIN || vgr_conn_failed(q->conn) ||
        vgr_graphs_encode(g, cg, false, trusted, &culprit))
        return;
    hash = XXH3_128bits(g->scratch.payload, vgr_graph_len(&g->scratch));
    e = find(o, &hash, g->scratch.n_nodes);
    if (e->stamp) {
        vgr_count(q->conn->counters.order_hits, 1);
    } else {
        vgr_count(q->conn->counters.order_misses, 1);
        if (!ask(o, q, g, params ? DEPS_PER_NODE * g->scratch.n_nodes : 0, e))
            return;
    }
    e->stamp = ++o->clock;
    apply(e, cg, &g->scratch, params);
}
