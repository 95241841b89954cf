/* SPDX-License-Identifier: MIT
 *
 * codec.h - graphs on the wire: reading and checking their structure.
 *
 * These functions look only at counts, lengths and references between tensors; what an op means,
 * whether a type exists or a tensor fits its buffer is the worker's business. They read from a
 * private copy, never from shared memory.
 */
#ifndef VGR_PROTOCOL_CODEC_H
#define VGR_PROTOCOL_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"

/* Splits the payload of GRAPH_DEFINE (8-aligned). On success *graph and *tensors point into `buf`.
 * Checks: exact length, 1 <= n_nodes <= n_tensors <= max_tensors, and every reference: a node refers
 * to leafs, earlier nodes and, as a source, itself; a leaf has no sources and only a leaf as view_src,
 * with a lower index.
 * Returns 0, or -EPROTO with a constant text in *why. */
int vgr_codec_graph(const void *buf, size_t len, uint32_t max_tensors,
                    const struct vgr_graph **graph, const struct vgr_tensor **tensors,
                    const char **why);

/* Splits the payload of GRAPH_PATCH for a graph of n_tensors. Returns the number of patches, or
 * -EPROTO. */
int vgr_codec_patch(const void *buf, size_t len, uint32_t n_tensors,
                    const struct vgr_graph_patch **patches, const char **why);

/* Splits the payload of QUERY_OP: [0] is the op, the rest its sources and their views. References
 * of [0] are to higher indices; those of the others only view_src, to a higher index still. Returns
 * the number of tensors, or -EPROTO. */
int vgr_codec_query(const void *buf, size_t len, const struct vgr_tensor **tensors,
                    const char **why);

/* Has tensor `b` the same part in a graph as `a`, so that a patch may turn one into the other? It has if all is
 * equal that decides which nodes there are, what they refer to, and which of them have something to do. */
bool vgr_codec_same_structure(const struct vgr_tensor *a, const struct vgr_tensor *b);

/* Has the tensor no elements? */
bool vgr_codec_empty(const struct vgr_tensor *t);

/* Bytes from the first to the last byte that a tensor of this shape touches, as ggml_nbytes()
 * computes it: 0 if any ne is 0. -EOVERFLOW if it does not fit 63 bits, -EINVAL for a negative ne,
 * a ne[0] that is no multiple of block_size, or a zero block or type size. */
int vgr_codec_reach(const int64_t ne[VGR_DIMS], const uint64_t nb[VGR_DIMS], uint32_t block_size,
                    uint32_t type_size, uint64_t *bytes);

/* Bytes that an op may touch of such a tensor that it reads or writes: some kernels take rows for dense, whatever
 * the strides, and go farther where rows lie on top of each other. Errors as above. */
int vgr_codec_touch(const int64_t ne[VGR_DIMS], const uint64_t nb[VGR_DIMS], uint32_t block_size,
                    uint32_t type_size, uint64_t *bytes);

/* vgr_codec_reach() of a tensor on the wire. */
int vgr_codec_extent(const struct vgr_tensor *t, uint32_t block_size, uint32_t type_size,
                     uint64_t *bytes);

/* Upper bound of tensors in a query: the op, 10 sources, and one view_src each. */
#define VGR_CODEC_QUERY_MAX (1u + 2u * VGR_SRCS + 1u)

#endif
