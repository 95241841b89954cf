/* SPDX-License-Identifier: MIT
 *
 * rules_ops.h - one small op of each kind that GGML can build, for the tests of the worker's rules.
 *
 * Every op is made by GGML's own builder, so it is one that must be accepted. What follows the builder
 * says which changes of one thing do no harm: parameters that may have any value, sources whose strides
 * the kernels honour, sources that may grow, and sources whose type is a choice. Numbers of sources are
 * bits; bit 10 is the result.
 */
#ifndef VGR_RULES_OPS_H
#define VGR_RULES_OPS_H

#include <ggml.h>

#define S(n)   (1u << (n))
#define RESULT S(10)
#define P(n)   (1u << (n))

typedef struct ggml_context *ctx_t;
typedef struct ggml_tensor *tensor_t;

static tensor_t of(ctx_t c, enum ggml_type type, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    return ggml_new_tensor_4d(c, type, n0, n1, n2, n3);
}

static tensor_t f32(ctx_t c, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    return of(c, GGML_TYPE_F32, n0, n1, n2, n3);
}

static tensor_t f16(ctx_t c, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    return of(c, GGML_TYPE_F16, n0, n1, n2, n3);
}

static tensor_t i32(ctx_t c, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    return of(c, GGML_TYPE_I32, n0, n1, n2, n3);
}

static tensor_t q8(ctx_t c, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    return of(c, GGML_TYPE_Q8_0, n0, n1, n2, n3);
}

struct sample {
    const char *what;
    tensor_t (*build)(ctx_t c);
    uint32_t params;  /* may have any value */
    uint32_t strides; /* of these the strides may be others */
    uint32_t grow;    /* these may be larger */
    uint32_t types;   /* these may have another type */
    uint32_t missing; /* these may be missing */
};

#define BUILD(name, expr)                                                                          \
    static tensor_t build_##name(ctx_t c)                                                          \
    {                                                                                              \
        return expr;                                                                               \
    }

/* clang-format off */
_Pragma("GCC diagnostic ignored \"-Wdeprecated-declarations\"") /* ADD1 is still an op */
BUILD(add, ggml_add(c, f32(c, 8, 4, 3, 2), f32(c, 8, 1, 3, 1)))
BUILD(add_q8, ggml_add(c, q8(c, 64, 3, 2, 1), f32(c, 64, 3, 2, 1)))
BUILD(add_inplace, ggml_add_inplace(c, ggml_permute(c, f32(c, 8, 4, 3, 2), 0, 2, 1, 3), f32(c, 8, 1, 1, 1)))
BUILD(sub, ggml_sub(c, f32(c, 8, 4, 3, 2), f32(c, 4, 4, 1, 2)))
BUILD(mul, ggml_mul(c, f16(c, 8, 4, 3, 2), f16(c, 8, 1, 1, 1)))
BUILD(div, ggml_div(c, f32(c, 8, 4, 3, 2), f32(c, 1, 1, 1, 1)))
BUILD(add1, ggml_add1(c, f32(c, 8, 4, 3, 2), f32(c, 1, 1, 1, 1)))
BUILD(sqr, ggml_sqr(c, f32(c, 8, 4, 3, 2)))
BUILD(sqrt, ggml_sqrt(c, f32(c, 8, 4, 3, 2)))
BUILD(log, ggml_log(c, f16(c, 8, 4, 3, 2)))
BUILD(sin, ggml_sin(c, f32(c, 8, 4, 3, 2)))
BUILD(cos, ggml_cos(c, f32(c, 8, 4, 3, 2)))
BUILD(unary, ggml_gelu(c, f32(c, 8, 4, 3, 2)))
BUILD(unary_inplace, ggml_silu_inplace(c, f16(c, 8, 4, 3, 2)))
BUILD(glu, ggml_swiglu(c, f32(c, 16, 4, 3, 2)))
BUILD(glu_split, ggml_geglu_split(c, f16(c, 8, 4, 3, 2), f16(c, 8, 4, 3, 2)))
BUILD(leaky_relu, ggml_leaky_relu(c, f32(c, 8, 4, 3, 2), 0.1f, false))
BUILD(silu_back, ggml_silu_back(c, f32(c, 8, 4, 3, 2), f32(c, 8, 4, 3, 2)))
BUILD(clamp, ggml_clamp(c, f32(c, 8, 4, 3, 2), -1, 1))
BUILD(scale, ggml_scale_bias(c, f32(c, 8, 4, 3, 2), 2, 1))
BUILD(fill, ggml_fill(c, f16(c, 8, 4, 3, 2), 1))
BUILD(tri, ggml_tri(c, f32(c, 6, 6, 3, 2), GGML_TRI_TYPE_LOWER))
BUILD(diag_mask_inf, ggml_diag_mask_inf(c, f32(c, 8, 4, 3, 2), 2))
BUILD(diag_mask_zero, ggml_diag_mask_zero_inplace(c, f32(c, 8, 4, 3, 2), 2))

BUILD(sum, ggml_sum(c, f32(c, 8, 4, 3, 2)))
BUILD(sum_rows, ggml_sum_rows(c, f32(c, 8, 4, 3, 2)))
BUILD(mean, ggml_mean(c, f32(c, 8, 4, 3, 2)))
BUILD(cumsum, ggml_cumsum(c, f32(c, 8, 4, 3, 2)))
BUILD(argmax, ggml_argmax(c, f32(c, 8, 4, 1, 1)))
BUILD(count_equal, ggml_count_equal(c, i32(c, 8, 4, 1, 1), i32(c, 8, 4, 1, 1)))
BUILD(argsort, ggml_argsort(c, f32(c, 40, 4, 3, 2), GGML_SORT_ORDER_DESC))
BUILD(top_k, ggml_top_k(c, f32(c, 40, 4, 3, 2), 5))

BUILD(dup, ggml_dup(c, ggml_permute(c, f32(c, 8, 4, 3, 2), 1, 0, 2, 3)))
BUILD(cont, ggml_cont_2d(c, ggml_permute(c, f32(c, 8, 4, 3, 2), 0, 2, 1, 3), 24, 8))
BUILD(cpy, ggml_cpy(c, f32(c, 64, 4, 3, 2), f16(c, 64, 4, 3, 2)))
BUILD(cpy_q8, ggml_cpy(c, f32(c, 64, 4, 3, 2), q8(c, 64, 4, 3, 2)))
BUILD(cpy_from_q8, ggml_cpy(c, q8(c, 64, 4, 3, 2), f32(c, 64, 4, 3, 2)))
BUILD(cast, ggml_cast(c, f32(c, 8, 4, 3, 2), GGML_TYPE_F16))
BUILD(repeat, ggml_repeat(c, f32(c, 4, 2, 3, 1), f32(c, 8, 4, 3, 2)))
BUILD(repeat_back, ggml_repeat_back(c, f32(c, 8, 4, 3, 2), f32(c, 4, 2, 3, 1)))
BUILD(concat, ggml_concat(c, f32(c, 8, 4, 3, 2), f32(c, 8, 4, 5, 2), 2))
BUILD(acc, ggml_acc(c, f32(c, 16, 4, 3, 2), f32(c, 8, 2, 3, 1), 64, 256, 768, 32))
BUILD(set, ggml_set(c, f32(c, 16, 4, 3, 2), f32(c, 8, 2, 3, 1), 64, 256, 768, 32))
BUILD(diag, ggml_diag(c, f32(c, 8, 1, 3, 2)))
BUILD(pad, ggml_pad_ext(c, f32(c, 8, 4, 3, 2), 1, 2, 0, 1, 2, 0, 1, 1))
BUILD(pad_circular, ggml_pad_circular(c, f32(c, 8, 4, 3, 2), 2, 1, 0, 0))
BUILD(pad_reflect_1d, ggml_pad_reflect_1d(c, f32(c, 8, 4, 3, 2), 3, 5))
BUILD(roll, ggml_roll(c, f32(c, 8, 4, 3, 2), 3, -2, 1, 0))
BUILD(arange, ggml_arange(c, 0, 10, 1))
BUILD(timestep_embedding, ggml_timestep_embedding(c, f32(c, 5, 1, 1, 1), 7, 1000))
BUILD(upscale, ggml_interpolate(c, f32(c, 8, 4, 3, 2), 16, 6, 3, 2, GGML_SCALE_MODE_NEAREST))
BUILD(upscale_cubic, ggml_upscale(c, f32(c, 8, 4, 3, 2), 2, GGML_SCALE_MODE_BICUBIC))

BUILD(mul_mat, ggml_mul_mat(c, f16(c, 64, 5, 2, 1), f32(c, 64, 3, 4, 2)))
BUILD(mul_mat_q8, ggml_mul_mat(c, q8(c, 64, 5, 2, 1), f32(c, 64, 3, 4, 2)))
BUILD(mul_mat_id, ggml_mul_mat_id(c, q8(c, 64, 5, 4, 1), f32(c, 64, 1, 3, 1), i32(c, 2, 3, 1, 1)))
BUILD(out_prod, ggml_out_prod(c, f32(c, 8, 5, 1, 2), f32(c, 6, 5, 3, 2)))
BUILD(solve_tri, ggml_solve_tri(c, f32(c, 6, 6, 3, 2), f32(c, 5, 6, 3, 2), true, true, false))

BUILD(get_rows, ggml_get_rows(c, f16(c, 8, 6, 3, 2), i32(c, 4, 3, 2, 1)))
BUILD(get_rows_q8, ggml_get_rows(c, q8(c, 64, 6, 1, 1), i32(c, 4, 1, 1, 1)))
BUILD(get_rows_back, ggml_get_rows_back(c, f32(c, 8, 4, 1, 1), i32(c, 4, 1, 1, 1), f32(c, 8, 6, 1, 1)))
BUILD(set_rows, ggml_set_rows(c, f16(c, 8, 9, 3, 2), f32(c, 8, 4, 3, 2), i32(c, 4, 3, 1, 1)))
BUILD(set_rows_q8, ggml_set_rows(c, q8(c, 64, 9, 1, 1), f32(c, 64, 4, 1, 1), of(c, GGML_TYPE_I64, 4, 1, 1, 1)))
BUILD(add_id, ggml_add_id(c, f32(c, 8, 4, 3, 1), f32(c, 8, 6, 1, 1), i32(c, 4, 3, 1, 1)))

BUILD(norm, ggml_norm(c, f32(c, 8, 4, 3, 2), 1e-5f))
BUILD(rms_norm, ggml_rms_norm(c, f32(c, 8, 4, 3, 2), 1e-5f))
BUILD(rms_norm_back, ggml_rms_norm_back(c, f32(c, 8, 4, 3, 2), f32(c, 8, 4, 3, 2), 1e-5f))
BUILD(group_norm, ggml_group_norm(c, f32(c, 8, 4, 6, 2), 3, 1e-5f))
BUILD(l2_norm, ggml_l2_norm(c, f32(c, 8, 4, 3, 2), 1e-5f))
BUILD(soft_max, ggml_soft_max_ext(c, f32(c, 8, 4, 6, 2), f16(c, 8, 4, 3, 1), 1, 8))
BUILD(soft_max_back, ggml_soft_max_ext_back(c, f32(c, 8, 4, 3, 2), f32(c, 8, 4, 3, 2), 1, 0))
BUILD(rope, ggml_rope_ext(c, f32(c, 16, 4, 3, 2), i32(c, 3, 1, 1, 1), f32(c, 8, 1, 1, 1), 16, 0, 0, 10000, 1, 0, 1, 32, 1))
BUILD(rope_back, ggml_rope_ext_back(c, f16(c, 16, 4, 3, 2), i32(c, 3, 1, 1, 1), NULL, 8, 2, 0, 10000, 1, 0, 1, 32, 1))
BUILD(rope_partial, ggml_rope_ext(c, f32(c, 16, 4, 3, 2), i32(c, 3, 1, 1, 1), f32(c, 4, 1, 1, 1), 8, 2, 0, 10000, 1, 0, 1, 32, 1))
BUILD(rope_multi, ggml_rope_multi(c, f32(c, 16, 4, 3, 2), i32(c, 12, 1, 1, 1), NULL, 16, (int[]){2, 2, 2, 2}, 8, 0, 10000, 1, 0, 1, 32, 1))

BUILD(flash_attn_ext, ggml_flash_attn_ext(c, f32(c, 32, 5, 4, 2), f16(c, 32, 7, 2, 2), f16(c, 24, 7, 2, 2), f16(c, 7, 5, 1, 1), 1, 0, 0))
BUILD(flash_attn_ext_q8, ggml_flash_attn_ext(c, f32(c, 32, 1, 4, 1), q8(c, 32, 7, 2, 1), q8(c, 32, 7, 2, 1), NULL, 1, 0, 0))
BUILD(lightning_indexer, ggml_lightning_indexer(c, f32(c, 16, 4, 3, 2), f16(c, 16, 1, 7, 2), f32(c, 4, 3, 1, 2), f16(c, 7, 3, 1, 1)))
BUILD(win_part, ggml_win_part(c, f32(c, 4, 7, 5, 1), 3))
BUILD(win_unpart, ggml_win_unpart(c, f32(c, 4, 3, 3, 6), 7, 5, 3))
BUILD(get_rel_pos, ggml_get_rel_pos(c, f16(c, 8, 9, 1, 1), 5, 5))
BUILD(add_rel_pos, ggml_add_rel_pos(c, f32(c, 9, 8, 5, 1), f32(c, 3, 2, 4, 5), f32(c, 3, 2, 4, 5)))

BUILD(im2col, ggml_im2col(c, f16(c, 3, 3, 2, 4), f32(c, 9, 8, 2, 2), 2, 1, 1, 0, 1, 2, true, GGML_TYPE_F16))
BUILD(im2col_1d, ggml_im2col(c, f32(c, 3, 2, 4, 1), f32(c, 9, 2, 3, 1), 2, 0, 1, 0, 1, 0, false, GGML_TYPE_F32))
BUILD(im2col_back, ggml_im2col_back(c, f32(c, 18, 5, 4, 2), f32(c, 3, 3, 2, 4), (int64_t[]){9, 8, 2, 2}, 2, 1, 1, 0, 1, 2, true))
BUILD(im2col_3d, ggml_im2col_3d(c, f16(c, 3, 2, 2, 6), f32(c, 6, 5, 4, 4), 2, 1, 2, 1, 1, 0, 1, 1, 1, 1, GGML_TYPE_F32))
BUILD(col2im_1d, ggml_col2im_1d(c, f32(c, 12, 5, 1, 1), 2, 3, 1))
BUILD(conv_2d, ggml_conv_2d_direct(c, f16(c, 3, 3, 2, 4), f32(c, 9, 8, 2, 2), 2, 1, 1, 0, 1, 2))
BUILD(conv_3d, ggml_conv_3d_direct(c, f32(c, 3, 2, 2, 6), f32(c, 6, 5, 4, 4), 1, 2, 1, 1, 0, 1, 1, 1, 1, 2, 2, 3))
BUILD(conv_2d_dw, ggml_conv_2d_dw_direct(c, f32(c, 3, 3, 1, 4), f32(c, 9, 8, 4, 2), 2, 1, 1, 0, 1, 2))
BUILD(conv_transpose_1d, ggml_conv_transpose_1d(c, f16(c, 3, 2, 4, 1), f32(c, 9, 4, 1, 1), 2, 0, 1))
BUILD(conv_transpose_2d, ggml_conv_transpose_2d_p0(c, f16(c, 3, 3, 2, 4), f32(c, 5, 6, 4, 1), 2))
BUILD(pool_1d, ggml_pool_1d(c, f32(c, 9, 4, 3, 2), GGML_OP_POOL_AVG, 3, 2, 1))
BUILD(pool_2d, ggml_pool_2d(c, f32(c, 9, 8, 3, 2), GGML_OP_POOL_MAX, 3, 2, 2, 1, 1, 0))
BUILD(pool_2d_back, ggml_pool_2d_back(c, f32(c, 5, 7, 3, 2), f32(c, 9, 8, 3, 2), GGML_OP_POOL_MAX, 3, 2, 2, 1, 1, 0))

BUILD(ssm_conv, ggml_ssm_conv(c, f32(c, 7, 6, 2, 1), f32(c, 4, 6, 1, 1)))
BUILD(ssm_scan, ggml_ssm_scan(c, f32(c, 16, 8, 4, 3), f32(c, 8, 4, 5, 2), f32(c, 4, 5, 2, 1), f32(c, 1, 4, 1, 1), f32(c, 16, 2, 5, 2), f32(c, 16, 2, 5, 2), i32(c, 2, 1, 1, 1), 1))
BUILD(rwkv_wkv6, ggml_rwkv_wkv6(c, f32(c, 8, 3, 6, 1), f32(c, 8, 3, 6, 1), f32(c, 8, 3, 6, 1), f32(c, 8, 3, 1, 1), f32(c, 8, 3, 6, 1), f32(c, 192, 2, 1, 1)))
BUILD(rwkv_wkv7, ggml_rwkv_wkv7(c, f32(c, 64, 2, 6, 1), f32(c, 64, 2, 6, 1), f32(c, 64, 2, 6, 1), f32(c, 64, 2, 6, 1), f32(c, 64, 2, 6, 1), f32(c, 64, 2, 6, 1), f32(c, 8192, 2, 1, 1)))
BUILD(gated_linear_attn, ggml_gated_linear_attn(c, f32(c, 8, 3, 6, 1), f32(c, 8, 3, 6, 1), f32(c, 8, 3, 6, 1), f32(c, 8, 3, 6, 1), f32(c, 192, 2, 1, 1), 1))
BUILD(gated_delta_net, ggml_gated_delta_net(c, f32(c, 8, 2, 5, 2), f32(c, 8, 2, 5, 2), f32(c, 8, 4, 5, 2), f32(c, 1, 4, 5, 2), f32(c, 1, 4, 5, 2), f32(c, 8, 8, 4, 2), 2))
BUILD(dsv4_hc_comb, ggml_dsv4_hc_comb(c, f32(c, 24, 5, 1, 1), f32(c, 3, 1, 1, 1), f32(c, 24, 1, 1, 1), 1e-6f, 3))
BUILD(dsv4_hc_pre, ggml_dsv4_hc_pre(c, f32(c, 8, 4, 5, 1), f32(c, 4, 5, 1, 1)))
BUILD(dsv4_hc_pre_gated, ggml_dsv4_hc_pre_gated(c, f32(c, 8, 4, 5, 1), f32(c, 8, 4, 5, 1), 0.5f))
BUILD(dsv4_hc_post, ggml_dsv4_hc_post(c, f32(c, 8, 5, 1, 1), f32(c, 8, 4, 5, 1), f32(c, 4, 5, 1, 1), f32(c, 4, 4, 5, 1)))

static tensor_t weights(ctx_t c)
{
    tensor_t t = f32(c, 8, 4, 3, 2);

    ggml_set_param(t);
    return t;
}

BUILD(cross_entropy_loss, ggml_cross_entropy_loss(c, f32(c, 8, 4, 1, 1), f32(c, 8, 4, 1, 1)))
BUILD(cross_entropy_loss_back, ggml_cross_entropy_loss_back(c, f32(c, 1, 1, 1, 1), f32(c, 8, 4, 1, 1), f32(c, 8, 4, 1, 1)))
BUILD(opt_step_adamw, ggml_opt_step_adamw(c, weights(c), f32(c, 8, 4, 3, 2), f32(c, 8, 4, 3, 2), f32(c, 8, 4, 3, 2), f32(c, 7, 1, 1, 1)))
BUILD(opt_step_sgd, ggml_opt_step_sgd(c, weights(c), f32(c, 8, 4, 3, 2), f32(c, 2, 1, 1, 1)))
/* clang-format on */

#define SAMPLE(name, ...) {#name, build_##name, __VA_ARGS__}

static const struct sample samples[] = {
    SAMPLE(add, 0, S(0) | S(1), S(1), S(0) | S(1) | RESULT, 0),
    SAMPLE(add_q8, 0, S(0) | S(1), 0, RESULT, 0),
    SAMPLE(add_inplace, 0, S(1), S(1), S(1) | RESULT, 0),
    SAMPLE(sub, 0, S(0) | S(1), S(1), S(0) | S(1) | RESULT, 0),
    SAMPLE(mul, 0, S(0) | S(1), S(1), S(0) | S(1) | RESULT, 0),
    SAMPLE(div, 0, S(0), S(1), S(0) | S(1) | RESULT, 0),
    SAMPLE(add1, 0, S(0), 0, 0, 0),
    SAMPLE(sqr, 0, S(0), 0, 0, 0),
    SAMPLE(sqrt, 0, S(0), 0, 0, 0),
    SAMPLE(log, 0, S(0), 0, 0, 0),
    SAMPLE(sin, 0, S(0), 0, 0, 0),
    SAMPLE(cos, 0, S(0), 0, 0, 0),
    SAMPLE(unary, P(0) | P(1) | P(2) | P(3) | P(4), S(0), 0, 0, 0),
    SAMPLE(unary_inplace, P(0) | P(1) | P(2) | P(3) | P(4), S(0), 0, 0, 0),
    SAMPLE(glu, P(0) | P(1) | P(2) | P(3), 0, S(0), 0, 0),
    SAMPLE(glu_split, P(0) | P(1) | P(2) | P(3), 0, 0, 0, 0),
    SAMPLE(leaky_relu, P(0), 0, 0, 0, 0),
    SAMPLE(silu_back, 0, 0, 0, 0, 0),
    SAMPLE(clamp, P(0) | P(1), S(0), 0, 0, 0),
    SAMPLE(scale, P(0) | P(1), 0, 0, 0, 0),
    SAMPLE(fill, P(0), 0, 0, 0, 0),
    SAMPLE(tri, P(0), 0, 0, 0, 0),
    SAMPLE(diag_mask_inf, P(0), 0, 0, 0, 0),
    SAMPLE(diag_mask_zero, P(0), 0, 0, 0, 0),
    SAMPLE(sum, 0, S(0), S(0), 0, 0),
    SAMPLE(sum_rows, 0, S(0), S(0), 0, 0),
    SAMPLE(mean, 0, S(0), S(0), 0, 0),
    SAMPLE(cumsum, 0, S(0), 0, 0, 0),
    SAMPLE(argmax, 0, S(0), S(0), 0, 0),
    SAMPLE(count_equal, 0, S(0) | S(1), 0, 0, 0),
    SAMPLE(argsort, P(0), 0, 0, 0, 0),
    SAMPLE(top_k, 0, 0, S(0), 0, 0),
    SAMPLE(dup, 0, S(0), 0, 0, 0),
    SAMPLE(cont, 0, S(0), 0, 0, 0),
    SAMPLE(cpy, 0, S(0), 0, S(0), 0),
    SAMPLE(cpy_q8, 0, S(0), 0, S(0), 0),
    SAMPLE(cpy_from_q8, 0, S(0), 0, S(0), 0),
    SAMPLE(cast, 0, S(0), 0, S(0) | RESULT, 0),
    SAMPLE(repeat, 0, S(0), S(0) | RESULT, 0, 0),
    SAMPLE(repeat_back, 0, S(0), S(0) | RESULT, 0, 0),
    SAMPLE(concat, 0, S(0) | S(1), 0, 0, 0),
    SAMPLE(acc, P(0) | P(1) | P(2) | P(3) | P(4), S(1), S(1), 0, 0),
    SAMPLE(set, P(0) | P(1) | P(2) | P(3) | P(4), S(1), S(1), 0, 0),
    SAMPLE(diag, 0, S(0), 0, 0, 0),
    SAMPLE(pad, P(8), S(0), 0, 0, 0),
    SAMPLE(pad_circular, P(8), S(0), 0, 0, 0),
    SAMPLE(pad_reflect_1d, 0, 0, 0, 0, 0),
    SAMPLE(roll, P(0) | P(1) | P(2) | P(3), S(0), 0, 0, 0),
    SAMPLE(arange, P(0) | P(1) | P(2), 0, 0, 0, 0),
    SAMPLE(timestep_embedding, P(1), 0, S(0), 0, 0),
    SAMPLE(upscale, P(0), S(0), S(0) | RESULT, 0, 0),
    SAMPLE(upscale_cubic, P(0), S(0), S(0) | RESULT, 0, 0),
    SAMPLE(mul_mat, P(0) | P(3), S(0) | S(1), S(0), S(0) | S(1), 0),
    SAMPLE(mul_mat_q8, P(0) | P(3), S(0) | S(1), S(0), S(0) | S(1), 0),
    SAMPLE(mul_mat_id, P(0) | P(3), S(0) | S(1) | S(2), S(0) | S(1), S(0) | S(1), 0),
    SAMPLE(out_prod, 0, S(0) | S(1), S(0), S(0), 0),
    SAMPLE(solve_tri, 0, 0, 0, 0, 0),
    SAMPLE(get_rows, 0, S(0) | S(1), S(0), S(0), 0),
    SAMPLE(get_rows_q8, 0, S(0) | S(1), S(0), S(0), 0),
    SAMPLE(get_rows_back, 0, S(0), S(0) | S(1), S(0), 0),
    SAMPLE(set_rows, 0, S(0) | S(1), S(1), S(0) | S(1), S(2)),
    SAMPLE(set_rows_q8, 0, S(0) | S(1), 0, S(0) | S(1), S(2)),
    SAMPLE(add_id, 0, S(0) | S(1) | S(2), S(1) | S(2), 0, 0),
    SAMPLE(norm, P(0), S(0), 0, 0, 0),
    SAMPLE(rms_norm, P(0), S(0), 0, 0, 0),
    SAMPLE(rms_norm_back, P(0), S(0) | S(1), 0, 0, 0),
    SAMPLE(group_norm, P(0) | P(1), S(0), 0, 0, 0),
    SAMPLE(l2_norm, P(0), S(0), 0, 0, 0),
    SAMPLE(soft_max, P(0) | P(1), 0, S(1), S(1), 0),
    SAMPLE(soft_max_back, P(0) | P(1), 0, 0, 0, 0),
    SAMPLE(rope,
           P(1) | P(2) | P(4) | P(5) | P(6) | P(7) | P(8) | P(9) | P(10) | P(11) | P(12) | P(13) |
               P(14),
           S(0), S(2), 0, S(2)),
    SAMPLE(rope_back,
           P(1) | P(2) | P(4) | P(5) | P(6) | P(7) | P(8) | P(9) | P(10) | P(11) | P(12) | P(13) |
               P(14) | P(15),
           S(0), 0, 0, S(2)),
    SAMPLE(rope_partial,
           P(1) | P(2) | P(4) | P(5) | P(6) | P(7) | P(8) | P(9) | P(10) | P(11) | P(12) | P(13) |
               P(14) | P(15),
           S(0), S(2), 0, S(2)),
    SAMPLE(rope_multi,
           P(1) | P(4) | P(5) | P(6) | P(7) | P(8) | P(9) | P(10) | P(11) | P(12) | P(13) | P(14),
           S(0), 0, 0, S(2)),
    SAMPLE(flash_attn_ext, P(0) | P(1) | P(2) | P(3) | P(4), S(0) | S(1) | S(2), S(3), S(1) | S(2),
           S(3)),
    SAMPLE(flash_attn_ext_q8, P(0) | P(1) | P(2) | P(3) | P(4), S(0) | S(1) | S(2), 0, S(1) | S(2),
           0),
    SAMPLE(lightning_indexer, 0, S(0) | S(1) | S(2) | S(3), S(3), S(1), 0),
    SAMPLE(win_part, 0, 0, S(0), 0, 0),
    SAMPLE(win_unpart, 0, 0, 0, 0, 0),
    SAMPLE(get_rel_pos, 0, 0, 0, S(0), 0),
    SAMPLE(add_rel_pos, P(0), 0, 0, 0, 0),
    SAMPLE(im2col, 0, S(0) | S(1), S(0), S(0) | S(1) | RESULT, 0),
    SAMPLE(im2col_1d, P(1) | P(3) | P(5), S(0) | S(1), S(0) | S(1), S(0) | RESULT, 0),
    SAMPLE(im2col_back, 0, S(1), S(1), S(1), 0),
    SAMPLE(im2col_3d, P(1) | P(7), S(0) | S(1), S(0) | S(1), S(0) | RESULT, 0),
    SAMPLE(col2im_1d, 0, 0, 0, 0, 0),
    SAMPLE(conv_2d, 0, S(1), S(1), S(0), 0),
    SAMPLE(conv_3d, P(1) | P(7), S(1), S(1), S(0), 0),
    SAMPLE(conv_2d_dw, 0, S(0) | S(1), S(0), S(0), 0),
    SAMPLE(conv_transpose_1d, 0, S(0) | S(1), 0, S(0), 0),
    SAMPLE(conv_transpose_2d, 0, S(1), 0, S(0), 0),
    SAMPLE(pool_1d, P(0) | P(1), 0, S(0), S(0), 0),
    SAMPLE(pool_2d, P(0) | P(1) | P(2), 0, 0, S(0), 0),
    SAMPLE(pool_2d_back, P(0) | P(1) | P(2), 0, 0, 0, 0),
    SAMPLE(ssm_conv, 0, S(0), 0, 0, 0),
    SAMPLE(ssm_scan, P(0), S(1) | S(4) | S(5), S(0), 0, 0),
    SAMPLE(rwkv_wkv6, 0, 0, 0, 0, 0),
    SAMPLE(rwkv_wkv7, 0, 0, 0, 0, 0),
    SAMPLE(gated_linear_attn, P(0), 0, 0, 0, 0),
    SAMPLE(gated_delta_net, 0, S(2), 0, 0, 0),
    SAMPLE(dsv4_hc_comb, P(0) | P(1), S(0) | S(1) | S(2), S(1), 0, 0),
    SAMPLE(dsv4_hc_pre, P(0), S(0) | S(1), 0, 0, 0),
    SAMPLE(dsv4_hc_pre_gated, P(0), S(0) | S(1), 0, 0, 0),
    SAMPLE(dsv4_hc_post, 0, S(0) | S(1) | S(2) | S(3), 0, 0, S(3)),
    SAMPLE(cross_entropy_loss, 0, 0, 0, 0, 0),
    SAMPLE(cross_entropy_loss_back, 0, 0, 0, 0, 0),
    SAMPLE(opt_step_adamw, 0, 0, 0, 0, 0),
    SAMPLE(opt_step_sgd, 0, 0, 0, 0, 0),
};

#define N_SAMPLES (sizeof(samples) / sizeof(samples[0]))

#endif
