/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>

#include "fake_guest.h"

static int setup(void **state)
{
    static struct fake_guest g;

    guest_init(&g, 8, 0, false);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    guest_finish(*state);
    return 0;
}

static void finds_regions_and_their_borders(void **state)
{
    struct fake_guest *g = *state;

    assert_non_null(vgr_guestmem_find(&g->mem, 0));
    assert_non_null(vgr_guestmem_find(&g->mem, 2 * MIB - 1));
    assert_null(vgr_guestmem_find(&g->mem, 2 * MIB));
    assert_null(vgr_guestmem_find(&g->mem, GPA_C - 1));
    assert_non_null(vgr_guestmem_find(&g->mem, GPA_C + MIB - 1));
    assert_null(vgr_guestmem_find(&g->mem, GPA_C + MIB));
    assert_null(vgr_guestmem_find(&g->mem, UINT64_MAX));
}

static void copies_over_borders(void **state)
{
    struct fake_guest *g = *state;
    char buf[16] = {0};

    assert_int_equal(vgr_guestmem_write(&g->mem, GPA_B - 5, "hello world", 12), 0);
    assert_memory_equal(guest_ptr(g, GPA_B), " world", 7);
    assert_int_equal(vgr_guestmem_read(&g->mem, GPA_B - 5, buf, 12), 0);
    assert_string_equal(buf, "hello world");
}

static void refuses_ranges_that_leave_memory(void **state)
{
    struct fake_guest *g = *state;
    char buf[16];

    assert_int_equal(vgr_guestmem_read(&g->mem, 2 * MIB - 8, buf, 16), -EFAULT);
    assert_int_equal(vgr_guestmem_write(&g->mem, 2 * MIB, buf, 1), -EFAULT);
    assert_int_equal(vgr_guestmem_read(&g->mem, UINT64_MAX - 3, buf, 16), -EFAULT);
}

static void user_addresses_need_one_region(void **state)
{
    struct fake_guest *g = *state;

    assert_non_null(vgr_guestmem_user(&g->mem, UADDR, MIB));
    assert_null(vgr_guestmem_user(&g->mem, UADDR, MIB + 1));
    assert_null(vgr_guestmem_user(&g->mem, UADDR + MIB - 1, 2));
    assert_null(vgr_guestmem_user(&g->mem, UADDR - 1, 1));
    assert_null(vgr_guestmem_user(&g->mem, UADDR + 1, UINT64_MAX));
}

static void refuses_impossible_regions(void **state)
{
    static const struct vgr_mem_range bad[] = {
        {.gpa = MIB - 4096, .size = 8192}, /* overlaps */
        {.gpa = 0, .size = 1ull << 62},    /* overlaps, huge */
        {.gpa = 8 * MIB, .size = 0},       /* empty */
        {.gpa = 8 * MIB, .size = 1000},    /* no pages */
        {.gpa = 8 * MIB + 1, .size = 4096},
        {.gpa = 8 * MIB, .size = 4096, .offset = 100},
        {.gpa = 8 * MIB, .size = 4096, .offset = 3 * MIB}, /* behind the file's end */
        {.gpa = 8 * MIB, .size = 4096, .offset = UINT64_MAX - 4095},
        {.gpa = UINT64_MAX - 4095, .size = 8192}, /* wraps */
        {.gpa = 8 * MIB, .size = 8192, .uaddr = UINT64_MAX - 4095},
    };
    struct fake_guest *g = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(vgr_guestmem_add(&g->mem, &bad[i], g->fd), -EINVAL);
    assert_int_equal(g->mem.n, 3);
}

static void slots_are_limited(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_mem_range r = {.size = 4096};

    while (g->mem.n < VGR_GUESTMEM_REGIONS) {
        r.gpa = (100 + g->mem.n) * MIB;
        assert_int_equal(vgr_guestmem_add(&g->mem, &r, dup(g->fd)), 0);
    }
    r.gpa = 99 * MIB;
    assert_int_equal(vgr_guestmem_add(&g->mem, &r, g->fd), -ENOSPC);
}

static void removed_region_is_gone(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_mem_range wrong = fake_ranges[0];

    wrong.size += 4096;
    assert_int_equal(vgr_guestmem_remove(&g->mem, &wrong), -ENOENT);
    assert_int_equal(vgr_guestmem_remove(&g->mem, &fake_ranges[0]), 0);
    assert_null(vgr_guestmem_find(&g->mem, 0));
    assert_non_null(vgr_guestmem_find(&g->mem, GPA_C));
    assert_int_equal(vgr_guestmem_remove(&g->mem, &fake_ranges[0]), -ENOENT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(finds_regions_and_their_borders),  T(copies_over_borders),
        T(refuses_ranges_that_leave_memory), T(user_addresses_need_one_region),
        T(refuses_impossible_regions),       T(slots_are_limited),
        T(removed_region_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
