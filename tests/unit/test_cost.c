/* SPDX-License-Identifier: MIT
 *
 * test_cost.c - who makes calls long is told from who had no processor.
 */
#include "vgr_test.h"

#include <time.h>

#include "common/cost.h"

static uint64_t own_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A call that takes `ns` of this thread. */
static enum vgr_cost_found busy(struct vgr_cost *c, uint64_t ns)
{
    uint64_t end;

    vgr_cost_begin(c);
    end = own_time() + ns;
    while (own_time() < end) {
    }
    return vgr_cost_end(c);
}

/* A call during which somebody else has the processor. */
static enum vgr_cost_found away(struct vgr_cost *c)
{
    const struct timespec t = {0, 10000000};

    vgr_cost_begin(c);
    nanosleep(&t, NULL);
    return vgr_cost_end(c);
}

#define MS UINT64_C(1000000)

static void long_calls_are_too_much(void **state)
{
    struct vgr_cost c = {0};
    uint64_t sum = 0;

    assert_int_equal(busy(&c, 10 * MS), VGR_COST_LONG); /* the first is not measured */
    for (;; sum += 10 * MS) {
        enum vgr_cost_found found = busy(&c, 10 * MS);

        if (found == VGR_COST_TOO_MUCH)
            break;
        assert_int_equal(found, VGR_COST_LONG);
        assert_true(sum < VGR_COST_BURST_NS + 100 * MS);
    }
    assert_true(sum >= VGR_COST_BURST_NS - 20 * MS);
}

/* However many short ones are between them: only time forgives. */
static void short_calls_do_not_help(void **state)
{
    struct vgr_cost c = {0};
    unsigned n = 0;

    while (busy(&c, 2 * MS) != VGR_COST_TOO_MUCH) {
        assert_true(++n < 1000);
        for (int i = 0; i < 2000; i++)
            assert_int_not_equal(busy(&c, 0), VGR_COST_TOO_MUCH);
    }
}

static void a_busy_machine_is_no_attack(void **state)
{
    struct vgr_cost c = {0};

    for (int i = 0; i < 20; i++)
        assert_int_not_equal(away(&c), VGR_COST_TOO_MUCH);
    assert_true(c.spent < VGR_COST_BURST_NS / 10); /* the kernel may do other work in our time */
    assert_true(c.watched > c.began);
}

static void short_ones_cost_nothing(void **state)
{
    struct vgr_cost c = {0};

    assert_int_equal(busy(&c, 10 * MS), VGR_COST_LONG);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_not_equal(busy(&c, 0), VGR_COST_TOO_MUCH);
    assert_true(c.spent < VGR_COST_BURST_NS);
}

/* Time gives a part of itself back. */
static void what_is_long_ago_is_forgotten(void **state)
{
    struct vgr_cost c = {0};

    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(busy(&c, 20 * MS), VGR_COST_LONG);
        c.reckoned -= VGR_COST_SHARE * 30 * MS; /* as if so much later */
    }
    assert_true(c.spent < 30 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_calls_are_too_much),       cmocka_unit_test(short_calls_do_not_help),
        cmocka_unit_test(a_busy_machine_is_no_attack),   cmocka_unit_test(short_ones_cost_nothing),
        cmocka_unit_test(what_is_long_ago_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
