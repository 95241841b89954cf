/* SPDX-License-Identifier: MIT
 *
 * Calls that no signal interrupts, that raise none, and that take none of the standard streams' numbers.
 */
#include "vgr_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "holdings.h"
#include "protocol/sys.h"

#define SIGNALS 20

static volatile int signals, feed = -1;

static void on_alarm(int nr)
{
    if (++signals == SIGNALS && feed >= 0 && write(feed, "", 1) != 1)
        _exit(9);
}

/* A signal each millisecond; the 20th writes a byte to `fd`. */
static void begin_signals(int fd)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval each_ms = {{0, 1000}, {0, 1000}};

    signals = 0;
    feed = fd;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &each_ms, NULL), 0);
}

static void end_signals(void)
{
    struct itimerval none = {0};

    setitimer(ITIMER_REAL, &none, NULL);
    signal(SIGALRM, SIG_DFL);
}

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void a_poll_goes_on_after_signals(void **state)
{
    static const int64_t limits[] = {-1, INT64_C(3600) * 1000000000};
    struct pollfd p = {.events = POLLIN};
    int ends[2];
    char byte;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    p.fd = ends[0];
    for (int i = 0; i < 2; i++) {
        begin_signals(ends[1]);
        assert_int_equal(vgr_sys_poll(&p, 1, limits[i]), 1);
        assert_true(signals >= SIGNALS);
        end_signals();
        assert_int_equal(read(ends[0], &byte, 1), 1);
    }
    close(ends[0]);
    close(ends[1]);
}

static void a_wait_has_its_whole_time_and_ends(void **state)
{
    const int64_t ns = 30000000;
    int64_t start;

    begin_signals(-1);
    start = now_ns();
    assert_int_equal(vgr_sys_poll(NULL, 0, ns), 0);
    assert_true(now_ns() - start >= ns);
    start = now_ns();
    vgr_sys_nap(ns);
    assert_true(now_ns() - start >= ns);
    assert_true(signals > 0);
    end_signals();
}

static int tries;

static int interrupted_twice(void)
{
    errno = EINTR;
    return ++tries <= 2 ? -1 : 7;
}

static int refused(void)
{
    errno = ENOMEM;
    return -1;
}

static void again_is_for_interrupted_calls_only(void **state)
{
    assert_int_equal(VGR_SYS_AGAIN(interrupted_twice()), 7);
    assert_int_equal(tries, 3);
    assert_int_equal(VGR_SYS_AGAIN(refused()), -1);
    assert_int_equal(errno, ENOMEM);
}

/* Closes the standard streams, does something, and puts them back. */
static void without_streams(void (*what)(void))
{
    int kept[3];

    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
        close(i);
    }
    what();
    for (int i = 0; i < 3; i++) {
        dup2(kept[i], i);
        close(kept[i]);
    }
}

static int low, moved, memory;
static struct stat moved_stat, memory_stat;

static void take_descriptors(void)
{
    low = open("/dev/zero", O_RDONLY);
    moved = vgr_sys_high(low);
    memory = vgr_sys_memfd("test", MFD_CLOEXEC, 8192, F_SEAL_SHRINK);
    fstat(moved, &moved_stat);
    fstat(memory, &memory_stat);
    low = fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
}

static void standard_streams_are_left_alone(void **state)
{
    unsigned before = count_fds();

    without_streams(take_descriptors);
    assert_true(low); /* none of them is open */
    assert_true(moved > 2 && memory > 2 && moved != memory);
    assert_true(S_ISCHR(moved_stat.st_mode));
    assert_int_equal(fcntl(moved, F_GETFD), FD_CLOEXEC);
    assert_int_equal(memory_stat.st_size, 8192);
    assert_int_equal(fcntl(memory, F_GET_SEALS), F_SEAL_SHRINK);
    close(moved);
    close(memory);
    assert_int_equal(count_fds(), before);

    moved = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(vgr_sys_high(moved), moved);
    close(moved);
    assert_int_equal(vgr_sys_high(-1), -1);
}

/* What a signal would have done is to end this test. */
static void a_limit_for_files_is_an_error(void **state)
{
    struct rlimit before, small = {4096, RLIM_INFINITY};
    char buf[8192] = {0};
    unsigned fds = count_fds();
    int fd, err[4];

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    err[0] = vgr_sys_memfd("test", MFD_CLOEXEC, 8192, 0);
    fd = vgr_sys_memfd("test", MFD_CLOEXEC, 4096, 0);
    err[1] = vgr_sys_write(fd, buf, sizeof(buf));
    err[2] = vgr_sys_pwrite(fd, buf, 1, 4096);
    err[3] = vgr_sys_pwrite(fd, buf, 1, 4095);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(err[0], -EFBIG);
    assert_true(fd >= 0);
    assert_int_equal(err[1], -EFBIG);
    assert_int_equal(err[2], -EFBIG);
    assert_int_equal(err[3], 0);
    assert_int_equal(vgr_sys_pread(fd, buf, 4096, 0), 0);
    assert_int_equal(vgr_sys_pread(fd, buf, 2, 4095), -EIO);
    close(fd);
    assert_int_equal(count_fds(), fds);
}

static void a_closed_pipe_is_an_error(void **state)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    assert_int_equal(vgr_sys_write(ends[1], "x", 1), -EPIPE);
    close(ends[1]);
}

/* The program's own SIGPIPE, blocked and waiting, is still there afterwards; and ours is not. */
static void signals_of_others_are_kept(void **state)
{
    sigset_t mask, before, now;
    int ends[2], got;

    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &mask, &before), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    assert_int_equal(vgr_sys_write(ends[1], "x", 1), -EPIPE);
    assert_int_equal(sigpending(&now), 0);
    assert_false(sigismember(&now, SIGPIPE));

    pthread_kill(pthread_self(), SIGPIPE);
    assert_int_equal(vgr_sys_write(ends[1], "x", 1), -EPIPE);
    assert_int_equal(sigpending(&now), 0);
    assert_true(sigismember(&now, SIGPIPE));
    assert_int_equal(sigwait(&mask, &got), 0);

    pthread_sigmask(SIG_BLOCK, NULL, &now);
    assert_true(sigismember(&now, SIGPIPE)); /* the mask is the program's */
    assert_false(sigismember(&now, SIGXFSZ));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_poll_goes_on_after_signals),
        cmocka_unit_test(a_wait_has_its_whole_time_and_ends),
        cmocka_unit_test(again_is_for_interrupted_calls_only),
        cmocka_unit_test(standard_streams_are_left_alone),
        cmocka_unit_test(a_limit_for_files_is_an_error),
        cmocka_unit_test(a_closed_pipe_is_an_error),
        cmocka_unit_test(signals_of_others_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
