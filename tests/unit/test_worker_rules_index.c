/* SPDX-License-Identifier: MIT
 *
 * Indices are data: the rules cannot see them. This tells what GGML's CPU backend does with one that is
 * out of range, which docs/security.md says to its reader: it aborts, or it goes astray. Either way it
 * is the worker that ends, and nothing else.
 */
#include "rules_run.h"
#include "vgr_test.h"
#include "worker/rules/rules.h"

static ctx_t context(void)
{
    struct ggml_init_params params = {
        .mem_size = 64 * ggml_tensor_overhead() + ggml_graph_overhead_custom(32, false),
        .no_alloc = true,
    };

    return ggml_init(params);
}

static const struct {
    const char *what;
    tensor_t (*build)(ctx_t c);
    bool checked; /* by the backend: it aborts */
} indexed[] = {
    {"GET_ROWS", build_get_rows, true},
    {"GET_ROWS of blocks", build_get_rows_q8, true},
    {"GET_ROWS_BACK", build_get_rows_back, true},
    {"SET_ROWS", build_set_rows, true},
    {"SET_ROWS of blocks", build_set_rows_q8, true},
    {"ADD_ID", build_add_id, true},
    {"MUL_MAT_ID", build_mul_mat_id, false},
    {"SSM_SCAN", build_ssm_scan, false},
};

static const int32_t wrong[] = {-1, 9, 100000, INT_MIN};

#define N_INDEXED ((int)(sizeof(indexed) / sizeof(indexed[0])))
#define N_WRONG   ((int)(sizeof(wrong) / sizeof(wrong[0])))

static void run_indexed(struct run_report *r, int i)
{
    ctx_t c = context();
    tensor_t op = indexed[i / N_WRONG].build(c);

    run_index = wrong[i % N_WRONG];
    snprintf(r->text, sizeof(r->text), "%s with index %d", indexed[i / N_WRONG].what, run_index);
    r->ran += run_op(c, op, 1, FLUSH_END, false);
    ggml_free(c);
}

static void test_wrong_indices(void **state)
{
    (void)state;
    for (int k = 0; k < N_INDEXED; k++) {
        struct run_report *r = run_report_new();
        ctx_t c = context();

        assert_null(vgr_rules_check(indexed[k].build(c)));
        ggml_free(c);
        r->next = k * N_WRONG;
        run_all(r, (k + 1) * N_WRONG, run_indexed);
        printf("%s, %d wrong indices: aborts %d, goes astray and dies %d, goes on %d\n",
               indexed[k].what, N_WRONG, r->aborted, r->died, r->ran);
        assert_int_equal(r->aborted + r->died + r->ran, N_WRONG);
        if (indexed[k].checked)
            assert_int_equal(r->aborted, N_WRONG);
    }
}

static int setup(void **state)
{
    (void)state;
    return run_load();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_indices),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
