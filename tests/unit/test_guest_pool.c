/* SPDX-License-Identifier: MIT
 *
 * Blocks of the arena that live long.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "guest/pool.h"
#include "vgr_test.h"

#define BASE (1u << 20)
#define SIZE (64u << 12)

static struct vgr_pool pool;

static int setup(void **state)
{
    vgr_pool_init(&pool, BASE, SIZE);
    return 0;
}

static void blocks_are_aligned_and_in_the_region(void **state)
{
    assert_int_equal(vgr_pool_alloc(&pool, 1), BASE);
    assert_int_equal(vgr_pool_alloc(&pool, 4097), BASE + 4096);
    assert_int_equal(vgr_pool_alloc(&pool, 4096), BASE + 3 * 4096);
}

static void the_whole_region_can_be_one_block_and_no_more(void **state)
{
    assert_int_equal(vgr_pool_alloc(&pool, SIZE), BASE);
    assert_int_equal(vgr_pool_alloc(&pool, 1), 0);
    vgr_pool_free(&pool, BASE);
    assert_int_equal(vgr_pool_alloc(&pool, SIZE + 1), 0);
    assert_int_equal(vgr_pool_alloc(&pool, UINT64_MAX), 0);
    assert_int_equal(vgr_pool_alloc(&pool, SIZE), BASE);
}

static void a_freed_gap_is_used_again(void **state)
{
    uint64_t a = vgr_pool_alloc(&pool, 8192), b = vgr_pool_alloc(&pool, 8192);

    assert_true(vgr_pool_alloc(&pool, 8192) == b + 8192);
    vgr_pool_free(&pool, b);
    assert_int_equal(vgr_pool_alloc(&pool, 12288), b + 16384); /* does not fit the gap */
    assert_int_equal(vgr_pool_alloc(&pool, 4096), b);
    assert_int_equal(vgr_pool_alloc(&pool, 4096), b + 4096);
    vgr_pool_free(&pool, a);
    assert_int_equal(vgr_pool_alloc(&pool, 1), a);
}

static void an_empty_region_has_no_room(void **state)
{
    vgr_pool_init(&pool, BASE, 0);
    assert_int_equal(vgr_pool_alloc(&pool, 1), 0);
    assert_int_equal(vgr_pool_alloc(&pool, 0), 0);
}

/* Whatever the order of allocations and releases, no two blocks overlap. */
static void blocks_never_overlap(void **state)
{
    struct {
        uint64_t off, len;
    } held[VGR_POOL_BLOCKS + 8] = {0};
    unsigned allocated = 0;

    srand(1);
    for (int round = 0; round < 20000; round++) {
        unsigned i = (unsigned)rand() % (VGR_POOL_BLOCKS + 8);

        if (held[i].off) {
            vgr_pool_free(&pool, held[i].off);
            held[i].off = 0;
            continue;
        }
        held[i].len = 1 + (uint64_t)rand() % (SIZE / 8);
        held[i].off = vgr_pool_alloc(&pool, held[i].len);
        if (!held[i].off)
            continue;
        allocated++;
        assert_true(held[i].off >= BASE && held[i].off + held[i].len <= BASE + SIZE);
        for (unsigned k = 0; k < VGR_POOL_BLOCKS + 8; k++) {
            if (k != i && held[k].off)
                assert_true(held[k].off + held[k].len <= held[i].off ||
                            held[i].off + held[i].len <= held[k].off);
        }
    }
    assert_true(allocated > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blocks_are_aligned_and_in_the_region, setup),
        cmocka_unit_test_setup(the_whole_region_can_be_one_block_and_no_more, setup),
        cmocka_unit_test_setup(a_freed_gap_is_used_again, setup),
        cmocka_unit_test_setup(an_empty_region_has_no_room, setup),
        cmocka_unit_test_setup(blocks_never_overlap, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
