/* SPDX-License-Identifier: MIT
 *
 * The rules' table knows every op of the installed GGML; and by name, what is refused and why: ops
 * without a rule, pointers, wild shapes.
 */
#include <stdio.h>

#include "rules_ops.h"
#include "vgr_test.h"
#include "worker/rules/rules.h"

static ctx_t context(void)
{
    struct ggml_init_params params = {.mem_size = 64 * ggml_tensor_overhead(), .no_alloc = true};

    return ggml_init(params);
}

static void test_every_op_is_in_the_table(void **state)
{
    int ruled = 0, refused = 0;

    (void)state;
    for (int op = 0; op < GGML_OP_COUNT; op++) {
        const char *name = ggml_op_name((enum ggml_op)op);
        int known = vgr_rules_known(name);

        if (known < 0)
            fail_msg("nobody wrote a rule for %s, or said that it is refused", name);
        ruled += known;
        refused += !known;
    }
    printf("GGML %s has %d ops: %d with a rule, %d refused whatever they look like\n",
           ggml_version(), GGML_OP_COUNT, ruled, refused);
    assert_int_equal(refused, 5);
}

static void test_every_rule_has_a_sample(void **state)
{
    bool seen[GGML_OP_COUNT] = {false};

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        ctx_t c = context();

        seen[samples[i].build(c)->op] = true;
        ggml_free(c);
    }
    for (int op = 0; op < GGML_OP_COUNT; op++) {
        bool no_compute = op == GGML_OP_NONE || op == GGML_OP_VIEW || op == GGML_OP_RESHAPE ||
                          op == GGML_OP_PERMUTE || op == GGML_OP_TRANSPOSE;

        if (!seen[op] && !no_compute && vgr_rules_known(ggml_op_name((enum ggml_op)op)) == 1)
            fail_msg("no sample of %s", ggml_op_name((enum ggml_op)op));
    }
}

/* ---- What is refused, and why --------------------------------------------------------------- */

static void custom(tensor_t t)
{
    t->op = GGML_OP_MAP_CUSTOM1;
}

static void custom_many(tensor_t t)
{
    t->op = GGML_OP_CUSTOM;
}

static void flash_attn_back(tensor_t t)
{
    t->op = GGML_OP_FLASH_ATTN_BACK;
}

static void unknown_op(tensor_t t)
{
    t->op = GGML_OP_COUNT;
}

static void no_op(tensor_t t)
{
    t->op = (enum ggml_op) - 1;
}

static void lost_source(tensor_t t)
{
    t->src[1] = NULL;
}

static void extra_source(tensor_t t)
{
    t->src[9] = t->src[0];
}

static void empty_source(tensor_t t)
{
    t->src[0]->ne[0] = 0;
}

static void longer_inner(tensor_t t)
{
    t->src[0]->ne[0]++;
}

static void no_broadcast(tensor_t t)
{
    t->src[0]->ne[2] = 3;
}

static void wide_result(tensor_t t)
{
    t->ne[0]++;
}

static void integer_factor(tensor_t t)
{
    t->src[0]->type = GGML_TYPE_I16;
}

static void dot_only_factor(tensor_t t)
{
    tensor_t a = t->src[0];

    a->type = GGML_TYPE_Q8_1;
    a->nb[0] = ggml_type_size(a->type);
    a->nb[1] = ggml_row_size(a->type, a->ne[0]);
    a->nb[2] = a->nb[3] = a->nb[1] * (uint64_t)a->ne[1];
}

static void odd_stride(tensor_t t)
{
    t->src[1]->nb[1]++;
}

static void own_strides(tensor_t t)
{
    t->nb[1] *= 2;
    t->nb[2] *= 2;
    t->nb[3] *= 2;
}

static void enormous(tensor_t t)
{
    t->src[0]->ne[3] = (int64_t)1 << 40;
}

static void many_elements(tensor_t t)
{
    t->src[0]->ne[2] = t->src[0]->ne[3] = 1 << 20;
    t->src[0]->nb[2] = t->src[0]->nb[3] = 0;
}

static void stray_param(tensor_t t)
{
    t->op_params[12] = 1;
}

static void wild_param(tensor_t t)
{
    t->op_params[0] = -1;
}

static void negative_offset(tensor_t t)
{
    t->op_params[3] = -32;
}

static void no_plane_stride(tensor_t t)
{
    t->src[1]->ne[2] = 1;
    t->op_params[1] = 0;
}

static void far_offset(tensor_t t)
{
    t->op_params[3] = 16 * 4 * 3 * 2 * 4 - 4;
}

static void no_groups(tensor_t t)
{
    t->op_params[0] = 0;
}

static void negative_rotation(tensor_t t)
{
    t->op_params[1] = -2;
}

static void no_stride(tensor_t t)
{
    t->op_params[0] = 0;
}

static void small_mask(tensor_t t)
{
    t->src[3]->ne[0] = 1;
}

static void one_head_of_values(tensor_t t)
{
    t->src[2]->ne[2] = 1;
}

static void one_head_of_keys(tensor_t t)
{
    t->src[1]->ne[1] = 1;
}

static void shared_keys(tensor_t t)
{
    t->src[1]->ne[3] = 1;
}

static void keys_with_gaps(tensor_t t)
{
    t->src[1]->nb[2] *= 2;
}

static void half_queries(tensor_t t)
{
    t->src[0]->type = GGML_TYPE_F16;
    t->src[0]->nb[0] = 2;
}

static void overlapping_states(tensor_t t)
{
    t->src[0]->ne[3] = 1;
    t->src[0]->nb[3] = 1 << 20;
}

static void three_dimensions(tensor_t t)
{
    for (int s = 0; s < 2; s++)
        t->src[s]->ne[2] = 5;
}

static const struct {
    const char *what;
    tensor_t (*build)(ctx_t c);
    void (*spoil)(tensor_t t);
    const char *why;
} refusals[] = {
    {"a function to call", build_sqr, custom, "pointer"},
    {"another function to call", build_add, custom_many, "pointer"},
    {"an op that nobody builds", build_add, flash_attn_back, "no program can make"},
    {"an op from the future", build_add, unknown_op, "without a rule"},
    {"an op from nowhere", build_add, no_op, "without a rule"},
    {"one factor", build_mul_mat, lost_source, "missing"},
    {"eleven sources", build_mul_mat, extra_source, "too many"},
    {"nothing times something", build_mul_mat, empty_source, "inner dimensions"},
    {"attention to nothing", build_flash_attn_ext, empty_source, "empty"},
    {"factors that differ", build_mul_mat, longer_inner, "inner dimensions"},
    {"a factor that is no divisor", build_mul_mat, no_broadcast, "broadcast"},
    {"a product too wide", build_mul_mat, wide_result, "strides of its own"},
    {"a factor of integers", build_mul_mat, integer_factor, "cannot be multiplied"},
    {"a factor of halves of a dot product", build_mul_mat_q8, dot_only_factor, "multiplied"},
    {"a stride of 257", build_mul_mat, odd_stride, "multiple of the element"},
    {"a result with gaps", build_mul_mat, own_strides, "strides of its own"},
    {"2^40 of something", build_mul_mat, enormous, "too long"},
    {"2^40 times more elements", build_sum, many_elements, "too many"},
    {"a parameter that SUM has not", build_sum, stray_param, "does not have"},
    {"a unary op of -1", build_unary, wild_param, "no such unary op"},
    {"a GLU op of -1", build_glu, wild_param, "no such GLU op"},
    {"SET before its result", build_set, negative_offset, "offset"},
    {"SET behind its result", build_set, far_offset, "outside"},
    {"ACC behind its result", build_acc, far_offset, "outside"},
    {"SET in steps of nothing", build_set, no_plane_stride, "stride of zero"},
    {"ACC in steps of nothing", build_acc, no_plane_stride, "stride of zero"},
    {"no groups", build_group_norm, no_groups, "groups"},
    {"fewer than no rotations", build_rope, negative_rotation, "pairs"},
    {"a stride of 0", build_im2col, no_stride, "shape"},
    {"a stride of 0 back", build_im2col_back, no_stride, "shape"},
    {"a mask of one", build_flash_attn_ext, small_mask, "not contiguous"},
    {"one head of values for two of keys", build_flash_attn_ext, one_head_of_values,
     "as many heads"},
    {"one head of keys for two of queries", build_gated_delta_net, one_head_of_keys,
     "like queries"},
    {"keys that sequences share", build_gated_delta_net, shared_keys, "like queries"},
    {"keys that lie elsewhere than queries", build_gated_delta_net, keys_with_gaps, "like queries"},
    {"queries of F16", build_flash_attn_ext, half_queries, "F32"},
    {"states beside the result", build_ssm_scan, overlapping_states, "follow each other"},
    {"counting in three dimensions", build_count_equal, three_dimensions, "two dimensions"},
};

#define N_REFUSALS (sizeof(refusals) / sizeof(refusals[0]))

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REFUSALS; i++) {
        ctx_t c = context();
        tensor_t t = refusals[i].build(c);
        const char *why;

        assert_null(vgr_rules_check(t));
        refusals[i].spoil(t);
        why = vgr_rules_check(t);
        if (!why)
            fail_msg("accepted: %s", refusals[i].what);
        if (!strstr(why, refusals[i].why))
            fail_msg("%s: refused because of: %s", refusals[i].what, why);
        ggml_free(c);
    }
    printf("%zu ops refused, each for its reason\n", N_REFUSALS);
}

/* What no backend is given, and what it is given instead. */
static void test_what_has_nothing_to_do(void **state)
{
    ctx_t c = context();
    tensor_t rows = ggml_set_rows(c, f32(c, 8, 4, 1, 1), f32(c, 8, 0, 1, 1), i32(c, 0, 1, 1, 1));

    (void)state;
    assert_int_equal(vgr_rules_work(build_mul_mat(c)), VGR_WORK_OP);
    assert_int_equal(vgr_rules_work(ggml_sqr(c, f32(c, 8, 0, 1, 1))), VGR_WORK_NONE);
    assert_int_equal(vgr_rules_work(rows), VGR_WORK_NONE);
    assert_int_equal(vgr_rules_work(ggml_sum_rows(c, f32(c, 0, 4, 1, 1))), VGR_WORK_ZEROS);
    assert_null(vgr_rules_check(ggml_sum_rows(c, f32(c, 0, 4, 1, 1))));
    rows = build_mul_mat_id(c);
    rows->src[0]->ne[0] = rows->src[1]->ne[0] = 0;
    assert_int_equal(vgr_rules_work(rows), VGR_WORK_ZEROS);
    assert_null(vgr_rules_check(rows));
    rows->src[0]->ne[2] = 0;
    assert_string_equal(vgr_rules_check(rows), "no experts");
    assert_int_equal(vgr_rules_work(ggml_concat(c, f32(c, 8, 0, 1, 1), f32(c, 8, 4, 1, 1), 1)),
                     VGR_WORK_OP);
    assert_int_equal(vgr_rules_work(ggml_view_1d(c, f32(c, 8, 1, 1, 1), 0, 0)), VGR_WORK_OP);

    /* Where nothing is computed little is asked, but the op has what belongs to it. */
    rows = ggml_sqr(c, f32(c, 8, 0, 1, 1));
    rows->src[0]->nb[1] = 7;
    assert_null(vgr_rules_check_idle(rows));
    rows->src[1] = rows->src[0];
    assert_non_null(vgr_rules_check_idle(rows));
    rows->src[0] = rows->src[1] = NULL;
    assert_non_null(vgr_rules_check_idle(rows));
    rows->op = GGML_OP_CUSTOM;
    assert_non_null(vgr_rules_check_idle(rows));
    ggml_free(c);
}

/* Of whatever op: no rule is in the way of a result without elements, and no device is given it. */
static void test_results_without_elements_of_every_op(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        ctx_t c = context();
        tensor_t t = samples[i].build(c);

        t->ne[i % GGML_MAX_DIMS] = 0;
        assert_int_equal(vgr_rules_work(t), VGR_WORK_NONE);
        assert_null(vgr_rules_check_idle(t));
        ggml_free(c);
    }
}

/* Where queries and keys are permuted alike, and where nobody steps, there is nothing to refuse. */
static void test_queries_and_keys_laid_out_alike(void **state)
{
    ctx_t c = context();
    tensor_t v = f32(c, 16, 4, 5, 1), g = f32(c, 1, 4, 5, 1), b = f32(c, 1, 4, 5, 1),
             s = f32(c, 16, 16, 4, 1), qk[2], t;

    (void)state;
    for (int i = 0; i < 2; i++)
        qk[i] = ggml_permute(c, f32(c, 16, 5, 4, 1), 0, 2, 1, 3);
    t = ggml_gated_delta_net(c, qk[0], qk[1], v, g, b, s, 1);
    assert_null(vgr_rules_check(t));
    qk[1]->nb[3] *= 2;
    assert_null(vgr_rules_check(t));
    qk[1]->nb[1] *= 2;
    assert_string_equal(vgr_rules_check(t), "keys are not laid out like queries");
    ggml_free(c);
}

/* 16 MB hold a patch and its result, and no byte less. */
static void test_kernels_that_just_fit(void **state)
{
    enum { FITS = (16 << 20) / 4 - 1 };
    ctx_t c = context();
    tensor_t t;

    (void)state;
    for (int more = 0; more < 2; more++) {
        t = ggml_conv_2d_direct(c, f32(c, FITS + more, 1, 1, 1), f32(c, FITS + 1, 1, 1, 1), 1, 1, 0,
                                0, 1, 1);
        assert_int_equal(!!vgr_rules_check(t), more);
        t = ggml_conv_3d_direct(c, f32(c, FITS + more, 1, 1, 1), f32(c, FITS + 1, 1, 1, 1), 1, 1, 1,
                                0, 0, 0, 1, 1, 1, 1, 1, 1);
        assert_int_equal(!!vgr_rules_check(t), more);
        t = ggml_conv_2d_direct(c, f32(c, 1, 1, 1, FITS + 1 + more), f32(c, 1, 1, 1, 1), 1, 1, 0, 0,
                                1, 1);
        assert_non_null(vgr_rules_check(t));
    }
    ggml_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_is_in_the_table),
        cmocka_unit_test(test_every_rule_has_a_sample),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_what_has_nothing_to_do),
        cmocka_unit_test(test_results_without_elements_of_every_op),
        cmocka_unit_test(test_queries_and_keys_laid_out_alike),
        cmocka_unit_test(test_kernels_that_just_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
