/* SPDX-License-Identifier: MIT
 *
 * Norms, soft max and rotary positions: see rules.h.
 */
#include "worker/rules/rules.h"

#include <ggml-backend.h>

/* Modes of ROPE. */
#define ROPE_NORMAL 0
#define ROPE_NEOX   2
#define ROPE_MROPE  8
#define ROPE_VISION 24
#define ROPE_IMROPE 40

static const char *normed(const struct ggml_tensor *t, int eps_at)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]) && t->type == GGML_TYPE_F32, "not F32 of one shape");
    VGR_REQUIRE(vgr_param_float(t, eps_at) >= 0, "a negative epsilon, or none");
    VGR_REQUIRE(vgr_fits_int(t), "too large");
    return NULL;
}

/* NORM, L2_NORM: any strides. */
const char *vgr_rule_norm(const struct ggml_tensor *t)
{
    return normed(t, 0);
}

const char *vgr_rule_rms_norm(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(normed(t, 0));
    VGR_REQUIRE(vgr_dense_rows(t->src[0]) && vgr_dense_rows(t), "rows are not dense");
    return NULL;
}

const char *vgr_rule_rms_norm_back(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(vgr_rule_rms_norm(t));
    VGR_REQUIRE(vgr_alike(t, t->src[1]) && vgr_dense_rows(t->src[1]), "the sources differ");
    return NULL;
}

const char *vgr_rule_group_norm(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(normed(t, 1));
    VGR_REQUIRE(vgr_dense_rows(t->src[0]) && vgr_dense_rows(t), "rows are not dense");
    VGR_REQUIRE(t->op_params[0] > 0 && t->op_params[0] <= t->ne[2],
                "as many groups as channels at most, and one at least");
    return NULL;
}

const char *vgr_rule_soft_max(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *mask = t->src[1], *sinks = t->src[2];

    VGR_REQUIRE(vgr_alike(t, a) && t->type == GGML_TYPE_F32, "not F32 of one shape");
    VGR_REQUIRE(ggml_is_contiguous(a) && ggml_is_contiguous(t), "not contiguous");
    if (mask) {
        VGR_REQUIRE(vgr_type_f32_f16(mask->type), "the mask is neither F32 nor F16");
        VGR_REQUIRE(ggml_is_contiguous(mask), "the mask is not contiguous");
        VGR_REQUIRE(mask->ne[0] == a->ne[0] && mask->ne[1] >= a->ne[1], "the mask is too small");
        VGR_REQUIRE(vgr_multiple(a->ne[2], mask->ne[2]) && vgr_multiple(a->ne[3], mask->ne[3]),
                    "the mask cannot be broadcast");
    }
    VGR_REQUIRE(mask || !(vgr_param_float(t, 1) > 0), "a bias without a mask");
    if (sinks) {
        VGR_REQUIRE(sinks->type == GGML_TYPE_F32 && vgr_dense_rows(sinks), "sinks are not F32");
        VGR_REQUIRE(sinks->ne[0] == a->ne[2], "not a sink for each head");
    }
    return NULL;
}

const char *vgr_rule_soft_max_back(const struct ggml_tensor *t)
{
    VGR_REQUIRE(vgr_alike(t, t->src[0]) && vgr_alike(t, t->src[1]) && t->type == GGML_TYPE_F32,
                "not F32 of one shape");
    VGR_REQUIRE(vgr_packed(t->src[0]) && vgr_packed(t->src[1]) && vgr_packed(t), "not contiguous");
    return NULL;
}

static const char *rope_sections(const struct ggml_tensor *t)
{
    int64_t sum = 0;

    for (int i = 0; i < GGML_MROPE_SECTIONS; i++) {
        int64_t n = t->op_params[11 + i];

        VGR_REQUIRE(n >= 0, "a negative section");
        sum += n;
    }
    VGR_REQUIRE(sum > t->op_params[14] && sum <= t->ne[0], "sections do not fit the rows");
    return NULL;
}

/* GGML's CPU kernel reads a factor for each pair of a row, also where fewer pairs are rotated and fewer
 * factors are there, and does not use the rest. What it reads must at least lie in the buffer. */
static bool factors_inside(const struct ggml_tensor *factors, int64_t pairs)
{
    uint64_t at, size;

    if (!factors->buffer)
        return true;
    at = (uint64_t)((uintptr_t)factors->data -
                    (uintptr_t)ggml_backend_buffer_get_base(factors->buffer));
    size = ggml_backend_buffer_get_size(factors->buffer);
    return at <= size && (uint64_t)pairs * sizeof(float) <= size - at;
}

/* ROPE, ROPE_BACK. Parameters: 1 how many elements of a row are rotated, 2 mode, 15 the first of
 * them, 11 to 14 sections, which have a position each. */
const char *vgr_rule_rope(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *pos = t->src[1], *factors = t->src[2];
    int64_t n_dims = t->op_params[1], first = t->op_params[15];
    int32_t mode = t->op_params[2];

    VGR_REQUIRE(vgr_alike(t, a) && vgr_type_f32_f16(a->type),
                "neither F32 nor F16, or the result is not like the source");
    VGR_REQUIRE(vgr_dense_rows(a) && vgr_dense_rows(t), "rows are not dense");
    VGR_REQUIRE(vgr_offsets_fit_int(a) && vgr_offsets_fit_int(t), "too large");
    VGR_REQUIRE(mode == ROPE_NORMAL || mode == ROPE_NEOX || mode == ROPE_MROPE ||
                    mode == ROPE_VISION || mode == ROPE_IMROPE,
                "no such mode");
    VGR_REQUIRE(n_dims > 0 && n_dims % 2 == 0 && first >= 0 && first % 2 == 0 && a->ne[0] % 2 == 0,
                "elements do not come in pairs");
    VGR_REQUIRE(first + n_dims <= a->ne[0], "more elements are rotated than there are");
    VGR_REQUIRE(mode != ROPE_VISION || (n_dims == a->ne[0] / 2 && !first),
                "not half of the elements");
    VGR_REQUIRE(pos->type == GGML_TYPE_I32 && vgr_vector(pos) && vgr_dense_rows(pos),
                "positions are not a vector of I32");
    VGR_REQUIRE(pos->ne[0] == (mode & ROPE_MROPE ? 4 * a->ne[2] : a->ne[2]),
                "not the right number of positions");
    if (mode & ROPE_MROPE)
        VGR_REQUIRE_RULE(rope_sections(t));
    if (factors) {
        VGR_REQUIRE(factors->type == GGML_TYPE_F32 && vgr_dense_rows(factors),
                    "factors are not F32");
        VGR_REQUIRE(factors->ne[0] >= n_dims / 2, "too few factors");
        VGR_REQUIRE(factors_inside(factors, a->ne[0] / 2), "factors at the very end of a buffer");
    }
    return NULL;
}
