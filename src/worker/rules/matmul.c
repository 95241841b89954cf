/* SPDX-License-Identifier: MIT
 *
 * Products of matrices, and solving: see rules.h.
 */
#include "worker/rules/rules.h"

#define HINT_HADAMARD 1

/* What a kernel may be asked for: an enum ggml_prec of this or of a later GGML, no index anywhere. */
static bool precision(const struct ggml_tensor *t, int i)
{
    return t->op_params[i] >= 0 && t->op_params[i] < 256;
}

/* The matrices that are multiplied: rows of weights by rows of numbers. */
static const char *factors(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(t->type == GGML_TYPE_F32, "the result is not F32");
    VGR_REQUIRE(vgr_type_weight(a->type), "the first source's type cannot be multiplied");
    VGR_REQUIRE(vgr_type_float(b->type) || ggml_is_quantized(b->type),
                "the second source's type cannot be multiplied");
    VGR_REQUIRE(a->ne[0] == b->ne[0], "inner dimensions differ");
    VGR_REQUIRE(vgr_empty(a) || !ggml_is_transposed(a), "the first source is transposed");
    VGR_REQUIRE(vgr_fresh(t), "the result is not contiguous");
    VGR_REQUIRE(precision(t, 0) && precision(t, 3), "no such precision");
    return NULL;
}

const char *vgr_rule_mul_mat(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE_RULE(factors(t));
    VGR_REQUIRE(vgr_multiple(b->ne[2], a->ne[2]) && vgr_multiple(b->ne[3], a->ne[3]),
                "the first source cannot be broadcast to the second");
    VGR_REQUIRE(vgr_ne(t, a->ne[1], b->ne[1], b->ne[2], b->ne[3]), "the result has a wrong shape");
    VGR_REQUIRE(t->op_params[1] == 0 || t->op_params[1] == HINT_HADAMARD, "no such hint");
    /* Then the first source is not read: rows of the second are transformed in the result. */
    VGR_REQUIRE(t->op_params[1] == 0 ||
                    (a->ne[0] == a->ne[1] && !(a->ne[0] & (a->ne[0] - 1)) && vgr_dense_rows(b)),
                "not a Hadamard matrix");
    return NULL;
}

/* a: a matrix for each expert; b: rows; ids: the experts of each row. */
const char *vgr_rule_mul_mat_id(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1], *ids = t->src[2];

    VGR_REQUIRE_RULE(factors(t));
    VGR_REQUIRE(ids->type == GGML_TYPE_I32, "the indices are not I32");
    VGR_REQUIRE(a->ne[2] > 0, "no experts");
    VGR_REQUIRE(a->ne[3] == 1 && b->ne[3] == 1 && vgr_matrix(ids), "too many dimensions");
    VGR_REQUIRE(ids->ne[1] == b->ne[2], "not a list of experts for each row");
    VGR_REQUIRE(vgr_multiple(ids->ne[0], b->ne[1]), "rows cannot be broadcast to the experts");
    VGR_REQUIRE(vgr_ne(t, a->ne[1], ids->ne[0], b->ne[2], 1), "the result has a wrong shape");
    VGR_REQUIRE(!vgr_overlap(t, ids), "the result overlaps the indices");
    return NULL;
}

const char *vgr_rule_out_prod(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && b->type == GGML_TYPE_F32 && vgr_type_weight(a->type),
                "a wrong type");
    VGR_REQUIRE(a->ne[1] == b->ne[1], "inner dimensions differ");
    VGR_REQUIRE(vgr_multiple(b->ne[2], a->ne[2]) && vgr_multiple(b->ne[3], a->ne[3]),
                "the first source cannot be broadcast to the second");
    VGR_REQUIRE(vgr_empty(a) || !ggml_is_transposed(a), "the first source is transposed");
    VGR_REQUIRE(vgr_ne(t, a->ne[0], b->ne[0], b->ne[2], b->ne[3]), "the result has a wrong shape");
    VGR_REQUIRE(vgr_fresh(t), "the result is not contiguous");
    return NULL;
}

const char *vgr_rule_solve_tri(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(a->type == GGML_TYPE_F32 && b->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32,
                "not F32");
    VGR_REQUIRE(a->ne[0] == a->ne[1], "the first source is not square");
    VGR_REQUIRE(a->ne[1] == b->ne[1] && a->ne[2] == b->ne[2] && a->ne[3] == b->ne[3],
                "the sources do not fit");
    VGR_REQUIRE(vgr_same_shape(t, b), "the result has another shape than the second source");
    VGR_REQUIRE(ggml_is_contiguous(a) && ggml_is_contiguous(b) && vgr_fresh(t), "not contiguous");
    return NULL;
}
