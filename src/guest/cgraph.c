/* SPDX-License-Identifier: MIT */
#include "guest/cgraph.h"

#include <pthread.h>
#include <stdlib.h>

#include "guest/log.h"
#include "protocol/wire.h"

#define NODES  8
#define MEMORY (1u << 20)

static bool trusted, marks;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Do `len` bytes at `p` lie in the memory that was given to GGML? */
static bool inside(const uint8_t *mem, const void *p, size_t len)
{
    uintptr_t at = (uintptr_t)p, start = (uintptr_t)mem;

    return at >= start && len <= MEMORY && at - start <= MEMORY - len;
}

/* Is `g`, read by our layout, the graph with the nodes `node`, used `uses` times each? */
static bool as_expected(const uint8_t *mem, struct ggml_cgraph *g, struct ggml_tensor **node,
                        const int32_t *uses, int n)
{
    const struct ggml_hash_set *h = &g->visited_hash_set;

    if (!inside(mem, g, sizeof(*g)) || g->size != NODES || g->n_nodes != n ||
        g->nodes != ggml_graph_nodes(g) || !inside(mem, g->nodes, NODES * sizeof(void *)))
        return false;
    if (h->size < NODES || h->size > MEMORY ||
        !inside(mem, g->use_counts, h->size * sizeof(int32_t)) ||
        !inside(mem, h->keys, h->size * sizeof(void *)) ||
        !inside(mem, h->used, (h->size + 31) / 32 * sizeof(uint32_t)))
        return false;
    for (int i = 0; i < n; i++) {
        uint32_t slot = 0;

        if (vgr_cgraph_uses(g, node[i], &slot) != uses[i])
            return false;
    }
    return true;
}

static void try_layout(void)
{
    struct ggml_init_params params = {.mem_size = MEMORY, .no_alloc = true};
    struct ggml_context *ctx;
    struct ggml_cgraph *g;
    uint8_t *mem = aligned_alloc(64, MEMORY);

    if (!mem)
        return;
    params.mem_buffer = mem;
    ctx = ggml_init(params);
    if (ctx) {
        struct ggml_tensor *x = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 4);
        struct ggml_tensor *once_used = ggml_sqr(ctx, x);
        struct ggml_tensor *twice_used = ggml_sqrt(ctx, once_used);
        struct ggml_tensor *by_one_node = ggml_mul(ctx, twice_used, twice_used);
        struct ggml_tensor *last = ggml_add(ctx, by_one_node, x);
        struct ggml_tensor *stranger = ggml_neg(ctx, x);
        struct ggml_tensor *node[] = {once_used, twice_used, by_one_node, last, x, stranger};
        static const int32_t uses[] = {1, 2, 1, 0, 2, 0};

        g = ggml_new_graph_custom(ctx, NODES, false);
        ggml_build_forward_expand(g, last);
        marks = (uint32_t)last->flags & VGR_TENSOR_COMPUTE;
        /* x is a leaf and the stranger is in no graph: they are looked up, and no nodes. */
        trusted = as_expected(mem, g, node, uses, 4) && inside(mem, g, sizeof(*g));
        for (int i = 4; trusted && i < 6; i++) {
            uint32_t slot = 0;

            trusted = vgr_cgraph_uses(g, node[i], &slot) == uses[i];
        }
        ggml_free(ctx);
    }
    free(mem);
    if (!trusted)
        vgr_say_debug("this GGML's graphs are laid out in another way: the host cannot fuse ops");
}

bool vgr_cgraph_marks(void)
{
    pthread_once(&once, try_layout);
    return marks;
}

bool vgr_cgraph_trusted(void)
{
    pthread_once(&once, try_layout);
    return trusted;
}
