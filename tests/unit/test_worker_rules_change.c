/* SPDX-License-Identifier: MIT
 *
 * Breaks one thing at a time in an op that GGML's builder made: the rules must refuse it, unless the
 * list in rules_ops.h says that it does no harm. That what is accepted does none is shown by
 * test_worker_rules_run.c, which runs it.
 */
#include <stdio.h>

#include "rules_change.h"
#include "vgr_test.h"
#include "worker/rules/rules.h"

static ctx_t context(void)
{
    struct ggml_init_params params = {.mem_size = 64 * ggml_tensor_overhead(), .no_alloc = true};

    return ggml_init(params);
}

/* Is the change on the list of those that do no harm? */
static bool harmless(const struct sample *s, const struct change *x, tensor_t t)
{
    uint32_t bit = 1u << x->tensor;

    switch (x->kind) {
    case CHANGE_NE:
        return s->grow & bit;
    case CHANGE_NB:
        /* Nobody steps through a dimension of one. */
        return s->strides & bit || t->ne[x->index] <= 1;
    case CHANGE_TYPE:
        return s->types & bit;
    case CHANGE_PARAM:
        return s->params & P(x->index);
    default:
        return s->missing & bit;
    }
}

static void test_samples_are_accepted(void **state)
{
    int n = 0;

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        ctx_t c = context();
        tensor_t op = samples[i].build(c);
        const char *why = vgr_rules_check(op);

        if (why)
            fail_msg("%s is refused: %s", samples[i].what, why);
        n++;
        ggml_free(c);
    }
    printf("%d ops as GGML builds them, all accepted\n", n);
    assert_true(n > 100);
}

static void test_changes_are_refused(void **state)
{
    int n = 0, impossible = 0, refused = 0, accepted = 0, wrong = 0, kinds[CHANGE_KINDS] = {0};

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const struct sample *s = &samples[i];
        int refused_before = refused;

        for (int k = 0; k < CHANGES; k++) {
            struct change x = change_at(k);
            ctx_t c = context();
            tensor_t op = s->build(c);

            if (change_apply(c, op, &x)) {
                n++;
                if (!change_possible(op)) {
                    impossible++;
                } else if (vgr_rules_check(op)) {
                    refused++;
                    kinds[x.kind]++;
                } else {
                    accepted++;
                    if (!harmless(s, &x, change_tensor(op, &x))) {
                        wrong++;
                        printf("%s: accepted although %s\n", s->what, change_text(op, &x));
                    }
                }
            }
            ggml_free(c);
        }
        if (refused - refused_before < 10)
            fail_msg("%s: only %d changes were refused", s->what, refused - refused_before);
    }
    printf("%d changes of %d ops: %d are no tensors, %d refused (ne %d, nb %d, type %d, param %d, "
           "source %d), %d accepted as harmless\n",
           n, (int)N_SAMPLES, impossible, refused, kinds[0], kinds[1], kinds[2], kinds[3], kinds[4],
           accepted - wrong);
    assert_int_equal(wrong, 0);
    for (int i = 0; i < CHANGE_KINDS; i++)
        assert_true(kinds[i] > 100);
}

/* What fits together may be an op again; test_worker_rules_run.c runs those. Most is none. */
static void test_changes_of_all_tensors(void **state)
{
    int n = 0, impossible = 0, refused = 0;

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        for (int k = 0; k < TOGETHER; k++, n++) {
            ctx_t c = context();
            tensor_t op = samples[i].build(c);

            together_apply(op, k);
            if (!change_possible(op))
                impossible++;
            else if (vgr_rules_check(op))
                refused++;
            ggml_free(c);
        }
    }
    printf("%d changes of all tensors of an op: %d are no tensors, %d refused\n", n, impossible,
           refused);
    assert_true(refused > n / 2 && refused + impossible < n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_accepted),
        cmocka_unit_test(test_changes_are_refused),
        cmocka_unit_test(test_changes_of_all_tensors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
