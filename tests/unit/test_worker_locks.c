/* SPDX-License-Identifier: MIT
 *
 * The worker's own fcntl(): the locks of files that it makes of the kernel's, and all else that it hands on.
 */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/locks.h"

static char path[64];
static int a, b; /* two open files of one */

static int setup(void **state)
{
    a = memfd_create("cache", MFD_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", a);
    b = open(path, O_RDWR | O_CLOEXEC);
    return a < 0 || b < 0;
}

static int teardown(void **state)
{
    close(a);
    close(b);
    return 0;
}

static int lock(int fd, int cmd, short type, off_t start)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start};

    return fcntl(fd, cmd, &l) ? errno : 0;
}

/* Whether the other open file could have a lock of flock() now. */
static bool flock_is_free(int op)
{
    bool free = !flock(b, op | LOCK_NB);

    if (free)
        flock(b, LOCK_UN);
    else
        assert_int_equal(errno, EWOULDBLOCK);
    return free;
}

/* First, while nobody has asked for anything else. */
static void locks_are_the_kernels_own_without_a_sandbox(void **state)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    assert_int_equal(lock(a, F_SETLK, F_WRLCK, 0), 0);
    assert_true(flock_is_free(LOCK_EX));
    assert_int_equal(fcntl(b, F_OFD_GETLK, &l), 0);
    assert_int_equal(l.l_type, F_WRLCK);
    assert_int_equal(l.l_pid, getpid());
}

static void locks_of_files_exclude_each_other(void **state)
{
    vgr_locks_by_flock();
    assert_int_equal(lock(a, F_SETLK, F_WRLCK, 0), 0);
    assert_int_equal(lock(b, F_SETLK, F_WRLCK, 0), EWOULDBLOCK);
    assert_int_equal(lock(b, F_SETLK, F_RDLCK, 0), EWOULDBLOCK);
    assert_false(flock_is_free(LOCK_SH));
    assert_int_equal(lock(a, F_SETLK, F_UNLCK, 0), 0);
    assert_int_equal(lock(b, F_SETLKW, F_RDLCK, 0), 0);
    assert_int_equal(lock(b, F_SETLK, F_UNLCK, 0), 0);
    assert_true(flock_is_free(LOCK_EX));
}

static void *unlock_soon(void *arg)
{
    usleep(50000);
    lock(a, F_SETLK, F_UNLCK, 0);
    return arg;
}

/* The sandbox has exclusive locks only. */
static void readers_wait_for_each_other(void **state)
{
    pthread_t thread;

    vgr_locks_by_flock();
    assert_int_equal(lock(a, F_SETLK, F_RDLCK, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, unlock_soon, NULL), 0);
    assert_int_equal(lock(b, F_SETLK, F_RDLCK, 0), 0);
    pthread_join(thread, NULL);
    assert_false(flock(b, LOCK_UN));
}

static void locks_of_parts_are_the_kernels(void **state)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 4096};

    vgr_locks_by_flock();
    assert_int_equal(lock(a, F_SETLK, F_WRLCK, 4096), 0);
    assert_true(flock_is_free(LOCK_EX));
    assert_int_equal(fcntl(b, F_OFD_GETLK, &l), 0);
    assert_int_equal(l.l_type, F_WRLCK);
    assert_int_equal(l.l_start, 4096);
}

static void all_else_is_handed_on(void **state)
{
    int copy;

    vgr_locks_by_flock();
    assert_int_equal(fcntl(a, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(a, F_SETFD, 0), 0);
    assert_int_equal(fcntl(a, F_GETFD), 0);
    copy = fcntl(a, F_DUPFD_CLOEXEC, 100);
    assert_true(copy >= 100);
    close(copy);
    assert_int_equal(fcntl(a, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fcntl(a, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(-1, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(lock(-1, F_SETLK, F_RDLCK, 0), EBADF);
    assert_int_equal(fcntl(a, F_SETLK, NULL), -1);
    assert_int_equal(errno, EFAULT);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(locks_are_the_kernels_own_without_a_sandbox),
        T(locks_of_files_exclude_each_other),
        T(readers_wait_for_each_other),
        T(locks_of_parts_are_the_kernels),
        T(all_else_is_handed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
