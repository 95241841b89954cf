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
static bool busy(struct vgr_cost *c, uint64_t ns)
{
    uint64_t end;

    vgr_cost_begin(c);
    end = own_time() + ns;
    while (own_time() < end) {
    }
    return vgr_cost_end(c);
}

/* A call during which somebody else has the processor. */
static bool away(struct vgr_cost *c)
{
    const struct timespec t = {0, 2 * VGR_COST_LONG_NS};

    vgr_cost_begin(c);
    nanosleep(&t, NULL);
    return vgr_cost_end(c);
}

static void long_calls_are_too_many(void **state)
{
    struct vgr_cost c = {0};
    unsigned n = 1;

    while (!busy(&c, 2 * VGR_COST_LONG_NS))
        assert_true(++n <= 1 + VGR_COST_LONG);
    assert_int_equal(n, 1 + VGR_COST_LONG); /* the first was not measured */
}

static void long_ones_between_short_ones_are_too_many(void **state)
{
    struct vgr_cost c = {0};
    unsigned n = 0;

    while (!busy(&c, 2 * VGR_COST_LONG_NS)) {
        assert_true(++n <= 1 + VGR_COST_LONG);
        for (int i = 0; i < 10; i++)
            assert_false(busy(&c, 0));
    }
}

static void a_busy_machine_is_no_attack(void **state)
{
    struct vgr_cost c = {0};

    for (int i = 0; i < 20; i++)
        assert_false(away(&c));
    assert_true(c.measured);
}

static void what_is_long_ago_is_forgotten(void **state)
{
    struct vgr_cost c = {0};

    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < VGR_COST_LONG; k++)
            assert_false(busy(&c, 2 * VGR_COST_LONG_NS));
        for (unsigned k = 0; k < VGR_COST_MEASURED; k++)
            assert_false(busy(&c, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_calls_are_too_many),
        cmocka_unit_test(long_ones_between_short_ones_are_too_many),
        cmocka_unit_test(a_busy_machine_is_no_attack),
        cmocka_unit_test(what_is_long_ago_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
