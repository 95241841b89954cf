/* SPDX-License-Identifier: MIT
 *
 * Ops that make less of much, and sorting: see rules.h.
 */
#include "worker/rules/rules.h"

const char *vgr_rule_sum(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(vgr_type_float(a->type) && t->type == a->type, "a wrong type");
    VGR_REQUIRE(vgr_ne(t, 1, 1, 1, 1), "the result is not one number");
    VGR_REQUIRE(a->ne[0] <= 1 || a->nb[0] >= ggml_type_size(a->type), "elements overlap");
    return NULL;
}

static const char *one_per_row(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(vgr_ne(t, 1, a->ne[1], a->ne[2], a->ne[3]), "the result is not one number a row");
    VGR_REQUIRE(vgr_dense_rows(a), "rows are not dense");
    VGR_REQUIRE(vgr_fits_int(a), "too large");
    return NULL;
}

const char *vgr_rule_sum_rows(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_type_float(t->type) && t->type == t->src[0]->type, "a wrong type");
    return one_per_row(t);
}

const char *vgr_rule_mean(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->type == GGML_TYPE_F32 && t->src[0]->type == GGML_TYPE_F32, "not F32");
    return one_per_row(t);
}

const char *vgr_rule_cumsum(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]) && t->type == GGML_TYPE_F32, "not F32 of one shape");
    VGR_REQUIRE(vgr_dense_rows(t->src[0]) && vgr_dense_rows(t), "rows are not dense");
    return NULL;
}

const char *vgr_rule_argmax(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(a->type == GGML_TYPE_F32 && t->type == GGML_TYPE_I32, "a wrong type");
    VGR_REQUIRE(vgr_matrix(a) && vgr_dense_rows(a), "the source is not a matrix of dense rows");
    VGR_REQUIRE(vgr_ne(t, a->ne[1], 1, 1, 1), "the result is not one number a row");
    return NULL;
}

/* GGML's CPU kernel finds its rows right in two dimensions only; in more it reads beside them. */
const char *vgr_rule_count_equal(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(a->type == GGML_TYPE_I32 && t->type == GGML_TYPE_I64, "a wrong type");
    VGR_REQUIRE(vgr_alike(a, t->src[1]), "the sources differ");
    VGR_REQUIRE(vgr_matrix(a), "more than two dimensions");
    VGR_REQUIRE(vgr_ne(t, 1, 1, 1, 1), "the result is not one number");
    return NULL;
}

static const char *sorted(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(a->type == GGML_TYPE_F32 && t->type == GGML_TYPE_I32, "a wrong type");
    VGR_REQUIRE(vgr_flat_rows(a) && vgr_flat_rows(t), "rows are not contiguous");
    VGR_REQUIRE(vgr_fits_int(a), "too large");
    VGR_REQUIRE(t->ne[1] == a->ne[1] && t->ne[2] == a->ne[2] && t->ne[3] == a->ne[3],
                "the result has other rows than the source");
    /* What is compared must not change while it is sorted. */
    VGR_REQUIRE(!vgr_overlap(t, a), "the result overlaps the source");
    return NULL;
}

const char *vgr_rule_argsort(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_param_bool(t, 0), "no such order");
    VGR_REQUIRE_RULE(sorted(t));
    VGR_REQUIRE(t->ne[0] == t->src[0]->ne[0], "the result has other rows than the source");
    return NULL;
}

const char *vgr_rule_top_k(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(sorted(t));
    VGR_REQUIRE(t->ne[0] <= t->src[0]->ne[0], "more are wanted than there are");
    return NULL;
}
