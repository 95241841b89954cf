/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "guest/heap.h"
#include "vgr_test.h"

#define BASE 8192u
#define SIZE 4096u

static struct vgr_heap heap;

static int setup(void **state)
{
    vgr_heap_init(&heap, BASE, SIZE);
    return 0;
}

/* Allocates `len` bytes and sends them as command `seq`. Returns the offset. */
static uint64_t block(uint64_t len, uint64_t seq)
{
    uint64_t off;
    uint32_t id;

    assert_int_equal(vgr_heap_alloc(&heap, len, &off, &id), 0);
    vgr_heap_sent(&heap, id, seq, false);
    return off;
}

static int try_block(uint64_t len)
{
    struct vgr_heap copy = heap;
    uint64_t off;
    uint32_t id;

    return vgr_heap_alloc(&copy, len, &off, &id);
}

static void blocks_are_aligned_and_apart(void **state)
{
    assert_int_equal(block(1, 1), BASE);
    assert_int_equal(block(64, 2), BASE + 64);
    assert_int_equal(block(65, 3), BASE + 128);
    assert_int_equal(block(1, 4), BASE + 256);
}

static void the_whole_heap_is_one_block(void **state)
{
    assert_int_equal(block(SIZE, 1), BASE);
    assert_int_equal(try_block(1), -EAGAIN);
    vgr_heap_reclaim(&heap, 1);
    assert_int_equal(block(SIZE, 2), BASE);
}

static void what_never_fits_says_so(void **state)
{
    assert_int_equal(try_block(SIZE + 1), -EFBIG);
    assert_int_equal(try_block(UINT64_MAX), -EFBIG);
    assert_int_equal(try_block(0), -EFBIG);
}

static void a_block_is_free_when_its_command_is_done(void **state)
{
    block(2048, 5);
    block(2048, 6);
    vgr_heap_reclaim(&heap, 4);
    assert_int_equal(try_block(64), -EAGAIN);
    vgr_heap_reclaim(&heap, 5);
    assert_int_equal(block(2048, 7), BASE);
    vgr_heap_reclaim(&heap, 7);
}

static void who_needs_room_waits_for_three_quarters_of_what_is_on_its_way(void **state)
{
    assert_int_equal(vgr_heap_mark(&heap), 0);
    for (uint64_t seq = 1; seq <= 8; seq++)
        block(SIZE / 8, seq);
    assert_int_equal(vgr_heap_mark(&heap), 7);
    vgr_heap_reclaim(&heap, 7);
    block(SIZE / 2, 9); /* room for half the heap in one piece */
    assert_int_equal(vgr_heap_mark(&heap), 8);
}

static void a_block_not_sent_is_never_reclaimed(void **state)
{
    uint64_t off;
    uint32_t id;

    assert_int_equal(vgr_heap_alloc(&heap, SIZE, &off, &id), 0);
    vgr_heap_reclaim(&heap, UINT64_MAX);
    assert_int_equal(try_block(64), -EAGAIN);
}

static void a_held_block_waits_for_its_reader(void **state)
{
    uint64_t off;
    uint32_t id;

    assert_int_equal(vgr_heap_alloc(&heap, SIZE, &off, &id), 0);
    vgr_heap_sent(&heap, id, 1, true);
    vgr_heap_reclaim(&heap, 1);
    assert_int_equal(try_block(64), -EAGAIN);
    vgr_heap_release(&heap, id);
    vgr_heap_reclaim(&heap, 1);
    assert_int_equal(try_block(64), 0);
}

static void a_block_does_not_wrap(void **state)
{
    block(1024, 1);
    block(2048, 2);
    vgr_heap_reclaim(&heap, 1);
    /* 1024 free at the end, 1024 at the start. */
    assert_int_equal(try_block(1025), -EAGAIN);
    assert_int_equal(block(1024, 3), BASE + 3072);
    assert_int_equal(block(1024, 4), BASE);
    assert_int_equal(try_block(1), -EAGAIN);
}

static void the_number_of_blocks_is_bounded(void **state)
{
    vgr_heap_init(&heap, 0, UINT64_C(64) * 2 * VGR_HEAP_BLOCKS);
    for (uint32_t i = 0; i < VGR_HEAP_BLOCKS; i++)
        block(64, i + 1);
    assert_int_equal(try_block(64), -EAGAIN);
    vgr_heap_reclaim(&heap, 1);
    assert_int_equal(try_block(64), 0);
}

/* Many random blocks: live ones never overlap, and the heap never gets stuck. */
static void live_blocks_never_overlap(void **state)
{
    struct {
        uint64_t off, len, seq;
    } live[64];
    uint32_t first = 0, next = 0;
    uint64_t seq = 0;

    srand(1);
    for (int round = 0; round < 20000; round++) {
        uint64_t len = (uint64_t)(rand() % 1500) + 1, off;
        uint32_t id;

        while (next - first == 64 || vgr_heap_alloc(&heap, len, &off, &id)) {
            assert_true(next != first);
            vgr_heap_reclaim(&heap, live[first++ % 64].seq);
        }
        for (uint32_t i = first; i != next; i++) {
            assert_true(off + len <= live[i % 64].off ||
                        live[i % 64].off + live[i % 64].len <= off);
        }
        assert_true(off >= BASE && off + len <= BASE + SIZE);
        vgr_heap_sent(&heap, id, ++seq, false);
        live[next % 64].off = off;
        live[next % 64].len = len;
        live[next++ % 64].seq = seq;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blocks_are_aligned_and_apart, setup),
        cmocka_unit_test_setup(the_whole_heap_is_one_block, setup),
        cmocka_unit_test_setup(what_never_fits_says_so, setup),
        cmocka_unit_test_setup(a_block_is_free_when_its_command_is_done, setup),
        cmocka_unit_test_setup(who_needs_room_waits_for_three_quarters_of_what_is_on_its_way,
                               setup),
        cmocka_unit_test_setup(a_block_not_sent_is_never_reclaimed, setup),
        cmocka_unit_test_setup(a_held_block_waits_for_its_reader, setup),
        cmocka_unit_test_setup(a_block_does_not_wrap, setup),
        cmocka_unit_test_setup(the_number_of_blocks_is_bounded, setup),
        cmocka_unit_test_setup(live_blocks_never_overlap, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
