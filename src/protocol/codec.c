/* SPDX-License-Identifier: MIT */
#include "protocol/codec.h"

#include <errno.h>
#include <string.h>

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EPROTO;
}

/* Is the reference `ref` (1 + index, 0: none) of tensor `self` allowed in a graph, besides the one to
 * itself that a source may be? */
static int graph_ref_ok(uint32_t ref, uint32_t self, uint32_t n_nodes, uint32_t n_tensors)
{
    uint32_t to = ref - 1;

    if (!ref)
        return 1;
    if (to >= n_tensors)
        return 0;
    if (self < n_nodes)
        return to < self || to >= n_nodes;
    return to >= n_nodes && to < self;
}

int vgr_codec_graph(const void *buf, size_t len, uint32_t max_tensors,
                    const struct vgr_graph **graph, const struct vgr_tensor **tensors,
                    const char **why)
{
    const struct vgr_graph *g = buf;
    const struct vgr_tensor *t;

    if (len < sizeof(*g))
        return refuse(why, "graph is shorter than its header");
    if (!g->n_nodes || g->n_nodes > g->n_tensors || g->n_tensors > max_tensors)
        return refuse(why, "graph has an impossible number of nodes or tensors");
    if (len != sizeof(*g) + (size_t)g->n_tensors * sizeof(*t))
        return refuse(why, "graph has another length than its header says");

    t = (const struct vgr_tensor *)(g + 1);
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        for (int s = 0; s < VGR_SRCS; s++) {
            if (i >= g->n_nodes && t[i].src[s])
                return refuse(why, "graph has a leaf with sources");
            if (t[i].src[s] != i + 1 && !graph_ref_ok(t[i].src[s], i, g->n_nodes, g->n_tensors))
                return refuse(why, "graph has a source out of order or out of range");
        }
        if (!graph_ref_ok(t[i].view_src, i, g->n_nodes, g->n_tensors))
            return refuse(why, "graph has a view_src out of order or out of range");
    }
    *graph = g;
    *tensors = t;
    return 0;
}

int vgr_codec_patch(const void *buf, size_t len, uint32_t n_tensors,
                    const struct vgr_graph_patch **patches, const char **why)
{
    const struct vgr_graph_patch *p = buf;
    size_t n = len / sizeof(*p);

    if (!n || len % sizeof(*p) || n > n_tensors)
        return refuse(why, "patch has an impossible length");
    for (size_t i = 0; i < n; i++) {
        if (p[i].index >= n_tensors)
            return refuse(why, "patch of a tensor that the graph does not have");
    }
    *patches = p;
    return (int)n;
}

int vgr_codec_query(const void *buf, size_t len, const struct vgr_tensor **tensors,
                    const char **why)
{
    const struct vgr_tensor *t = buf;
    size_t n = len / sizeof(*t);

    if (!n || len % sizeof(*t) || n > VGR_CODEC_QUERY_MAX)
        return refuse(why, "query has an impossible length");
    for (uint32_t i = 0; i < n; i++) {
        for (int s = 0; s < VGR_SRCS; s++) {
            if (t[i].src[s] && (i || t[i].src[s] - 1 >= n || t[i].src[s] - 1 <= i))
                return refuse(why, "query has a source out of order or out of range");
        }
        if (t[i].view_src && (t[i].view_src - 1 >= n || t[i].view_src - 1 <= i))
            return refuse(why, "query has a view_src out of order or out of range");
    }
    *tensors = t;
    return (int)n;
}

static bool empty(const int64_t ne[VGR_DIMS])
{
    return !ne[0] || !ne[1] || !ne[2] || !ne[3];
}

bool vgr_codec_empty(const struct vgr_tensor *t)
{
    return empty(t->ne);
}

bool vgr_codec_same_structure(const struct vgr_tensor *a, const struct vgr_tensor *b)
{
    return a->op == b->op && a->type == b->type && a->view_src == b->view_src &&
           !((a->flags ^ b->flags) & VGR_TENSOR_COMPUTE) &&
           vgr_codec_empty(a) == vgr_codec_empty(b) && !memcmp(a->src, b->src, sizeof(a->src));
}

int vgr_codec_reach(const int64_t ne[VGR_DIMS], const uint64_t nb[VGR_DIMS], uint32_t block_size,
                    uint32_t type_size, uint64_t *bytes)
{
    uint64_t total, part;

    if (!block_size || !type_size)
        return -EINVAL;
    for (int d = 0; d < VGR_DIMS; d++) {
        if (ne[d] < 0)
            return -EINVAL;
    }
    if (ne[0] % block_size)
        return -EINVAL;

    *bytes = 0;
    if (empty(ne))
        return 0;

    /* Blocks are contiguous inside: the first dimension counts blocks, in steps of nb[0]. For types
     * of one element a block, nb[0] may be a stride of its own. */
    if (block_size == 1) {
        total = type_size;
        if (__builtin_mul_overflow((uint64_t)ne[0] - 1, nb[0], &part) ||
            __builtin_add_overflow(total, part, &total))
            return -EOVERFLOW;
    } else if (__builtin_mul_overflow((uint64_t)ne[0] / block_size, nb[0], &total)) {
        return -EOVERFLOW;
    }
    for (int d = 1; d < VGR_DIMS; d++) {
        if (__builtin_mul_overflow((uint64_t)ne[d] - 1, nb[d], &part) ||
            __builtin_add_overflow(total, part, &total))
            return -EOVERFLOW;
    }
    if (total > INT64_MAX)
        return -EOVERFLOW;
    *bytes = total;
    return 0;
}

int vgr_codec_touch(const int64_t ne[VGR_DIMS], const uint64_t nb[VGR_DIMS], uint32_t block_size,
                    uint32_t type_size, uint64_t *bytes)
{
    uint64_t dense;
    int err = vgr_codec_reach(ne, nb, block_size, type_size, bytes);

    if (err || empty(ne))
        return err;
    dense = type_size;
    if (__builtin_mul_overflow(dense, (uint64_t)ne[0] / block_size, &dense))
        return -EOVERFLOW;
    for (int d = 1; d < VGR_DIMS; d++) {
        if (__builtin_mul_overflow(dense, (uint64_t)ne[d], &dense))
            return -EOVERFLOW;
    }
    if (dense > INT64_MAX)
        return -EOVERFLOW;
    if (*bytes < dense)
        *bytes = dense;
    return 0;
}

int vgr_codec_extent(const struct vgr_tensor *t, uint32_t block_size, uint32_t type_size,
                     uint64_t *bytes)
{
    return vgr_codec_reach(t->ne, t->nb, block_size, type_size, bytes);
}
