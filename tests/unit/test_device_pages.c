/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <stdlib.h>

#include "device/pages.h"
#include "fake_guest.h"

#define MAX_RUNS 1000u

struct fixture {
    struct fake_guest g;
    struct vgr_pages p;
    struct vgr_arena arena;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    guest_init(&f.g, 8, 0, false);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free((void *)f->arena.runs);
    vgr_pages_free(&f->p);
    guest_finish(&f->g);
    return 0;
}

static int convert(struct fixture *f, uint64_t size)
{
    return vgr_pages_to_arena(&f->p, &f->g.mem, size, MAX_RUNS, &f->arena);
}

static void run_is(const struct fixture *f, unsigned i, uint64_t offset, uint64_t length)
{
    assert_int_equal(f->arena.runs[i].file, 0);
    assert_int_equal(f->arena.runs[i].offset, offset);
    assert_int_equal(f->arena.runs[i].length, length);
}

static void adjacent_pieces_merge(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(vgr_pages_add(&f->p, 0x10000 + i * 4096, 4096), 0);
    assert_int_equal(f->p.n, 1);
    assert_int_equal(f->p.size, 100 * 4096);
    assert_int_equal(vgr_pages_add(&f->p, 0x10000, 4096), 0);
    assert_int_equal(f->p.n, 2);
    assert_int_equal(convert(f, 101 * 4096), 0);
    assert_int_equal(f->arena.n_runs, 2);
    run_is(f, 0, 0x10000, 100 * 4096);
    run_is(f, 1, 0x10000, 4096);
}

static void addresses_become_file_offsets(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_pages_add(&f->p, GPA_C + 8192, 4096), 0);
    assert_int_equal(vgr_pages_add(&f->p, 4096, 4096), 0);
    assert_int_equal(convert(f, 8192), 0);
    assert_int_equal(f->arena.n_runs, 2);
    assert_int_equal(f->arena.n_files, 1); /* one file, though it is two regions */
    assert_int_equal(f->arena.size, 8192);
    run_is(f, 0, MIB + 8192, 4096);
    run_is(f, 1, 4096, 4096);
}

static void piece_over_a_region_border_is_split(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_pages_add(&f->p, GPA_B - 4096, 8192), 0);
    assert_int_equal(f->p.n, 1);
    assert_int_equal(convert(f, 8192), 0);
    assert_int_equal(f->arena.n_runs, 2);
    run_is(f, 0, MIB - 4096, 4096);
    run_is(f, 1, 2 * MIB, 4096);
}

static void pieces_adjacent_in_the_file_merge(void **state)
{
    struct fixture *f = *state;

    /* The end of A and the start of C are neighbours in the file. */
    assert_int_equal(vgr_pages_add(&f->p, MIB - 4096, 4096), 0);
    assert_int_equal(vgr_pages_add(&f->p, GPA_C, 4096), 0);
    assert_int_equal(convert(f, 8192), 0);
    assert_int_equal(f->arena.n_runs, 1);
    run_is(f, 0, MIB - 4096, 8192);
}

static void only_the_size_asked_for_is_used(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_pages_add(&f->p, 0, 65536), 0);
    assert_int_equal(vgr_pages_add(&f->p, 64 * MIB, 4096), 0); /* nowhere, and not needed */
    assert_int_equal(convert(f, 8192), 0);
    assert_int_equal(f->arena.n_runs, 1);
    run_is(f, 0, 0, 8192);
}

static void too_little_memory_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(convert(f, 4096), -EINVAL);
    assert_int_equal(vgr_pages_add(&f->p, 0, 4096), 0);
    assert_int_equal(convert(f, 8192), -EINVAL);
    assert_int_equal(convert(f, 0), -EINVAL);
    assert_int_equal(convert(f, 100), -EINVAL);
}

static void pieces_that_are_no_pages_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_pages_add(&f->p, 0, 4096), 0);
    assert_int_equal(vgr_pages_add(&f->p, 8192, 1000), 0);
    assert_int_equal(vgr_pages_add(&f->p, 16384, 7192), 0);
    assert_int_equal(convert(f, 12288), -EINVAL);
    vgr_pages_free(&f->p);
    assert_int_equal(vgr_pages_add(&f->p, 100, 4096), 0);
    assert_int_equal(convert(f, 4096), -EINVAL);
}

static void memory_that_is_not_there_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_pages_add(&f->p, 2 * MIB - 4096, 8192), 0);
    assert_int_equal(convert(f, 8192), -EFAULT);
    assert_null(f->arena.runs);
}

static void impossible_pieces_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_pages_add(&f->p, 4096, 0), -EINVAL);
    assert_int_equal(vgr_pages_add(&f->p, UINT64_MAX - 4095, 8192), -EINVAL);
    assert_int_equal(f->p.n, 0);
}

static void runs_are_limited(void **state)
{
    struct fixture *f = *state;

    /* Two pages in turn, so that nothing merges. */
    for (uint32_t i = 0; i < MAX_RUNS + 1; i++)
        assert_int_equal(vgr_pages_add(&f->p, i % 2 ? 0 : 8192, 4096), 0);
    assert_int_equal(convert(f, (MAX_RUNS + 1) * 4096ull), -E2BIG);
    assert_int_equal(convert(f, MAX_RUNS * 4096ull), 0);
    assert_int_equal(f->arena.n_runs, MAX_RUNS);
}

static void files_are_limited(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < VGR_BOOT_MAX_FILES + 1; i++) {
        struct vgr_mem_range r = {.gpa = (100 + i) * MIB, .size = 4096};
        int fd = memfd_create("dimm", MFD_CLOEXEC);

        assert_int_equal(ftruncate(fd, 4096), 0);
        assert_int_equal(vgr_guestmem_add(&f->g.mem, &r, fd), 0);
        assert_int_equal(vgr_pages_add(&f->p, r.gpa, 4096), 0);
    }
    assert_int_equal(convert(f, (VGR_BOOT_MAX_FILES + 1) * 4096ull), -E2BIG);
    assert_int_equal(convert(f, VGR_BOOT_MAX_FILES * 4096ull), 0);
    assert_int_equal(f->arena.n_files, VGR_BOOT_MAX_FILES);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(adjacent_pieces_merge),
        T(addresses_become_file_offsets),
        T(piece_over_a_region_border_is_split),
        T(pieces_adjacent_in_the_file_merge),
        T(only_the_size_asked_for_is_used),
        T(too_little_memory_is_refused),
        T(pieces_that_are_no_pages_are_refused),
        T(memory_that_is_not_there_is_refused),
        T(impossible_pieces_are_refused),
        T(runs_are_limited),
        T(files_are_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
