/* SPDX-License-Identifier: MIT */
#include "guest/order.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "guest/log.h"

/* Two nodes have one order. */
#define NODES_MIN 3

void vgr_orders_free(struct vgr_orders *o)
{
    for (uint32_t i = 0; i < VGR_ORDERS; i++)
        free(o->entry[i].node);
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
            if (!ran(seen, n, r->src[s]))
                return false;
        }
        if (!ran(seen, n, r->view_src))
            return false;
        seen[node[i]] = 1;
    }
    return true;
}

/* The answer to g->scratch: *node (the caller's) is NULL if it is to stay as it is. False if there is
 * no answer. */
static bool ask(struct vgr_orders *o, struct vgr_conn *c, const struct vgr_graphs *g,
                uint32_t **node)
{
    uint32_t n = g->scratch.n_nodes, len = vgr_graph_len(&g->scratch), off, block;
    uint32_t reply_len = (uint32_t)sizeof(struct vgr_order_reply) + n * (uint32_t)sizeof(**node);
    struct vgr_cmd_query_order cmd = {
        .h.op = VGR_CMD_QUERY_ORDER, .h.flags = VGR_CMD_F_AWAIT, .data_len = len};
    struct vgr_order_reply *reply = malloc(reply_len + n);
    uint64_t seq = 0;
    bool ok = false;
    uint8_t *p;

    *node = NULL;
    if (!reply)
        return false;
    if (vgr_conn_lock(c)) {
        p = vgr_conn_alloc(c, (uint64_t)len + reply_len, &off, &block);
        if (p) {
            memcpy(p, g->scratch.payload, len);
            cmd.data_off = off;
            cmd.reply_off = off + len; /* header and records are multiples of 8 */
            seq = vgr_conn_push(c, &cmd, sizeof(cmd), NULL, 0);
            vgr_count(c->counters.upload_bytes, len);
            vgr_conn_get_later(c, block, cmd.reply_off, reply_len, seq, reply);
        }
        vgr_conn_unlock(c);
    }
    if (seq && vgr_conn_wait(c, seq)) {
        ok = true;
        o->never = reply->answer == VGR_ORDER_NEVER;
        if (reply->answer == VGR_ORDER_CHANGED) {
            if (vgr_order_valid(vgr_graph_records(&g->scratch), reply->node, n,
                                (uint8_t *)reply + reply_len))
                *node = malloc(n * sizeof(**node));
            else
                vgr_say_debug("the host's order of a graph makes no sense");
            if (*node)
                memcpy(*node, reply->node, n * sizeof(**node));
        }
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
    free(oldest->node);
    *oldest = (struct vgr_order){.hash = {hash->low64, hash->high64}, .n = n};
    return oldest;
}

static void permute(struct ggml_cgraph *cg, const struct vgr_graph_body *b, const uint32_t *node)
{
    struct ggml_tensor **nodes = ggml_graph_nodes(cg);

    for (uint32_t i = 0; i < b->n_nodes; i++)
        nodes[i] = (struct ggml_tensor *)b->tensor[node[i]];
}

void vgr_orders_apply(struct vgr_orders *o, struct vgr_conn *c, struct vgr_graphs *g,
                      struct ggml_cgraph *cg, bool trusted)
{
    const struct ggml_tensor *culprit;
    struct vgr_order *e;
    XXH128_hash_t hash;

    if (o->never || ggml_graph_n_nodes(cg) < NODES_MIN || vgr_conn_failed(c) ||
        vgr_graphs_encode(g, cg, false, trusted, &culprit))
        return;
    hash = XXH3_128bits(g->scratch.payload, vgr_graph_len(&g->scratch));
    e = find(o, &hash, g->scratch.n_nodes);
    if (e->stamp) {
        vgr_count(c->counters.order_hits, 1);
    } else {
        vgr_count(c->counters.order_misses, 1);
        if (!ask(o, c, g, &e->node))
            return;
    }
    e->stamp = ++o->clock;
    if (e->node)
        permute(cg, &g->scratch, e->node);
}
