/* SPDX-License-Identifier: MIT
 *
 * What the rules accept does no harm: every sample of rules_ops.h and every change of one that is
 * accepted runs on GGML's CPU backend between guard pages, and so do random changes of several things at
 * once. An assertion of GGML's may stop it; anything else that ends it is a hole in the rules.
 */
#include "rules_run.h"
#include "vgr_test.h"
#include "worker/rules/rules.h"

#define RANDOM_CASES 6000
#define SEED         20240607u

static ctx_t context(void)
{
    struct ggml_init_params params = {
        .mem_size = 64 * ggml_tensor_overhead() + ggml_graph_overhead_custom(32, false),
        .no_alloc = true,
    };

    return ggml_init(params);
}

static bool admitted(tensor_t op)
{
    return change_possible(op) && !vgr_rules_check(op) &&
           ggml_backend_dev_supports_op(cpu.backends.device[0].dev, op);
}

static void run_twice(struct run_report *r, ctx_t c, tensor_t op, int i)
{
    bool ran = run_op(c, op, i % 8 ? 1 : 2, FLUSH_END, i & 2);

    r->ran += ran;
    if (ran)
        r->ran += run_op(c, op, 1, FLUSH_START, i & 2);
}

/* Case i is sample i / (CHANGES + 1) with one change, the last of each with none. */
static void one_change(struct run_report *r, int i)
{
    const struct sample *s = &samples[i / (CHANGES + 1)];
    int k = i % (CHANGES + 1);
    struct change x = change_at(k % CHANGES);
    ctx_t c = context();
    tensor_t op = s->build(c);

    run_seed = SEED + (uint64_t)i;
    if ((k == CHANGES || change_apply(c, op, &x)) && admitted(op)) {
        snprintf(r->text, sizeof(r->text), "%s, case %d: %s", s->what, i,
                 k == CHANGES ? "unchanged" : change_text(op, &x));
        run_twice(r, c, op, i);
    }
    ggml_free(c);
}

static void all_tensors(struct run_report *r, int i)
{
    const struct sample *s = &samples[i / TOGETHER];
    ctx_t c = context();
    tensor_t op = s->build(c);

    run_seed = SEED + (uint64_t)i;
    together_apply(op, i % TOGETHER);
    if (admitted(op)) {
        snprintf(r->text, sizeof(r->text), "%s, change %d of all tensors", s->what, i % TOGETHER);
        run_twice(r, c, op, i);
    }
    ggml_free(c);
}

/* Changes that fit each other are rare; small numbers make them less so. */
static void many_changes(struct run_report *r, int i)
{
    const struct sample *s;
    size_t used;
    ctx_t c = context();
    tensor_t op;

    run_seed = SEED * 31u + (uint64_t)i;
    s = &samples[run_random() % N_SAMPLES];
    op = s->build(c);
    used = (size_t)snprintf(r->text, sizeof(r->text), "%s, random case %d:", s->what, i);
    for (uint32_t n = 2 + run_random() % 4; n--;) {
        struct change x = change_at((int)(run_random() % CHANGES));

        if (change_apply(c, op, &x) && used < sizeof(r->text))
            used += (size_t)snprintf(r->text + used, sizeof(r->text) - used, " %s;",
                                     change_text(op, &x));
    }
    if (admitted(op))
        run_twice(r, c, op, i);
    ggml_free(c);
}

/* ---- Does a stray access show? ---- */

static tensor_t short_mask(ctx_t c)
{
    tensor_t t = build_flash_attn_ext(c);

    t->src[3]->ne[1] = 1;
    return t;
}

static tensor_t odd_rope(ctx_t c)
{
    tensor_t t = build_rope_back(c);

    t->ne[0] = t->src[0]->ne[0] = 15;
    return t;
}

static tensor_t negative_rope(ctx_t c)
{
    tensor_t t = build_rope(c);

    t->op_params[1] = -8192;
    return t;
}

static tensor_t long_rows(ctx_t c)
{
    return ggml_cpy(c, f32(c, 8192, 1, 1, 1), q8(c, 32, 256, 1, 1));
}

static tensor_t strided_blocks(ctx_t c)
{
    return ggml_cont_2d(c, ggml_permute(c, q8(c, 64, 4, 3, 2), 0, 2, 1, 3), 192, 8);
}

static tensor_t more_queries(ctx_t c)
{
    tensor_t t = build_gated_delta_net(c);

    t->src[0]->ne[3] = 3;
    return t;
}

static tensor_t count_planes(ctx_t c)
{
    return ggml_count_equal(c, i32(c, 8, 1, 500, 1), i32(c, 8, 1, 500, 1));
}

static tensor_t set_at_end(ctx_t c)
{
    return ggml_set(c, f32(c, 16, 1, 1, 1), f32(c, 1, 1, 1, 1), 64, 64, 64, 64);
}

static tensor_t wild_state(ctx_t c)
{
    tensor_t t = build_ssm_scan(c);

    t->src[0]->ne[3] = 1;
    t->src[0]->nb[3] = 1 << 20;
    return t;
}

static tensor_t few_tokens(ctx_t c)
{
    tensor_t t = build_rwkv_wkv6(c);

    for (int s = 0; s < 5; s++)
        t->src[s]->ne[2] = 1;
    return t;
}

static tensor_t narrow_heads(ctx_t c)
{
    tensor_t x = f32(c, 8, 1, 1, 1);

    return ggml_rwkv_wkv7(c, x, f32(c, 8, 1, 1, 1), f32(c, 8, 1, 1, 1), f32(c, 8, 1, 1, 1),
                          f32(c, 8, 1, 1, 1), f32(c, 8, 1, 1, 1), f32(c, 64, 1, 1, 1));
}

static tensor_t top_too_many(ctx_t c)
{
    tensor_t t = build_top_k(c);

    t->ne[0] = 40000;
    t->nb[1] = 160000;
    t->nb[2] = t->nb[3] = 640000;
    t->ne[2] = t->ne[3] = 1;
    t->src[0]->ne[2] = t->src[0]->ne[3] = 1;
    return t;
}

static tensor_t wraps_twice(ctx_t c)
{
    return ggml_pad_ext_circular(c, f32(c, 8, 1, 1, 1), 8000, 0, 0, 0, 0, 0, 0, 0);
}

static tensor_t tight_planes(ctx_t c)
{
    tensor_t t = build_pool_2d(c);

    t->src[0]->nb[2] = 4;
    return t;
}

static tensor_t integer_product(ctx_t c)
{
    tensor_t t = build_mul_mat(c);

    t->src[0]->type = GGML_TYPE_I16;
    return t;
}

static const struct {
    const char *what;
    tensor_t (*build)(ctx_t c);
} holes[] = {
    {"FLASH_ATTN_EXT with a short mask", short_mask},
    {"ROPE of 15 elements", odd_rope},
    {"ROPE of fewer than no elements", negative_rope},
    {"CPY of a long row to short quantized ones", long_rows},
    {"CONT of strided blocks to another shape", strided_blocks},
    {"GATED_DELTA_NET with more queries than values", more_queries},
    {"COUNT_EQUAL in three dimensions", count_planes},
    {"SET at the end of its result", set_at_end},
    {"SSM_SCAN of one state with a wild stride", wild_state},
    {"RWKV_WKV6 of more sequences than tokens", few_tokens},
    {"RWKV_WKV7 of heads of 8", narrow_heads},
    {"TOP_K of more than there are", top_too_many},
    {"PAD that wraps around often", wraps_twice},
    {"POOL_2D of planes that overlap", tight_planes},
    {"MUL_MAT of integers", integer_product},
};

#define HOLES ((int)(sizeof(holes) / sizeof(holes[0])))

static void run_hole(struct run_report *r, int i)
{
    ctx_t c = context();

    snprintf(r->text, sizeof(r->text), "%s, as expected", holes[i].what);
    /* On both sides: it is not said in which direction they go astray. */
    if (run_op(c, holes[i].build(c), 1, FLUSH_END, false))
        r->ran += run_op(c, holes[i].build(c), 1, FLUSH_START, false);
    ggml_free(c);
}

/* Without the rules these are what the guard pages are for, so the tests below could fail. */
static void test_holes_are_seen(void **state)
{
    struct run_report *r = run_report_new();

    (void)state;
    for (int i = 0; i < HOLES; i++) {
        ctx_t c = context();

        if (!vgr_rules_check(holes[i].build(c)))
            fail_msg("accepted: %s", holes[i].what);
        ggml_free(c);
    }
    run_all(r, HOLES, run_hole);
    printf("%d of %d ops that the rules refuse kill a process without them\n", r->died, HOLES);
    assert_int_equal(r->died, HOLES);
}

static void report(const struct run_report *r, const char *what)
{
    printf("%s: %d runs on the CPU backend, %d more stopped by GGML's assertions, %d too slow, "
           "%d died\n",
           what, r->ran, r->aborted, r->slow, r->died);
}

static void test_one_change(void **state)
{
    struct run_report *r = run_report_new();

    (void)state;
    run_all(r, (int)N_SAMPLES * (CHANGES + 1), one_change);
    report(r, "one change");
    assert_int_equal(r->died, 0);
    assert_true(r->ran > 1000);
}

static void test_all_tensors(void **state)
{
    struct run_report *r = run_report_new();

    (void)state;
    run_all(r, (int)N_SAMPLES * TOGETHER, all_tensors);
    report(r, "all tensors");
    assert_int_equal(r->died, 0);
    assert_true(r->ran > 500);
}

static void test_many_changes(void **state)
{
    struct run_report *r = run_report_new();

    (void)state;
    run_all(r, RANDOM_CASES, many_changes);
    report(r, "many changes");
    assert_int_equal(r->died, 0);
    assert_true(r->ran > 500);
}

static int setup(void **state)
{
    (void)state;
    return run_load();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holes_are_seen),
        cmocka_unit_test(test_one_change),
        cmocka_unit_test(test_all_tensors),
        cmocka_unit_test(test_many_changes),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
