/* SPDX-License-Identifier: MIT
 *
 * Ops that copy, repeat, place, pad, stretch and number elements: see rules.h.
 */
#include "worker/rules/rules.h"

#include <math.h>

#define SCALE_MODE          0xff /* of UPSCALE's parameter */
#define SCALE_BILINEAR      1
#define SCALE_MODES         3
#define SCALE_ALIGN_CORNERS 0x100
#define SCALE_ANTIALIAS     0x200
#define STEPS_MAX           ((float)(1 << 30))

/* RESHAPE, VIEW, PERMUTE, TRANSPOSE and NONE touch no data. That they are where their source and offset
 * say has been checked; how far they reach is checked for the ops that read or write there. */
const char *vgr_rule_view(const struct ggml_tensor *t)
{
    (void)t;
    return NULL;
}

/* The copy of `a` into `t`, element by element in the order of each. */
static const char *copied(const struct ggml_tensor *t, const struct ggml_tensor *a)
{
    VGR_REQUIRE(ggml_nelements(t) == ggml_nelements(a), "the numbers of elements differ");
    if (t->type == a->type) {
        /* Blocks are copied by rows of equal length, all at once, or one by one; into a contiguous
         * result of another shape only all at once. */
        VGR_REQUIRE(!ggml_is_quantized(a->type) || vgr_same_shape(t, a) || ggml_is_contiguous(a) ||
                        !ggml_is_contiguous(t),
                    "blocks cannot be copied to another shape");
        return NULL;
    }
    VGR_REQUIRE((vgr_type_weight(a->type) || a->type == GGML_TYPE_I32) &&
                    (vgr_type_weight(t->type) || t->type == GGML_TYPE_I32),
                "no conversion between these types");
    if (ggml_is_quantized(t->type)) {
        /* GGML makes room for one row of the result, and puts one of the source there. */
        VGR_REQUIRE(vgr_multiple(a->ne[0], ggml_blck_size(t->type)) && a->ne[0] <= t->ne[0],
                    "rows cannot be quantized");
    }
    return NULL;
}

const char *vgr_rule_dup(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]), "the result is not like the source");
    return copied(t, t->src[0]);
}

const char *vgr_rule_cont(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->type == t->src[0]->type, "the types differ");
    VGR_REQUIRE(ggml_is_contiguous(t), "the result is not contiguous");
    return copied(t, t->src[0]);
}

/* The second source is the destination, of which the result is a view; or the result itself. */
const char *vgr_rule_cpy(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->src[1] == t || vgr_same_layout(t, t->src[1]),
                "the result is not laid out like the destination");
    return copied(t, t->src[0]);
}

const char *vgr_rule_repeat(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(t->type == a->type && ggml_blck_size(t->type) == 1, "a wrong type");
    VGR_REQUIRE(vgr_can_repeat(a, t), "the source cannot be repeated to the result");
    return NULL;
}

const char *vgr_rule_repeat_back(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(vgr_can_repeat(t, a), "the result cannot be repeated to the source");
    return NULL;
}

const char *vgr_rule_concat(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    int32_t dim = t->op_params[0];

    VGR_REQUIRE(dim >= 0 && dim < GGML_MAX_DIMS, "no such dimension");
    VGR_REQUIRE(t->type == a->type && t->type == b->type, "the types differ");
    for (int d = 0; d < GGML_MAX_DIMS; d++) {
        if (d == dim)
            VGR_REQUIRE(t->ne[d] == a->ne[d] + b->ne[d], "the lengths do not add up");
        else
            VGR_REQUIRE(t->ne[d] == a->ne[d] && t->ne[d] == b->ne[d], "the shapes differ");
    }
    return NULL;
}

/* ACC and SET see the result with the shape of b, strides of their own, and an offset. */
static const char *window(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    uint64_t size = ggml_type_size(t->type), end, part;

    VGR_REQUIRE(vgr_alike(t, a) && b->type == a->type, "the sources or the result differ");
    VGR_REQUIRE(ggml_is_contiguous(t) && ggml_is_contiguous(a), "not contiguous");
    VGR_REQUIRE(vgr_dense_rows(b), "rows are not dense");
    VGR_REQUIRE(vgr_param_bool(t, 4), "a wrong parameter");
    for (int i = 0; i < 4; i++)
        VGR_REQUIRE(t->op_params[i] >= 0 && (uint64_t)t->op_params[i] % size == 0,
                    "a wrong stride or offset");
    /* Kernels divide by the strides, also where there is one row of a dimension. */
    VGR_REQUIRE(t->op_params[0] && t->op_params[1] && t->op_params[2], "a stride of zero");
    if (vgr_empty(b))
        return NULL;
    end = (uint64_t)t->op_params[3] + (uint64_t)b->ne[0] * size;
    for (int d = 1; d < GGML_MAX_DIMS; d++) {
        part = (uint64_t)(b->ne[d] - 1) * (uint64_t)t->op_params[d - 1];
        VGR_REQUIRE(part <= (uint64_t)INT64_MAX - end, "the window is outside of the result");
        end += part;
    }
    VGR_REQUIRE(end <= ggml_nbytes(t), "the window is outside of the result");
    return NULL;
}

const char *vgr_rule_acc(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->type == GGML_TYPE_F32, "not F32");
    return window(t);
}

const char *vgr_rule_set(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_I32, "neither F32 nor I32");
    return window(t);
}

const char *vgr_rule_diag(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(a->ne[1] == 1, "the source's rows are not diagonals");
    VGR_REQUIRE(vgr_ne(t, a->ne[0], a->ne[0], a->ne[2], a->ne[3]), "the result has a wrong shape");
    VGR_REQUIRE(vgr_dense_rows(a), "rows are not dense");
    return NULL;
}

const char *vgr_rule_pad(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    bool circular = t->op_params[8] == 1;

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(vgr_fresh(t), "the result is not contiguous");
    VGR_REQUIRE(vgr_fits_int(t), "too large");
    VGR_REQUIRE(vgr_param_bool(t, 8), "a wrong parameter");
    for (size_t d = 0; d < GGML_MAX_DIMS; d++) {
        int64_t left = t->op_params[2 * d], right = t->op_params[2 * d + 1];

        VGR_REQUIRE(t->ne[d] == a->ne[d] + left + right, "the lengths do not add up");
        VGR_REQUIRE(!circular || (left >= 0 && left <= a->ne[d] && right >= 0),
                    "padding does not wrap around like this");
    }
    return NULL;
}

const char *vgr_rule_pad_reflect_1d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    int64_t left = t->op_params[0], right = t->op_params[1];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(left >= 0 && left < a->ne[0] && right >= 0 && right < a->ne[0],
                "the padding is longer than what it reflects");
    VGR_REQUIRE(vgr_ne(t, a->ne[0] + left + right, a->ne[1], a->ne[2], a->ne[3]),
                "the result has a wrong shape");
    return NULL;
}

const char *vgr_rule_roll(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(vgr_alike(t, a) && t->type == GGML_TYPE_F32, "not F32 of one shape");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_fresh(t), "rows are not dense");
    for (int d = 0; d < GGML_MAX_DIMS; d++) {
        int64_t shift = t->op_params[d];

        VGR_REQUIRE(shift < a->ne[d] && -shift < a->ne[d], "a shift by more than there is");
    }
    return NULL;
}

const char *vgr_rule_arange(const struct ggml_tensor *t)
{
    float start = vgr_param_float(t, 0), stop = vgr_param_float(t, 1), step = vgr_param_float(t, 2),
          steps;

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && vgr_vector(t) && vgr_fresh(t), "not a vector of F32");
    VGR_REQUIRE(isfinite(start) && isfinite(stop) && isfinite(step) && stop > start && step > 0,
                "not an ascending range");
    steps = ceilf((stop - start) / step);
    VGR_REQUIRE(steps < STEPS_MAX && t->ne[0] == (int64_t)steps,
                "the result has another length than the range");
    return NULL;
}

const char *vgr_rule_timestep_embedding(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_fresh(t), "rows are not dense");
    VGR_REQUIRE(vgr_ne(t, t->op_params[0], a->ne[0], 1, 1), "the result has a wrong shape");
    VGR_REQUIRE(vgr_bytes_fit_int(t), "too large");
    return NULL;
}

/* Kernels go from result to source in floating point: the last index must still be one. */
static bool scaled_inside(int64_t to, int64_t from, float scale)
{
    return (int64_t)((float)(to - 1) / scale) < from;
}

const char *vgr_rule_upscale(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    int32_t flags = t->op_params[0] & ~SCALE_MODE, mode = t->op_params[0] & SCALE_MODE;

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(mode < SCALE_MODES && !(flags & ~(SCALE_ALIGN_CORNERS | SCALE_ANTIALIAS)),
                "no such mode");
    VGR_REQUIRE(!(flags & SCALE_ANTIALIAS) || mode == SCALE_BILINEAR, "no such mode");
    if (vgr_empty(t))
        return NULL;
    VGR_REQUIRE(vgr_fits_int(t) && vgr_bytes_fit_int(a), "too large");
    for (int d = 0; d < GGML_MAX_DIMS; d++) {
        int64_t to = t->ne[d], from = a->ne[d];

        VGR_REQUIRE(scaled_inside(to, from, (float)to / (float)from), "a scale beyond precision");
        if (flags & SCALE_ALIGN_CORNERS && d < 2 && to > 1 && from > 1)
            VGR_REQUIRE(scaled_inside(to, from, (float)(to - 1) / (float)(from - 1)),
                        "a scale beyond precision");
    }
    return NULL;
}
