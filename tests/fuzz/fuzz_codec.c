/* SPDX-License-Identifier: MIT
 *
 * fuzz_codec.c - what reads a dictionary, a graph, a patch or a question, on raw bytes.
 *
 * The first byte chooses the reader; the rest is what it reads, in a block of exactly its length, so
 * that a byte read behind the end is seen. What a reader accepts must keep the promises of codec.h
 * and names.h.
 */
#include "fuzz.h"

#include <errno.h>

#include "protocol/codec.h"
#include "protocol/names.h"

#define MAX_TENSORS 64u

static void check_graph(const void *buf, size_t len)
{
    const struct vgr_graph *g;
    const struct vgr_tensor *t;
    const char *why = NULL;

    if (vgr_codec_graph(buf, len, MAX_TENSORS, &g, &t, &why)) {
        FUZZ_CHECK(why);
        return;
    }
    FUZZ_CHECK(g->n_nodes && g->n_nodes <= g->n_tensors && g->n_tensors <= MAX_TENSORS);
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        bool leaf = i >= g->n_nodes;

        for (int s = 0; s < VGR_SRCS; s++) {
            uint32_t to = t[i].src[s] - 1;

            FUZZ_CHECK(!t[i].src[s] || (!leaf && to < g->n_tensors && to != i));
        }
        FUZZ_CHECK(t[i].view_src <= g->n_tensors && t[i].view_src != i + 1);
    }
}

static void check_query(const void *buf, size_t len)
{
    const struct vgr_tensor *t;
    const char *why = NULL;
    int n = vgr_codec_query(buf, len, &t, &why);

    FUZZ_CHECK(n > 0 || why);
    for (int i = 0; i < n; i++) {
        for (int s = 0; s < VGR_SRCS; s++)
            FUZZ_CHECK(!t[i].src[s] || (!i && t[i].src[s] <= (uint32_t)n && t[i].src[s] > 1));
        FUZZ_CHECK(!t[i].view_src || t[i].view_src - 1 > (uint32_t)i);
    }
}

static void check_patch(const void *buf, size_t len)
{
    const struct vgr_graph_patch *p;
    const char *why = NULL;
    int n = vgr_codec_patch(buf, len, MAX_TENSORS, &p, &why);

    FUZZ_CHECK(n > 0 || why);
    for (int i = 0; i < n; i++)
        FUZZ_CHECK(p[i].index < MAX_TENSORS);
}

/* The extent, computed with room to spare. */
static void check_extent(struct fuzz_in *in)
{
    uint32_t block = fuzz_below(in, 64), type = fuzz_below(in, 300);
    struct vgr_tensor t;
    uint64_t bytes = 0;
    unsigned __int128 want = 0;
    bool empty = false;

    fuzz_bytes(in, &t, sizeof(t));
    if (vgr_codec_extent(&t, block, type, &bytes))
        return;
    for (int d = 0; d < VGR_DIMS; d++)
        empty |= !t.ne[d];
    if (empty) {
        FUZZ_CHECK(!bytes);
        return;
    }
    for (int d = block == 1 ? 0 : 1; d < VGR_DIMS; d++)
        want += (unsigned __int128)(uint64_t)(t.ne[d] - 1) * t.nb[d];
    want += block == 1 ? type : (unsigned __int128)(uint64_t)(t.ne[0] / block) * t.nb[0];
    FUZZ_CHECK(want == bytes);
}

/* What was read is written and read again. */
static void check_names(const void *buf, size_t len)
{
    static struct vgr_names a, b;
    static struct vgr_names_map map;
    static uint8_t copy[128u << 10];
    int64_t n;

    if (vgr_names_read(&a, buf, len))
        return;
    n = vgr_names_write(&a, copy, sizeof(copy));
    FUZZ_CHECK(n == (int64_t)vgr_names_size(&a) && (size_t)n <= len);
    FUZZ_CHECK(vgr_names_write(&a, copy, (size_t)n - 1) == -ENOSPC);
    FUZZ_CHECK(!vgr_names_read(&b, copy, (size_t)n));
    vgr_names_map(&map, &a, &b);
    for (unsigned k = 0; k < VGR_DICT_KINDS; k++) {
        for (unsigned i = 0; i <= VGR_DICT_MAX_NUMBER; i++)
            FUZZ_CHECK((vgr_names_lookup(&map, k, i) == VGR_NAMES_NONE) == !a.entry[k][i].name[0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    uint8_t reader = fuzz_below(&in, 5);
    void *buf = malloc(in.left ? in.left : 1); /* as aligned as the worker's copy */

    memcpy(buf, in.p, in.left);
    switch (reader) {
    case 0:
        check_graph(buf, in.left);
        break;
    case 1:
        check_query(buf, in.left);
        break;
    case 2:
        check_patch(buf, in.left);
        break;
    case 3:
        check_extent(&in);
        break;
    default:
        check_names(buf, in.left);
    }
    free(buf);
    return 0;
}
