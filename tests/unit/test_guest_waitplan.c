/* SPDX-License-Identifier: MIT
 *
 * How a wait is planned from those before it.
 */
#include "guest/waitplan.h"
#include "vgr_test.h"

#define US INT64_C(1000)

static struct vgr_waitplan plan;

static struct vgr_wait_phases after(enum vgr_wait_kind kind, int64_t ns, int times)
{
    for (int i = 0; i < times; i++)
        vgr_waitplan_learn(&plan, kind, ns);
    return vgr_waitplan_phases(&plan, kind);
}

static void short_waits_are_polled_through(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, false, false);
    w = after(VGR_WAIT_ANSWER, 30 * US, 50);
    assert_true(w.poll_until >= 45 * US && w.poll_until <= 200 * US);
    assert_int_equal(w.nap_until, w.poll_until);
    assert_int_equal(w.poll_again_until, w.poll_until);
}

static void a_token_is_napped_through_and_polled_at_its_end(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, false, false);
    w = after(VGR_WAIT_GRAPH, 1300 * US, 50);
    assert_true(w.poll_until <= 30 * US);
    /* The nap is most of it, and ends early enough for a late timer. */
    assert_true(w.nap_until >= 1000 * US && w.nap_until <= 1300 * US - 100 * US);
    assert_true(w.poll_again_until >= 1400 * US && w.poll_again_until <= 2000 * US);
}

static void kinds_do_not_learn_from_each_other(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, false, false);
    after(VGR_WAIT_GRAPH, 4000 * US, 50);
    w = vgr_waitplan_phases(&plan, VGR_WAIT_ANSWER);
    assert_true(w.poll_until <= 100 * US);
    assert_int_equal(w.nap_until, w.poll_until);
}

static void a_wait_of_seconds_is_not_polled(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, false, false);
    w = after(VGR_WAIT_GRAPH, 3000000 * US, 50);
    assert_true(w.poll_again_until <= 50 * US);
}

static void a_plan_finds_back_from_a_long_wait(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, false, false);
    after(VGR_WAIT_GRAPH, 1300 * US, 50);
    after(VGR_WAIT_GRAPH, 30000 * US, 1); /* one prompt */
    w = after(VGR_WAIT_GRAPH, 1300 * US, 8);
    assert_true(w.nap_until <= 1300 * US);
}

static void a_host_that_computes_where_we_run_is_left_alone(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, false, true);
    w = after(VGR_WAIT_GRAPH, 2000 * US, 50);
    assert_true(w.poll_again_until <= 50 * US);
}

static void with_one_processor_nobody_polls(void **state)
{
    struct vgr_wait_phases w;

    vgr_waitplan_init(&plan, true, false);
    w = after(VGR_WAIT_ANSWER, 1 * US, 50);
    assert_int_equal(w.poll_until, 0);
    assert_int_equal(w.nap_until, 0);
    assert_int_equal(w.poll_again_until, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_waits_are_polled_through),
        cmocka_unit_test(a_token_is_napped_through_and_polled_at_its_end),
        cmocka_unit_test(kinds_do_not_learn_from_each_other),
        cmocka_unit_test(a_wait_of_seconds_is_not_polled),
        cmocka_unit_test(a_plan_finds_back_from_a_long_wait),
        cmocka_unit_test(a_host_that_computes_where_we_run_is_left_alone),
        cmocka_unit_test(with_one_processor_nobody_polls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
