/* SPDX-License-Identifier: MIT
 *
 * What the guest accepts as an order of a graph's nodes, and as wishes about their memory.
 */
#include <string.h>

#include "guest/order.h"
#include "vgr_test.h"

#define N 5u

/* 0 and 1 are independent, 2 = f(0, leaf), 3 = f(1, 2), 4 is a view of 1. */
static struct vgr_tensor records[N + 1];
static uint8_t seen[N];

static int setup(void **state)
{
    memset(records, 0, sizeof(records));
    records[2].src[0] = 1;
    records[2].src[1] = N + 1; /* the leaf */
    records[3].src[0] = 2;
    records[3].src[9] = 3;
    records[4].src[0] = 2;
    records[4].view_src = 2;
    return 0;
}

static bool valid(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e)
{
    const uint32_t node[N] = {a, b, c, d, e};

    return vgr_order_valid(records, node, N, seen);
}

static void orders_that_keep_sources_first_are_valid(void **state)
{
    assert_true(valid(0, 1, 2, 3, 4));
    assert_true(valid(1, 4, 0, 2, 3));
    assert_true(valid(0, 2, 1, 4, 3));
}

static void a_node_before_its_source_is_not(void **state)
{
    assert_false(valid(2, 0, 1, 3, 4));
    assert_false(valid(0, 1, 3, 2, 4)); /* the last of the sources counts, too */
    records[4].src[0] = 0;              /* a view without a source still comes after its root */
    assert_false(valid(0, 4, 1, 2, 3));
}

static void a_node_twice_or_out_of_range_is_not(void **state)
{
    assert_false(valid(0, 0, 1, 2, 3));
    assert_false(valid(0, 1, 2, 3, N));
    assert_false(valid(0, 1, 2, 3, UINT32_MAX));
}

/* How many of three wishes are left, given the order of the nodes. */
static uint32_t left(const uint32_t *node, struct vgr_order_dep a, struct vgr_order_dep b,
                     struct vgr_order_dep c)
{
    struct vgr_order_dep dep[] = {a, b, c};
    uint32_t pos[N];

    return vgr_order_deps(dep, 3, node, N, N + 1, pos);
}

static void tensors_are_kept_until_a_later_node(void **state)
{
    const uint32_t node[N] = {1, 4, 0, 2, 3};
    struct vgr_order_dep dep[] = {{2, 1}, {1, 4}, {N, 0}}; /* the second and third are fine */
    uint32_t pos[N];

    assert_int_equal(left(NULL, (struct vgr_order_dep){0, 3}, (struct vgr_order_dep){2, 2},
                          (struct vgr_order_dep){N, 0}),
                     3);
    assert_int_equal(vgr_order_deps(dep, 3, node, N, N + 1, pos), 2);
    assert_int_equal(dep[0].tensor, 1);
    assert_int_equal(dep[1].tensor, N);
}

static void wishes_that_ggml_could_not_take_are_dropped(void **state)
{
    const uint32_t node[N] = {1, 4, 0, 2, 3};

    assert_int_equal(left(NULL, (struct vgr_order_dep){3, 2}, (struct vgr_order_dep){0, N},
                          (struct vgr_order_dep){N + 1, 0}),
                     0);
    assert_int_equal(left(node, (struct vgr_order_dep){0, 4}, (struct vgr_order_dep){UINT32_MAX, 0},
                          (struct vgr_order_dep){0, UINT32_MAX}),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(orders_that_keep_sources_first_are_valid, setup),
        cmocka_unit_test_setup(a_node_before_its_source_is_not, setup),
        cmocka_unit_test_setup(a_node_twice_or_out_of_range_is_not, setup),
        cmocka_unit_test(tensors_are_kept_until_a_later_node),
        cmocka_unit_test(wishes_that_ggml_could_not_take_are_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
