/* SPDX-License-Identifier: MIT
 *
 * What a front writes into a context's control page, where that is a part of a file.
 */
#include "vgr_test.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "device/control.h"

#define PAGE 4096u

static int fd;

static int make_file(void **state)
{
    fd = memfd_create("test", MFD_CLOEXEC);
    return fd < 0 || ftruncate(fd, (off_t)PAGE * 3);
}

static int close_file(void **state)
{
    return close(fd);
}

static struct vgr_failure read_failure(uint64_t page)
{
    struct vgr_failure f;

    assert_int_equal(pread(fd, &f, sizeof(f), (off_t)(page + VGR_FAILURE_OFFSET)), sizeof(f));
    return f;
}

static void the_first_reason_stays(void **state)
{
    struct vgr_failure f;

    vgr_control_fail_file(fd, PAGE, VGR_ERROR_ARENA, "the first");
    vgr_control_fail_file(fd, PAGE, VGR_ERROR_LIMIT, "the second");
    f = read_failure(PAGE);
    assert_int_equal(f.state, VGR_STATE_FAILED);
    assert_int_equal(f.error, VGR_ERROR_ARENA);
    assert_string_equal(f.error_text, "the first");
    assert_int_equal(read_failure(0).state, VGR_STATE_NONE);
    assert_int_equal(read_failure(PAGE * 2).state, VGR_STATE_NONE);
}

/* In a monitor: the page is the guest's memory, which can lie beyond the limit. A signal would end this test. */
static void a_limit_for_files_raises_no_signal(void **state)
{
    struct rlimit before, small;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){PAGE, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    vgr_control_fail_file(fd, PAGE, VGR_ERROR_ARENA, "beyond");
    vgr_control_fail_file(fd, 0, VGR_ERROR_ARENA, "within");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(read_failure(PAGE).state, VGR_STATE_NONE);
    assert_string_equal(read_failure(0).error_text, "within");
}

static void a_file_that_is_too_short_is_left_alone(void **state)
{
    assert_int_equal(ftruncate(fd, VGR_FAILURE_OFFSET), 0);
    vgr_control_fail_file(fd, 0, VGR_ERROR_ARENA, "text");
    assert_int_equal(lseek(fd, 0, SEEK_END), VGR_FAILURE_OFFSET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_reason_stays, make_file, close_file),
        cmocka_unit_test_setup_teardown(a_limit_for_files_raises_no_signal, make_file, close_file),
        cmocka_unit_test_setup_teardown(a_file_that_is_too_short_is_left_alone, make_file,
                                        close_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
