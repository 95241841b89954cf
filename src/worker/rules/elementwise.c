/* SPDX-License-Identifier: MIT
 *
 * Ops that work element by element: see rules.h.
 */
#include "worker/rules/rules.h"

/* ADD, SUB, MUL, DIV of floats: b is repeated to the shape of a. */
const char *vgr_rule_binary(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(vgr_type_float(a->type) && vgr_type_float(b->type) && vgr_type_float(t->type),
                "not of float types");
    VGR_REQUIRE(vgr_same_shape(t, a), "the result has another shape than the first source");
    VGR_REQUIRE(vgr_can_repeat(b, a), "the second source cannot be repeated to the first");
    return NULL;
}

/* Also quantized + F32, row by row. */
const char *vgr_rule_add(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    if (!ggml_is_quantized(a->type))
        return vgr_rule_binary(t);
    VGR_REQUIRE(vgr_type_weight(a->type), "the first source's type cannot be read");
    VGR_REQUIRE(b->type == GGML_TYPE_F32 && vgr_dense_rows(b),
                "what is added to a quantized source is not rows of F32");
    VGR_REQUIRE(t->type == a->type || vgr_type_float(t->type), "the result's type is wrong");
    VGR_REQUIRE(vgr_same_shape(t, a) && vgr_same_shape(b, a), "shapes differ");
    return NULL;
}

const char *vgr_rule_add1(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(vgr_alike(t, a), "the result is not like the first source");
    VGR_REQUIRE(vgr_type_weight(a->type), "the first source's type cannot be read");
    VGR_REQUIRE(b->type == GGML_TYPE_F32 || (b->type == a->type && vgr_type_float(b->type)),
                "the second source's type is wrong");
    VGR_REQUIRE(ggml_nelements(b) == 1, "the second source is not one number");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_dense_rows(t), "rows are not dense");
    return NULL;
}

/* SQR, SQRT, LOG, SIN, COS. */
const char *vgr_rule_math(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]), "the result is not like the source");
    VGR_REQUIRE(vgr_type_float(t->type), "not of a float type");
    return NULL;
}

const char *vgr_rule_unary(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->op_params[0] >= 0 && t->op_params[0] < GGML_UNARY_OP_COUNT, "no such unary op");
    VGR_REQUIRE_RULE(vgr_rule_math(t));
    VGR_REQUIRE(vgr_dense_rows(t->src[0]) && vgr_dense_rows(t), "rows are not dense");
    return NULL;
}

/* The gate and the value are two tensors, or the halves of the rows of one. */
const char *vgr_rule_glu(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(t->op_params[0] >= 0 && t->op_params[0] < GGML_GLU_OP_COUNT, "no such GLU op");
    VGR_REQUIRE(vgr_param_bool(t, 1), "a wrong parameter");
    VGR_REQUIRE(vgr_type_float(a->type) && t->type == a->type, "a wrong type");
    VGR_REQUIRE(vgr_flat_rows(a) && vgr_flat_rows(t), "rows are not contiguous");
    if (b) {
        VGR_REQUIRE(vgr_alike(a, b), "the sources differ");
        VGR_REQUIRE(vgr_flat_rows(b), "rows are not contiguous");
    }
    VGR_REQUIRE(vgr_ne(t, b ? a->ne[0] : a->ne[0] / 2, a->ne[1], a->ne[2], a->ne[3]),
                "the result has a wrong shape");
    return NULL;
}

static const char *f32_or_f16_map(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]), "the result is not like the source");
    VGR_REQUIRE(vgr_type_f32_f16(t->type), "neither F32 nor F16");
    return NULL;
}

const char *vgr_rule_leaky_relu(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(f32_or_f16_map(t));
    VGR_REQUIRE(vgr_flat_rows(t->src[0]) && vgr_flat_rows(t), "rows are not contiguous");
    return NULL;
}

const char *vgr_rule_clamp(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(f32_or_f16_map(t));
    VGR_REQUIRE(vgr_rows_inside(t->src[0]) && vgr_rows_inside(t), "rows overlap");
    return NULL;
}

const char *vgr_rule_silu_back(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(vgr_rule_leaky_relu(t));
    VGR_REQUIRE(vgr_alike(t, t->src[1]) && vgr_flat_rows(t->src[1]), "the sources differ");
    return NULL;
}

const char *vgr_rule_scale(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(vgr_rule_math(t));
    VGR_REQUIRE(vgr_packed(t->src[0]) && vgr_packed(t), "not contiguous");
    return NULL;
}

const char *vgr_rule_fill(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]), "the result is not like the source");
    VGR_REQUIRE(vgr_type_f32_f16(t->type), "neither F32 nor F16");
    VGR_REQUIRE(ggml_is_contiguous(t->src[0]) && ggml_is_contiguous(t), "not contiguous");
    return NULL;
}

const char *vgr_rule_tri(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->op_params[0] >= 0 && t->op_params[0] <= GGML_TRI_TYPE_LOWER, "no such triangle");
    VGR_REQUIRE(vgr_alike(t, t->src[0]) && t->type == GGML_TYPE_F32, "not F32 of one shape");
    VGR_REQUIRE(t->ne[0] == t->ne[1], "matrices are not square");
    VGR_REQUIRE(ggml_is_contiguous(t->src[0]) && ggml_is_contiguous(t), "not contiguous");
    return NULL;
}

/* DIAG_MASK_INF, DIAG_MASK_ZERO. */
const char *vgr_rule_diag_mask(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]) && t->type == GGML_TYPE_F32, "not F32 of one shape");
    VGR_REQUIRE(ggml_is_contiguous(t->src[0]) && ggml_is_contiguous(t), "not contiguous");
    /* Planes are counted over two dimensions, in steps of nb[2]. */
    VGR_REQUIRE(t->ne[3] == 1 || t->nb[2] == (uint64_t)t->ne[1] * t->nb[1],
                "planes are not contiguous");
    VGR_REQUIRE(vgr_fits_int(t), "too large");
    VGR_REQUIRE(t->op_params[0] >= 0, "a negative number of past tokens");
    return NULL;
}
