/* SPDX-License-Identifier: MIT
 *
 * Kernels count elements, or add up strides, by int: what is larger is refused, and what just fits is not.
 */
#include "rules_ops.h"
#include "vgr_test.h"
#include "worker/rules/rules.h"

static ctx_t context(void)
{
    struct ggml_init_params params = {.mem_size = 64 * ggml_tensor_overhead(), .no_alloc = true};

    return ggml_init(params);
}

#define K 1024
#define M (K * K)

/* With n = 2048 something of the op has 2^31 elements, or bytes. */
#define LARGE(name, expr)                                                                          \
    static tensor_t large_##name(ctx_t c, int64_t n)                                               \
    {                                                                                              \
        return expr;                                                                               \
    }

/* clang-format off */
LARGE(norm, ggml_norm(c, f32(c, M, n, 1, 1), 1e-5f))
LARGE(rms_norm, ggml_rms_norm(c, f32(c, M, 1, n, 1), 1e-5f))
LARGE(l2_norm, ggml_l2_norm(c, f32(c, M, 1, 1, n), 1e-5f))
LARGE(group_norm, ggml_group_norm(c, f32(c, K, K, n, 1), 1, 1e-5f))
LARGE(diag_mask_inf, ggml_diag_mask_inf(c, f32(c, M, n, 1, 1), 0))
LARGE(pool_2d, ggml_pool_2d(c, f32(c, K, K, n, 1), GGML_OP_POOL_MAX, 2, 2, 2, 2, 0, 0))
LARGE(pad, ggml_pad(c, f32(c, M - 1, n, 1, 1), 1, 0, 0, 0))
LARGE(upscale, ggml_interpolate(c, f32(c, 256, 256, n, 1), K, K, n, 1, GGML_SCALE_MODE_NEAREST))
LARGE(upscale_source, ggml_interpolate(c, f32(c, 256, K, n, 1), 512, K, n, 1, GGML_SCALE_MODE_NEAREST))
LARGE(upscale_strides, ggml_upscale(c, ggml_view_3d(c, f32(c, K, 256, n + 1, 1), 4, 4, n + 1, 4 * K, M, 0), 2, GGML_SCALE_MODE_BILINEAR))
LARGE(argsort, ggml_argsort(c, f32(c, M, n, 1, 1), GGML_SORT_ORDER_ASC))
LARGE(sum_rows, ggml_sum_rows(c, f32(c, M, n, 1, 1)))
LARGE(mean, ggml_mean(c, f32(c, M, n, 1, 1)))
LARGE(rope, ggml_rope(c, f16(c, K, K, n, 1), i32(c, n, 1, 1, 1), K, 0))
LARGE(conv_2d_dw, ggml_conv_2d_dw_direct(c, f32(c, 1, 1, 1, n), f32(c, K, K, n, 1), 1, 1, 0, 0, 1, 1))
LARGE(conv_transpose_1d, ggml_conv_transpose_1d(c, f32(c, K, n, 1, 1), f32(c, K, 1, 1, 1), K, 0, 1))
LARGE(conv_transpose_2d, ggml_conv_transpose_2d_p0(c, f32(c, K, 1, n, 1), f32(c, K, 1, 1, 1), K))
LARGE(col2im_1d, ggml_col2im_1d(c, f32(c, n, M, 1, 1), 1, (int)n, 0))
LARGE(timestep_embedding, ggml_timestep_embedding(c, f32(c, n, 1, 1, 1), M / 4, 1000))
LARGE(ssm_conv, ggml_ssm_conv(c, f32(c, 256, K, n, 1), f32(c, 4, K, 1, 1)))
LARGE(ssm_scan, ggml_ssm_scan(c, f32(c, 128, 64, 4 * K, 1), f32(c, 64, 4 * K, n, 1), f32(c, 4 * K, n, 1, 1), f32(c, 1, 4 * K, 1, 1), f32(c, 128, 1, n, 1), f32(c, 128, 1, n, 1), i32(c, 1, 1, 1, 1), 1))
LARGE(gated_linear_attn, ggml_gated_linear_attn(c, f32(c, 64, 16 * K, n - 64, 1), f32(c, 64, 16 * K, n - 64, 1), f32(c, 64, 16 * K, n - 64, 1), f32(c, 64, 16 * K, n - 64, 1), f32(c, 64 * M, 1, 1, 1), 1))
/* clang-format on */

static const struct {
    const char *what;
    tensor_t (*build)(ctx_t c, int64_t n);
} large[] = {
    {"NORM", large_norm},
    {"RMS_NORM", large_rms_norm},
    {"L2_NORM", large_l2_norm},
    {"GROUP_NORM", large_group_norm},
    {"DIAG_MASK_INF", large_diag_mask_inf},
    {"POOL_2D", large_pool_2d},
    {"PAD", large_pad},
    {"UPSCALE", large_upscale},
    {"UPSCALE of a large source", large_upscale_source},
    {"UPSCALE of a source with large strides", large_upscale_strides},
    {"ARGSORT", large_argsort},
    {"SUM_ROWS", large_sum_rows},
    {"MEAN", large_mean},
    {"ROPE", large_rope},
    {"CONV_2D_DW", large_conv_2d_dw},
    {"CONV_TRANSPOSE_1D", large_conv_transpose_1d},
    {"CONV_TRANSPOSE_2D", large_conv_transpose_2d},
    {"COL2IM_1D", large_col2im_1d},
    {"TIMESTEP_EMBEDDING", large_timestep_embedding},
    {"SSM_CONV", large_ssm_conv},
    {"SSM_SCAN", large_ssm_scan},
    {"GATED_LINEAR_ATTN", large_gated_linear_attn},
};

#define N_LARGE (sizeof(large) / sizeof(large[0]))

static void test_what_just_fits(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_LARGE; i++) {
        ctx_t c = context();
        const char *why = vgr_rules_check(large[i].build(c, 2047));

        if (why)
            fail_msg("%s is refused: %s", large[i].what, why);
        why = vgr_rules_check(large[i].build(c, 2048));
        if (!why || strcmp(why, "too large"))
            fail_msg("%s, too large: %s", large[i].what, why ? why : "accepted");
        ggml_free(c);
    }
    printf("%zu ops that just fit are accepted, and refused when one row larger\n", N_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_just_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
