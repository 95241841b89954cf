/* SPDX-License-Identifier: MIT
 *
 * Attention, and the windows and relative positions of vision models: see rules.h.
 */
#include "worker/rules/rules.h"

/* q: [k, rows, heads, n], k: [k, kv, kv heads, n], v: [v, kv, kv heads, n], mask: [kv, rows ...], sinks:
 * one number a head; result: [v, heads, rows, n]. */
const char *vgr_rule_flash_attn_ext(const struct ggml_tensor *t)
{
    const struct ggml_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3],
                             *sinks = t->src[4];

    VGR_REQUIRE(q->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32, "queries are not F32");
    VGR_REQUIRE(vgr_type_weight(k->type) && vgr_type_weight(v->type),
                "keys or values are of a wrong type");
    VGR_REQUIRE(vgr_dense_rows(q) && vgr_dense_rows(k) && vgr_dense_rows(v), "rows are not dense");
    VGR_REQUIRE(q->ne[0] == k->ne[0], "queries and keys differ in length");
    VGR_REQUIRE(k->ne[1] == v->ne[1], "there are not as many values as keys");
    VGR_REQUIRE(vgr_multiple(q->ne[2], k->ne[2]), "heads cannot be broadcast");
    /* Kernels find the values of a head where its keys are. */
    VGR_REQUIRE(v->ne[2] == k->ne[2], "there are not as many heads of values as of keys");
    VGR_REQUIRE(q->ne[3] == k->ne[3] && q->ne[3] == v->ne[3], "batches differ");
    VGR_REQUIRE(vgr_ne(t, v->ne[0], q->ne[2], q->ne[1], q->ne[3]), "the result has a wrong shape");
    VGR_REQUIRE(vgr_fresh(t), "the result is not contiguous");
    if (mask) {
        VGR_REQUIRE(mask->type == GGML_TYPE_F16 && ggml_is_contiguous(mask),
                    "the mask is not contiguous F16");
        VGR_REQUIRE(mask->ne[0] >= k->ne[1] && mask->ne[1] >= q->ne[1], "the mask is too small");
        VGR_REQUIRE(vgr_multiple(q->ne[2], mask->ne[2]) && vgr_multiple(q->ne[3], mask->ne[3]),
                    "the mask cannot be broadcast");
    }
    VGR_REQUIRE(mask || !(vgr_param_float(t, 1) > 0), "a bias without a mask");
    if (sinks) {
        VGR_REQUIRE(sinks->type == GGML_TYPE_F32 && vgr_dense_rows(sinks), "sinks are not F32");
        VGR_REQUIRE(sinks->ne[0] == q->ne[2], "not a sink for each head");
    }
    VGR_REQUIRE(t->op_params[3] >= 0 && t->op_params[3] < 256 && t->op_params[4] >= 0,
                "a wrong parameter");
    return NULL;
}

/* q: [e, heads, tokens, n], k: [e, 1, kv, n], weights: [heads, tokens, 1, n], mask: [kv, tokens, 1, m];
 * result: [kv, tokens, 1, n]. */
const char *vgr_rule_lightning_indexer(const struct ggml_tensor *t)
{
    const struct ggml_tensor *q = t->src[0], *k = t->src[1], *w = t->src[2], *mask = t->src[3];

    VGR_REQUIRE(q->type == GGML_TYPE_F32 && w->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32 &&
                    mask->type == GGML_TYPE_F16 && vgr_type_weight(k->type),
                "a wrong type");
    VGR_REQUIRE(vgr_dense_rows(q) && vgr_dense_rows(k) && vgr_dense_rows(w) &&
                    vgr_dense_rows(mask) && vgr_fresh(t),
                "rows are not dense");
    VGR_REQUIRE(q->ne[0] == k->ne[0] && k->ne[1] == 1 && k->ne[3] == q->ne[3],
                "keys do not fit the queries");
    VGR_REQUIRE(vgr_ne(w, q->ne[1], q->ne[2], 1, q->ne[3]), "weights do not fit the queries");
    VGR_REQUIRE(mask->ne[0] == k->ne[2] && mask->ne[1] == q->ne[2] && mask->ne[2] == 1 &&
                    vgr_multiple(q->ne[3], mask->ne[3]),
                "the mask does not fit");
    VGR_REQUIRE(vgr_ne(t, k->ne[2], q->ne[2], 1, q->ne[3]), "the result has a wrong shape");
    return NULL;
}

/* Cuts a [c, w, h] into windows of `side` squared, the last ones padded. */
const char *vgr_rule_win_part(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    int64_t nx = t->op_params[0], ny = t->op_params[1], side = t->op_params[2];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(side > 0 && a->ne[3] == 1, "no window, or more than one image");
    VGR_REQUIRE(nx == (a->ne[1] + side - 1) / side && ny == (a->ne[2] + side - 1) / side,
                "not the right number of windows");
    VGR_REQUIRE(vgr_ne(t, a->ne[0], side, side, nx * ny), "the result has a wrong shape");
    return NULL;
}

const char *vgr_rule_win_unpart(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    int64_t side = t->op_params[0];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(side > 0 && a->ne[1] == side && a->ne[2] == side, "windows of another size");
    VGR_REQUIRE(t->ne[0] == a->ne[0] && t->ne[3] == 1, "the result has a wrong shape");
    VGR_REQUIRE(a->ne[3] == (t->ne[1] + side - 1) / side * ((t->ne[2] + side - 1) / side),
                "not the right number of windows");
    return NULL;
}

const char *vgr_rule_get_rel_pos(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(t->type == GGML_TYPE_F16 && (a->type == GGML_TYPE_F16 || a->type == GGML_TYPE_BF16),
                "a wrong type");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(vgr_matrix(a) && t->ne[0] == a->ne[0] && t->ne[1] == t->ne[2] && t->ne[3] == 1,
                "the result has a wrong shape");
    VGR_REQUIRE(a->ne[1] == 2 * t->ne[1] - 1, "not as many positions as the result needs");
    return NULL;
}

const char *vgr_rule_add_rel_pos(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *w = t->src[1], *h = t->src[2];

    VGR_REQUIRE(vgr_alike(t, a) && t->type == GGML_TYPE_F32 && w->type == GGML_TYPE_F32,
                "not F32, or the result is not like the first source");
    VGR_REQUIRE(vgr_alike(w, h), "the positions differ");
    VGR_REQUIRE(ggml_is_contiguous(t) && ggml_is_contiguous(a) && ggml_is_contiguous(w) &&
                    ggml_is_contiguous(h),
                "not contiguous");
    VGR_REQUIRE(vgr_param_bool(t, 0), "a wrong parameter");
    VGR_REQUIRE(vgr_ne(a, w->ne[0] * w->ne[0], w->ne[1] * w->ne[2], w->ne[3], 1),
                "the positions do not fit");
    return NULL;
}
