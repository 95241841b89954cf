/* SPDX-License-Identifier: MIT
 *
 * Convolutions, pooling and what they are made of: see rules.h.
 *
 * Kernels step through their result and look up where the source is, with checks at its borders; so the
 * shape of the result must be exactly what the parameters make of the sources.
 */
#include "worker/rules/rules.h"

/* Stride, padding and dilation of one dimension. */
struct step {
    int64_t s, p, d;
};

static struct step step_at(const struct ggml_tensor *t, int s, int p, int d)
{
    return (struct step){t->op_params[s], t->op_params[p], t->op_params[d]};
}

/* How long the result is, or -1 if the parameters make no sense. */
static int64_t conv_len(int64_t in, int64_t kernel, struct step x)
{
    int64_t len;

    if (x.s < 1 || x.p < 0 || x.d < 1)
        return -1;
    len = (in + 2 * x.p - x.d * (kernel - 1) - 1) / x.s + 1;
    return len > 0 ? len : -1;
}

/* How long the result of a transposed one is. The parts fit: all are below 2^31. */
static int64_t transposed_len(int64_t in, int64_t kernel, int64_t stride)
{
    return stride < 1 || in < 1 || kernel < 1 ? -1 : (in - 1) * stride + kernel;
}

/* GGML's CPU kernels for whole convolutions lay out patches of the source, each with the results that it
 * gives, in scratch memory of this size, and divide by how many fit. Real ones take kilobytes. */
#define SCRATCH (16 << 20)

/* Does a patch as large as a kernel for one result fit, if there are `results`? */
static bool patch_fits(const struct ggml_tensor *kernel, int64_t elements, int64_t results)
{
    return elements * (int64_t)ggml_type_size(kernel->type) + results * (int64_t)sizeof(float) <=
           SCRATCH;
}

/* Images whose rows follow one another, read by a kernel that steps from plane to plane by int. */
static bool dense_planes(const struct ggml_tensor *t)
{
    return vgr_dense_rows(t) && t->nb[2] <= INT32_MAX && t->nb[3] <= INT32_MAX &&
           (t->ne[1] == 1 || t->nb[1] == (uint64_t)t->ne[0] * t->nb[0]);
}

/* a: kernel; b: images [w, h, c, n], or [w, c, n] in one dimension. */
const char *vgr_rule_im2col(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    struct step x = step_at(t, 0, 2, 4), y = step_at(t, 1, 3, 5);

    VGR_REQUIRE(vgr_type_f32_f16(t->type) && vgr_type_f32_f16(b->type) &&
                    (t->type == GGML_TYPE_F16 || b->type == GGML_TYPE_F32),
                "a wrong type");
    VGR_REQUIRE(vgr_fresh(t), "the result is not contiguous");
    VGR_REQUIRE(vgr_param_bool(t, 6), "a wrong parameter");
    if (t->op_params[6]) {
        VGR_REQUIRE(a->ne[2] == b->ne[2], "the numbers of channels differ");
        VGR_REQUIRE(dense_planes(b), "planes are not dense");
        VGR_REQUIRE(vgr_ne(t, a->ne[2] * a->ne[1] * a->ne[0], conv_len(b->ne[0], a->ne[0], x),
                           conv_len(b->ne[1], a->ne[1], y), b->ne[3]),
                    "the result has a wrong shape");
        return NULL;
    }
    VGR_REQUIRE(a->ne[1] == b->ne[1] && b->ne[3] == 1, "the numbers of channels differ");
    VGR_REQUIRE(vgr_dense_rows(b) && b->nb[1] <= INT32_MAX && b->nb[2] <= INT32_MAX,
                "rows are not dense");
    VGR_REQUIRE(vgr_ne(t, a->ne[1] * a->ne[0], conv_len(b->ne[0], a->ne[0], x), b->ne[2], 1),
                "the result has a wrong shape");
    return NULL;
}

/* a: what IM2COL made of images like the result; b: kernel. */
const char *vgr_rule_im2col_back(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    struct step x = step_at(t, 0, 2, 4), y = step_at(t, 1, 3, 5);

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32 && vgr_type_f32_f16(b->type),
                "a wrong type");
    VGR_REQUIRE(vgr_fresh(t) && ggml_is_contiguous(a), "not contiguous");
    VGR_REQUIRE(dense_planes(t), "the result is too large");
    VGR_REQUIRE(vgr_param_bool(t, 6), "a wrong parameter");
    if (t->op_params[6]) {
        VGR_REQUIRE(t->ne[2] == b->ne[2], "the numbers of channels differ");
        VGR_REQUIRE(vgr_ne(a, b->ne[2] * b->ne[1] * b->ne[0], conv_len(t->ne[0], b->ne[0], x),
                           conv_len(t->ne[1], b->ne[1], y), t->ne[3]),
                    "the source has a wrong shape");
        return NULL;
    }
    VGR_REQUIRE(t->ne[1] == b->ne[1] && t->ne[3] == 1, "the numbers of channels differ");
    VGR_REQUIRE(vgr_ne(a, b->ne[1] * b->ne[0], conv_len(t->ne[0], b->ne[0], x), t->ne[2], 1),
                "the source has a wrong shape");
    return NULL;
}

/* a: kernel [w, h, d, any]; b: images [w, h, d, c * n]. */
const char *vgr_rule_im2col_3d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    int64_t c = t->op_params[9], volume = a->ne[0] * a->ne[1], depth;

    VGR_REQUIRE(vgr_type_f32_f16(t->type) && b->type == GGML_TYPE_F32, "a wrong type");
    VGR_REQUIRE(vgr_fresh(t) && vgr_dense_rows(b), "rows are not dense");
    VGR_REQUIRE(c > 0, "no channels");
    depth = conv_len(b->ne[2], a->ne[2], step_at(t, 2, 5, 8));
    VGR_REQUIRE(depth > 0 && depth <= INT32_MAX && volume <= INT32_MAX &&
                    volume * a->ne[2] <= INT32_MAX,
                "the kernel does not fit");
    VGR_REQUIRE(vgr_ne(t, volume * a->ne[2] * c, conv_len(b->ne[0], a->ne[0], step_at(t, 0, 3, 6)),
                       conv_len(b->ne[1], a->ne[1], step_at(t, 1, 4, 7)), depth * (b->ne[3] / c)),
                "the result has a wrong shape");
    return NULL;
}

/* a: columns [k * oc, n]; result: [len, oc]. */
const char *vgr_rule_col2im_1d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    int64_t stride = t->op_params[0], oc = t->op_params[1], crop = t->op_params[2];

    VGR_REQUIRE(vgr_type_float(t->type) && t->type == a->type, "a wrong type");
    VGR_REQUIRE(vgr_matrix(a) && ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous matrices");
    VGR_REQUIRE(stride > 0 && crop >= 0 && vgr_multiple(a->ne[0], oc), "a wrong parameter");
    VGR_REQUIRE(vgr_fits_int(a) && vgr_fits_int(t), "too large");
    VGR_REQUIRE(vgr_ne(t, transposed_len(a->ne[1], a->ne[0] / oc, stride) - 2 * crop, oc, 1, 1),
                "the result has a wrong shape");
    return NULL;
}

/* a: kernel [w, h, c, oc]; b: images [w, h, c, n]. */
const char *vgr_rule_conv_2d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(vgr_type_f32_f16(a->type) && b->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32,
                "a wrong type");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(a->ne[2] == b->ne[2], "the numbers of channels differ");
    VGR_REQUIRE(vgr_ne(t, conv_len(b->ne[0], a->ne[0], step_at(t, 0, 2, 4)),
                       conv_len(b->ne[1], a->ne[1], step_at(t, 1, 3, 5)), a->ne[3], b->ne[3]),
                "the result has a wrong shape");
    VGR_REQUIRE(patch_fits(a, a->ne[0] * a->ne[1] * a->ne[2], a->ne[3]), "the kernel is too large");
    return NULL;
}

/* a: kernel [w, h, d, c * oc]; b: images [w, h, d, c * n]. */
const char *vgr_rule_conv_3d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    int64_t c = t->op_params[9], n = t->op_params[10], oc = t->op_params[11];

    VGR_REQUIRE(vgr_type_f32_f16(a->type) && b->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32,
                "a wrong type");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_fresh(t), "not contiguous");
    VGR_REQUIRE(c > 0 && n > 0 && oc > 0 && a->ne[3] == c * oc && b->ne[3] == c * n,
                "the numbers of channels differ");
    VGR_REQUIRE(vgr_ne(t, conv_len(b->ne[0], a->ne[0], step_at(t, 0, 3, 6)),
                       conv_len(b->ne[1], a->ne[1], step_at(t, 1, 4, 7)),
                       conv_len(b->ne[2], a->ne[2], step_at(t, 2, 5, 8)), oc * n),
                "the result has a wrong shape");
    VGR_REQUIRE(patch_fits(a, a->ne[0] * a->ne[1] * a->ne[2] * c, oc), "the kernel is too large");
    return NULL;
}

/* a: kernel [w, h, 1, c]; b: images [w, h, c, n], in this order or with the channels innermost. */
const char *vgr_rule_conv_2d_dw(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    uint64_t size = ggml_type_size(t->type);

    VGR_REQUIRE(vgr_type_f32_f16(a->type) && b->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32,
                "a wrong type");
    VGR_REQUIRE(a->ne[2] == 1 && a->ne[3] == b->ne[2], "the numbers of channels differ");
    VGR_REQUIRE(vgr_ne(t, conv_len(b->ne[0], a->ne[0], step_at(t, 0, 2, 4)),
                       conv_len(b->ne[1], a->ne[1], step_at(t, 1, 3, 5)), b->ne[2], b->ne[3]),
                "the result has a wrong shape");
    VGR_REQUIRE(vgr_run(a) && vgr_run(b), "not dense");
    VGR_REQUIRE(vgr_fits_int(a) && vgr_fits_int(b) && vgr_fits_int(t), "too large");
    VGR_REQUIRE(vgr_fresh(t) || (ggml_is_contiguous_channels(b) && t->nb[2] == size &&
                                 t->nb[0] == size * (uint64_t)t->ne[2] &&
                                 t->nb[1] == t->nb[0] * (uint64_t)t->ne[0] &&
                                 t->nb[3] == size * (uint64_t)(t->ne[0] * t->ne[1] * t->ne[2])),
                "the result has a wrong layout");
    return NULL;
}

/* a: kernel [len, oc, c]; b: [len, c]. */
const char *vgr_rule_conv_transpose_1d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(vgr_type_f32_f16(a->type) && b->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32,
                "a wrong type");
    VGR_REQUIRE(vgr_matrix(b) && a->ne[2] == b->ne[1] && a->ne[3] == 1,
                "the numbers of channels differ");
    VGR_REQUIRE(t->op_params[1] == 0 && t->op_params[2] == 1, "no padding, no dilation");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_dense_rows(b) && vgr_fresh(t), "rows are not dense");
    /* Sources are put into scratch memory by int, results are counted so. */
    VGR_REQUIRE(vgr_fits_int(a) && vgr_fits_int(b) && vgr_fits_int(t), "too large");
    VGR_REQUIRE(vgr_ne(t, transposed_len(b->ne[0], a->ne[0], t->op_params[0]), a->ne[1], 1, 1),
                "the result has a wrong shape");
    return NULL;
}

/* a: kernel [w, h, oc, c]; b: images [w, h, c, n]. */
const char *vgr_rule_conv_transpose_2d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];
    int64_t stride = t->op_params[0];

    VGR_REQUIRE(vgr_type_f32_f16(a->type) && b->type == GGML_TYPE_F32 && t->type == GGML_TYPE_F32,
                "a wrong type");
    VGR_REQUIRE(a->ne[3] == b->ne[2], "the numbers of channels differ");
    VGR_REQUIRE(ggml_is_contiguous(a) && vgr_dense_rows(b) && vgr_fresh(t), "not contiguous");
    /* Sources are put into scratch memory by int, results are counted so. */
    VGR_REQUIRE(vgr_fits_int(a) && vgr_fits_int(b) && vgr_fits_int(t), "too large");
    VGR_REQUIRE(vgr_ne(t, transposed_len(b->ne[0], a->ne[0], stride),
                       transposed_len(b->ne[1], a->ne[1], stride), a->ne[2], b->ne[3]),
                "the result has a wrong shape");
    return NULL;
}

#define PAD_MAX ((float)(1 << 24))

/* As GGML computes it, where the padding may have been a fraction. */
static int64_t pool_len(int64_t in, int32_t kernel, int32_t stride, float pad)
{
    float len;

    if (kernel < 1 || stride < 1 || !(pad >= 0) || pad > PAD_MAX)
        return -1;
    len = ((float)in + 2 * pad - (float)kernel) / (float)stride + 1;
    return len >= 1 ? (int64_t)len : -1;
}

/* Is the length that pooling made of `in` possible? The parameter is the padding without its
 * fraction. */
static bool pooled(int64_t out, int64_t in, int32_t kernel, int32_t stride, int32_t pad)
{
    return out >= 1 && out >= pool_len(in, kernel, stride, (float)pad) &&
           out <= pool_len(in, kernel, stride, (float)pad + 0.999f);
}

static const char *pool_op(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->op_params[0] >= 0 && t->op_params[0] < GGML_OP_POOL_COUNT, "no such pooling");
    return NULL;
}

const char *vgr_rule_pool_1d(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0];
    const int32_t *p = t->op_params;

    VGR_REQUIRE_RULE(pool_op(t));
    VGR_REQUIRE(t->type == GGML_TYPE_F32 && vgr_type_f32_f16(a->type), "a wrong type");
    VGR_REQUIRE(vgr_flat_rows(a) && vgr_fresh(t), "rows are not contiguous");
    VGR_REQUIRE(pooled(t->ne[0], a->ne[0], p[1], p[2], p[3]) && t->ne[1] == a->ne[1] &&
                    t->ne[2] == a->ne[2] && t->ne[3] == a->ne[3],
                "the result has a wrong shape");
    return NULL;
}

/* Is `small` what 2D pooling made of images like `large`? */
static const char *pool_planes(const struct ggml_tensor *t, const struct ggml_tensor *small,
                               const struct ggml_tensor *large)
{
    const int32_t *p = t->op_params;

    VGR_REQUIRE_RULE(pool_op(t));
    VGR_REQUIRE(ggml_is_contiguous(small) && ggml_is_contiguous(large), "not contiguous");
    VGR_REQUIRE((int64_t)p[1] * p[2] <= INT32_MAX, "the window is too large");
    VGR_REQUIRE(vgr_fits_int(small) && vgr_fits_int(large), "too large");
    /* Kernels count their planes in steps of nb[2]. */
    VGR_REQUIRE(large->nb[2] == (uint64_t)large->ne[1] * large->nb[1], "planes are not contiguous");
    VGR_REQUIRE(pooled(small->ne[0], large->ne[0], p[1], p[3], p[5]) &&
                    pooled(small->ne[1], large->ne[1], p[2], p[4], p[6]) &&
                    small->ne[2] == large->ne[2] && small->ne[3] == large->ne[3],
                "the result has a wrong shape");
    return NULL;
}

const char *vgr_rule_pool_2d(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->type == GGML_TYPE_F32 && vgr_type_f32_f16(t->src[0]->type), "a wrong type");
    return pool_planes(t, t, t->src[0]);
}

/* The second source is what was pooled, like the result. */
const char *vgr_rule_pool_2d_back(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->type == GGML_TYPE_F32 && t->src[0]->type == GGML_TYPE_F32, "a wrong type");
    VGR_REQUIRE(vgr_alike(t, t->src[1]) && ggml_is_contiguous(t->src[1]),
                "the result is not like what was pooled");
    return pool_planes(t, t->src[0], t);
}
