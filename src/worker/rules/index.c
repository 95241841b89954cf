/* SPDX-License-Identifier: MIT
 *
 * Ops that pick rows by the numbers in a tensor: see rules.h.
 *
 * The numbers are data, known when the graph runs; docs/security.md tells what each backend does with
 * one that is out of range. Here they are at least kept from changing between a kernel's look at them
 * and their use: no result overlaps its indices.
 */
#include "worker/rules/rules.h"

const char *vgr_rule_get_rows(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *ids = t->src[1];

    VGR_REQUIRE(ids->type == GGML_TYPE_I32, "the indices are not I32");
    VGR_REQUIRE(a->type == GGML_TYPE_I32 ? t->type == GGML_TYPE_I32
                                         : vgr_type_weight(a->type) && t->type == GGML_TYPE_F32,
                "a wrong type");
    VGR_REQUIRE(a->ne[2] == ids->ne[1] && a->ne[3] == ids->ne[2] && ids->ne[3] == 1,
                "the indices do not fit the source");
    VGR_REQUIRE(vgr_ne(t, a->ne[0], ids->ne[0], ids->ne[1], ids->ne[2]),
                "the result has a wrong shape");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_fresh(t), "rows are not dense");
    VGR_REQUIRE(!vgr_overlap(t, ids), "the result overlaps the indices");
    return NULL;
}

const char *vgr_rule_get_rows_back(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *ids = t->src[1];

    VGR_REQUIRE(ids->type == GGML_TYPE_I32, "the indices are not I32");
    VGR_REQUIRE(vgr_type_f32_f16(a->type) && t->type == GGML_TYPE_F32, "a wrong type");
    VGR_REQUIRE(vgr_matrix(a) && vgr_vector(ids) && vgr_matrix(t), "too many dimensions");
    VGR_REQUIRE(a->ne[0] == t->ne[0] && a->ne[1] >= ids->ne[0], "the shapes do not fit");
    VGR_REQUIRE(vgr_dense_rows(a) && ggml_is_contiguous(ids) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(!vgr_overlap(t, ids), "the result overlaps the indices");
    return NULL;
}

/* The rows of a are put into the result, which is a view of the third source. */
const char *vgr_rule_set_rows(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *ids = t->src[1], *to = t->src[2];

    VGR_REQUIRE(ids->type == GGML_TYPE_I32 || ids->type == GGML_TYPE_I64,
                "the indices are neither I32 nor I64");
    VGR_REQUIRE(vgr_type_f32_f16(a->type) && vgr_type_weight(t->type), "a wrong type");
    VGR_REQUIRE(a->ne[0] == t->ne[0] && a->ne[2] == t->ne[2] && a->ne[3] == t->ne[3],
                "rows do not fit the result");
    VGR_REQUIRE(a->ne[1] == ids->ne[0] && vgr_multiple(a->ne[2], ids->ne[1]) &&
                    vgr_multiple(a->ne[3], ids->ne[2]) && ids->ne[3] == 1,
                "the indices do not fit the source");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_dense_rows(t), "rows are not dense");
    VGR_REQUIRE(!to || vgr_same_layout(t, to), "the result is not laid out like the destination");
    VGR_REQUIRE(!vgr_overlap(t, ids), "the result overlaps the indices");
    return NULL;
}

const char *vgr_rule_add_id(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1], *ids = t->src[2];

    VGR_REQUIRE(ids->type == GGML_TYPE_I32, "the indices are not I32");
    VGR_REQUIRE(vgr_alike(t, a) && a->type == GGML_TYPE_F32 && b->type == GGML_TYPE_F32,
                "not F32, or the result is not like the first source");
    VGR_REQUIRE(a->ne[0] == b->ne[0], "rows differ in length");
    VGR_REQUIRE(a->ne[1] == ids->ne[0] && a->ne[2] == ids->ne[1],
                "the indices do not fit the source");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_dense_rows(b) && vgr_dense_rows(t), "rows are not dense");
    VGR_REQUIRE(!vgr_overlap(t, ids), "the result overlaps the indices");
    return NULL;
}
