/* SPDX-License-Identifier: MIT
 *
 * The arena that a worker maps: all of its runs, and nothing besides.
 */
#include "vgr_test.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/arena.h"

#define MIB (UINT64_C(1) << 20)

static uint64_t page;

/* Puts the boot file and a file of `size` bytes where a worker finds them. The worker closes both. */
static void hand_over(const struct vgr_boot_run *runs, uint32_t n_runs, unsigned flags,
                      uint64_t size, struct vgr_boot *boot)
{
    int file = memfd_create("ram", MFD_CLOEXEC | flags), boot_file;

    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, (off_t)size), 0);
    assert_int_equal(dup2(file, VGR_BOOT_FILES_FD), VGR_BOOT_FILES_FD);
    *boot = (struct vgr_boot){.magic = VGR_BOOT_MAGIC, .n_fds = 1, .n_runs = n_runs};
    for (uint32_t i = 0; i < n_runs; i++)
        boot->arena_size += runs[i].length;
    boot_file = memfd_create("boot", MFD_CLOEXEC);
    assert_int_equal(write(boot_file, boot, sizeof(*boot)), sizeof(*boot));
    assert_int_equal(write(boot_file, runs, n_runs * sizeof(*runs)), n_runs * sizeof(*runs));
    assert_int_equal(dup2(boot_file, VGR_BOOT_FD), VGR_BOOT_FD);
    if (file != VGR_BOOT_FILES_FD && file != VGR_BOOT_FD)
        close(file);
    if (boot_file != VGR_BOOT_FD)
        close(boot_file);
}

static int map(const struct vgr_boot_run *runs, uint32_t n_runs, unsigned flags, uint64_t size,
               struct vgr_arena *arena)
{
    struct vgr_boot boot;

    hand_over(runs, n_runs, flags, size, &boot);
    return vgr_arena_map(arena, &boot);
}

static void runs_follow_one_another(void **state)
{
    const struct vgr_boot_run runs[] = {{.offset = 2 * page, .length = page},
                                        {.offset = 0, .length = 2 * page}};
    struct vgr_arena arena;

    (void)state;
    assert_int_equal(map(runs, 2, 0, 3 * page, &arena), 0);
    assert_int_equal(arena.size, 3 * page);
    memset(arena.base, 'a', arena.size);
    assert_int_equal(munmap(arena.base, arena.size), 0);
}

/* The kernel would map the whole of the page that a run ends in. */
static void a_run_of_half_a_page_is_refused(void **state)
{
    const struct vgr_boot_run begins[] = {{.offset = page / 2, .length = page}};
    const struct vgr_boot_run ends[] = {{.length = page}, {.offset = 2 * page, .length = page / 2}};
    struct vgr_arena arena;

    (void)state;
    assert_int_equal(map(begins, 1, 0, 4 * page, &arena), -ENOTSUP);
    assert_int_equal(map(ends, 2, 0, 4 * page, &arena), -ENOTSUP);
}

/* Whether or not this machine has such pages to give: a run that ends in one is not tried. */
static void a_run_of_half_a_huge_page_is_refused(void **state)
{
    const struct vgr_boot_run small = {.length = MIB};
    const struct vgr_boot_run ends = {.offset = 1024 * MIB, .length = 1025 * MIB};
    const struct vgr_boot_run whole = {.length = 1024 * MIB};
    struct vgr_arena arena;

    (void)state;
    assert_int_equal(map(&small, 1, MFD_HUGETLB, 2048 * MIB, &arena), -ENOTSUP);
    assert_int_equal(map(&ends, 1, MFD_HUGETLB, 3072 * MIB, &arena), -ENOTSUP);
    assert_int_not_equal(map(&whole, 1, MFD_HUGETLB, 2048 * MIB, &arena), -ENOTSUP);
}

static void a_run_of_no_file_is_refused(void **state)
{
    const struct vgr_boot_run run = {.file = 1, .length = page};
    struct vgr_arena arena;

    (void)state;
    assert_int_equal(map(&run, 1, 0, page, &arena), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_follow_one_another),
        cmocka_unit_test(a_run_of_half_a_page_is_refused),
        cmocka_unit_test(a_run_of_half_a_huge_page_is_refused),
        cmocka_unit_test(a_run_of_no_file_is_refused),
    };

    page = (uint64_t)sysconf(_SC_PAGESIZE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
