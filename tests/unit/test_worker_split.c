/* SPDX-License-Identifier: MIT
 *
 * test_worker_split.c - long reads and writes of a confined worker: whoever makes them does not notice that they
 * are made in parts, and one that is killed does not finish them.
 */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/sandbox.h"
#include "worker/sandbox_split.h"

#define LONG  (3u * VGR_SANDBOX_PART + 77) /* bytes */
#define HUGE  ((size_t)256 << 20)
#define TRIES 100

static struct vgr_boot_sandbox config;
static struct vgr_sandbox sandbox;
static int sockets[2]; /* a stream, with room for a part */

static void stopped(int nr)
{
    _exit(98);
}

static void confine(uint32_t mode)
{
    config.mode = mode;
    if (vgr_sandbox_begin(&sandbox, &config) || vgr_sandbox_finish(&sandbox, 1, stopped))
        _exit(99);
}

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__ % 90 + 1;                                                              \
    } while (0)

/* Byte `i` of what is written. */
static char byte(size_t i)
{
    return (char)(i * 31 + i / 4099);
}

static bool as_written(const char *p, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] != byte(from + i))
            return false;
    }
    return true;
}

static int one_buffer(int fd, char *in, char *out)
{
    NEED(write(fd, in, LONG) == LONG && lseek(fd, 0, SEEK_CUR) == LONG);
    NEED(!lseek(fd, 0, SEEK_SET) && read(fd, out, LONG) == LONG && as_written(out, 0, LONG));
    NEED(read(fd, out, LONG) == 0);
    /* Less is there than what is asked for. */
    NEED(pread(fd, out, LONG, 1000) == LONG - 1000 && as_written(out, 1000, LONG - 1000));
    NEED(pwrite(fd, in, LONG, 5) == LONG && pread(fd, out, LONG, 5) == LONG);
    NEED(as_written(out, 0, LONG) && lseek(fd, 0, SEEK_CUR) == LONG);
    errno = 0;
    NEED(pread(fd, out, LONG, -1) < 0 && errno == EINVAL);
    NEED(read(-1, out, LONG) < 0 && errno == EBADF);
    NEED(read(fd, NULL, 0) == 0);
    return 0;
}

static int several_buffers(int fd, char *in, char *out)
{
    const struct iovec from[] = {{in, 10}, {NULL, 0}, {in + 10, LONG - 10}};
    const struct iovec to[] = {{out, LONG - 3}, {out + LONG - 3, 3}, {out, 100}};

    NEED(!ftruncate(fd, 0) && !lseek(fd, 0, SEEK_SET));
    NEED(writev(fd, from, 3) == LONG && !lseek(fd, 0, SEEK_SET));
    memset(out, 0, LONG);
    NEED(readv(fd, to, 3) == LONG && as_written(out, 0, LONG));
    NEED(pwritev(fd, from, 3, 64) == LONG);
    memset(out, 0, LONG);
    NEED(preadv(fd, to, 2, 64) == LONG && as_written(out, 0, LONG));
    errno = 0;
    NEED(syscall(SYS_writev, fd, from, IOV_MAX + 1) < 0 && errno == EINVAL);
    NEED(readv(-1, to, 2) < 0 && errno == EBADF);
    return 0;
}

/* What is there is enough: nobody waits for the rest of what was asked for. */
static int what_is_there(char *out)
{
    static char bytes[VGR_SANDBOX_PART];
    struct iovec to[] = {{out, 8}, {out + 8, 64}};
    int ends[2];

    NEED(!pipe(ends) && write(ends[1], "12345678", 8) == 8 && readv(ends[0], to, 2) == 8);
    NEED(write(sockets[0], bytes, sizeof(bytes)) == sizeof(bytes));
    NEED(read(sockets[1], out, 2 * sizeof(bytes)) == sizeof(bytes));
    return 0;
}

/* A line in two pieces is one message. */
static int one_line(int sock)
{
    const struct iovec line[] = {{(char *)"vgr: ", 5}, {(char *)"hello\n", 6}};

    NEED(writev(sock, line, 2) == 11);
    return 0;
}

static void whoever_makes_them_does_not_notice(void **state)
{
    static const uint32_t modes[] = {VGR_SANDBOX_OFF, VGR_SANDBOX_RELAXED, VGR_SANDBOX_STRICT};
    const int room = 4 * VGR_SANDBOX_PART;
    char text[64];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_int_equal(setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    for (size_t i = 0; i < 3; i++) {
        int pair[2], status;
        pid_t pid;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (!pid) {
            int fd = memfd_create("test", MFD_CLOEXEC), failed;
            char *in = malloc(LONG), *out = malloc(LONG);

            for (size_t k = 0; k < LONG; k++)
                in[k] = byte(k);
            confine(modes[i]);
            failed = one_buffer(fd, in, out);
            failed = failed ? failed : several_buffers(fd, in, out);
            failed = failed ? failed : what_is_there(out);
            _exit(failed ? failed : one_line(pair[1]));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(recv(pair[0], text, sizeof(text), 0), 11);
        assert_memory_equal(text, "vgr: hello\n", 11);
        close(pair[0]);
        close(pair[1]);
    }
}

/* ---- The end ---- */

/* How much of it was copied: pages are filled from the first to the last. */
static size_t copied(const volatile char *p)
{
    size_t first = 0, end = HUGE / 4096;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (p[middle * 4096])
            first = middle + 1;
        else
            end = middle;
    }
    return first * 4096;
}

/* How many bytes a worker still copies after it was killed in one call for all of them; -1: it was ready first. */
static long try_to_kill(uint32_t mode, long nr)
{
    int source = memfd_create("source", MFD_CLOEXEC), status;
    char *to, *from;
    size_t before, after;
    pid_t pid;

    assert_int_equal(ftruncate(source, (off_t)HUGE), 0);
    from = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, source, 0);
    to = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(from != MAP_FAILED && to != MAP_FAILED);
    memset(from, 1, HUGE);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        struct iovec iov = {to, HUGE};

        confine(mode);
        if (nr == SYS_pread64)
            syscall(nr, source, to, HUGE, 0);
        else
            syscall(nr, source, &iov, 1, 0, 0);
        _exit(0);
    }
    while (!copied(to))
        usleep(10);
    kill(pid, SIGKILL);
    before = copied(to);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WIFEXITED(status));
    after = copied(to);
    munmap(from, HUGE);
    munmap(to, HUGE);
    close(source);
    return before < HUGE / 2 ? (long)(after - before) : -1;
}

static size_t copied_after_the_kill(uint32_t mode, long nr)
{
    long bytes = -1;

    for (int i = 0; i < TRIES && bytes < 0; i++)
        bytes = try_to_kill(mode, nr);
    assert_true(bytes >= 0);
    return (size_t)bytes;
}

static void who_is_killed_stops(void **state)
{
    static const uint32_t modes[] = {VGR_SANDBOX_RELAXED, VGR_SANDBOX_STRICT};

    for (size_t i = 0; i < 2; i++) {
        assert_true(copied_after_the_kill(modes[i], SYS_pread64) <= 2 * VGR_SANDBOX_PART);
        assert_true(copied_after_the_kill(modes[i], SYS_preadv) <= 2 * VGR_SANDBOX_PART);
    }
}

/* The reason for all of it: this is what the kernel does. */
static void without_a_sandbox_all_of_it_is_copied(void **state)
{
    assert_true(copied_after_the_kill(VGR_SANDBOX_OFF, SYS_pread64) > HUGE / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_makes_them_does_not_notice),
        cmocka_unit_test(who_is_killed_stops),
        cmocka_unit_test(without_a_sandbox_all_of_it_is_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
