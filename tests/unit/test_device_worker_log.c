/* SPDX-License-Identifier: MIT
 *
 * What workers write, as lines of the front's log: the test is the worker, and reads the log in a file.
 */
#include "vgr_test.h"

#include "send_fds.h"
#include "test_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/worker_log.h"
#include "holdings.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define SQUARE 500

struct fixture {
    struct vgr_loop loop;
    struct vgr_worker_log_lines all;
    struct vgr_worker_log log;
    int worker; /* its end */
    int file, real_stderr;
    off_t seen;
    unsigned before;
};

/* A worker's end that does not wait, so that one thread can be worker and front. */
static int open_log(struct fixture *f, uint32_t number)
{
    int fd = vgr_worker_log_open(&f->log, &f->loop, &f->all, number);

    return fd < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ? -1 : fd;
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    alarm(60);
    f.before = count_fds();
    f.file = memfd_create("log", MFD_CLOEXEC);
    f.real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    vgr_log_init("vgr-device", VGR_LOG_INFO);
    if (vgr_loop_init(&f.loop) || dup2(f.file, STDERR_FILENO) < 0)
        return -1;
    f.worker = open_log(&f, 7);
    *state = &f;
    return f.worker < 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_worker_log_close(&f->log);
    vgr_worker_log_close(&f->log); /* which may be said twice */
    dup2(f->real_stderr, STDERR_FILENO);
    close(f->real_stderr);
    close(f->worker);
    close(f->file);
    vgr_loop_finish(&f->loop);
    assert_int_equal(count_fds(), f->before);
    alarm(0);
    return 0;
}

/* What was logged since the last call. The caller frees it. */
static char *news(struct fixture *f)
{
    off_t end = lseek(f->file, 0, SEEK_END);
    char *text = calloc(1, (size_t)(end - f->seen) + 1);

    assert_int_equal(pread(f->file, text, (size_t)(end - f->seen), f->seen), end - f->seen);
    f->seen = end;
    return text;
}

static void logged(struct fixture *f, const char *expect)
{
    char *text = news(f);

    assert_string_equal(text, expect);
    free(text);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void say(struct fixture *f, const char *text, size_t len)
{
    assert_int_equal(write(f->worker, text, len), len);
}

#define SAY(f, text) say(f, text, sizeof(text) - 1)

static bool unread(struct fixture *f)
{
    int n = 0;

    return !ioctl(f->log.fd, FIONREAD, &n) && n;
}

#define READ(f) UNTIL(f, !unread(f))

static void lines_have_the_prefix_of_their_worker(void **state)
{
    struct fixture *f = *state;

    SAY(f, "one\nvgr-device: ready\nvgr-worker[3]: error: two\n\n\n");
    READ(f);
    logged(f, "vgr-worker[7]: one\nvgr-worker[7]: vgr-device: ready\n"
              "vgr-worker[7]: vgr-worker[3]: error: two\n");
    SAY(f, "be");
    READ(f);
    SAY(f, "gun\nand");
    READ(f);
    logged(f, "vgr-worker[7]: begun\n");
    SAY(f, "\rvgr-device: forged\x1b[1K\xe2\x80\xa8x\xc2\x85y");
    vgr_worker_log_close(&f->log);
    logged(f, "vgr-worker[7]: and\\x0dvgr-device: forged\\x1b[1K\\xe2\\x80\\xa8x\\xc2\\x85y\n");
}

static void any_bytes_are_one_line(void **state)
{
    struct fixture *f = *state;
    char *text, bytes[256];

    for (unsigned i = 0; i < 256; i++)
        bytes[i] = i == '\n' ? '\0' : (char)i;
    say(f, bytes, sizeof(bytes));
    SAY(f, "\n");
    READ(f);
    text = news(f);
    for (const char *c = text; c[1]; c++)
        assert_int_in_range(*c, 0x20, 0x7e);
    assert_int_equal(count(text, "\\x00"), 2);
    assert_int_equal(count(text, "\n"), 1);
    free(text);
}

static void a_megabyte_without_an_end_is_one_line(void **state)
{
    static char part[16384];
    struct fixture *f = *state;
    size_t sent = 0;
    char *text;

    memset(part, 'm', sizeof(part));
    while (sent < 1u << 20) {
        ssize_t n = write(f->worker, part, sizeof(part));

        if (n > 0)
            sent += (size_t)n;
        f->log.charged = 0; /* or this takes seconds */
        vgr_loop_turn(&f->loop, 10);
    }
    READ(f);
    text = news(f);
    assert_int_equal(count(text, "\n"), 1);
    assert_int_equal(strlen(text), VGR_LOG_LINE);
    free(text);
    SAY(f, " its end\nthe next\n");
    READ(f);
    logged(f, "vgr-worker[7]: the next\n");
}

/* Sends `n` numbered lines, and serves the loop while there is no room. */
static void flood(struct fixture *f, unsigned n)
{
    char line[64];

    for (unsigned i = 1; i <= n; i++) {
        int len = snprintf(line, sizeof(line), "flood %u.\n", i);

        while (write(f->worker, line, (size_t)len) < 0) {
            assert_int_equal(errno, EAGAIN);
            f->log.charged = 0; /* or this takes seconds */
            vgr_loop_turn(&f->loop, 10);
        }
    }
}

static void left_out(const char *text, unsigned *lines)
{
    const char *end = " lines of worker 7 were left out\n";

    *lines = 0;
    for (const char *at = text; (at = strstr(at, end)); at++) {
        const char *number = at;

        while (number[-1] != ' ')
            number--;
        *lines += (unsigned)atoi(number);
    }
}

static void a_flood_is_cut_and_its_end_is_kept(void **state)
{
    const unsigned n = 5000;
    struct fixture *f = *state;
    unsigned shown, more;
    char *text;

    flood(f, n);
    READ(f);
    SAY(f, "GGML gave up: the reason");
    vgr_worker_log_close(&f->log);
    text = news(f);
    shown = count(text, "vgr-worker[7]: ");
    left_out(text, &more);
    assert_int_equal(shown + more, n + 1);
    /* A slow machine may give some back meanwhile: one each second. */
    assert_uint_in_range(shown, VGR_WORKER_LOG_LINES + VGR_WORKER_LOG_LAST,
                         VGR_WORKER_LOG_LINES + VGR_WORKER_LOG_LAST + 60);
    assert_int_equal(count(text, "flood 1.\n"), 1);
    assert_int_equal(count(text, "flood 5000.\nvgr-worker[7]: GGML gave up: the reason\n"), 1);
    free(text);
}

#define PATIENT_LINES 2000

static void *print_lines(void *end)
{
    int fd = *(const int *)end;

    for (unsigned i = 0; i < PATIENT_LINES; i++) {
        if (dprintf(fd, "line %u\n", i) < 0)
            return NULL;
    }
    return end;
}

/* The socket has room for some tens of lines. */
static void a_worker_waits_rather_than_lose_lines(void **state)
{
    struct fixture *f = *state;
    unsigned shown, more;
    pthread_t thread;
    void *printed;
    char *text;

    vgr_worker_log_close(&f->log);
    close(f->worker);
    f->worker = vgr_worker_log_open(&f->log, &f->loop, &f->all, 7);
    assert_int_equal(pthread_create(&thread, NULL, print_lines, &f->worker), 0);
    while (pthread_tryjoin_np(thread, &printed)) {
        f->log.charged = 0; /* or this takes seconds */
        vgr_loop_turn(&f->loop, 10);
    }
    assert_non_null(printed);
    vgr_worker_log_close(&f->log);
    text = news(f);
    shown = count(text, "vgr-worker[7]: ");
    left_out(text, &more);
    assert_int_equal(shown + more, PATIENT_LINES);
    free(text);
}

static void lines_come_back_with_time(void **state)
{
    struct fixture *f = *state;
    unsigned more;
    char *text;

    flood(f, VGR_WORKER_LOG_LINES + 5);
    READ(f);
    text = news(f);
    assert_uint_in_range(count(text, "\n"), VGR_WORKER_LOG_LINES, VGR_WORKER_LOG_LINES + 1);
    free(text);
    f->log.own.since_ms -= VGR_LOG_BURST * 1000;
    SAY(f, "again\n");
    READ(f);
    text = news(f);
    left_out(text, &more);
    assert_uint_in_range(more, 4, 5);
    assert_int_equal(count(text, "vgr-device: warning: "), 1);
    assert_int_equal(count(text, "vgr-worker[7]: again\n"), 1);
    free(text);
    /* What was told as left out is not written later. */
    vgr_worker_log_close(&f->log);
    logged(f, "");
}

static void debugging_shows_more(void **state)
{
    struct fixture *f = *state;
    char *text;

    vgr_worker_log_close(&f->log);
    close(f->worker);
    vgr_log_init("vgr-device", VGR_LOG_DEBUG);
    f->worker = open_log(f, 8);
    flood(f, 10 * VGR_WORKER_LOG_LINES);
    READ(f);
    text = news(f);
    assert_int_equal(count(text, "vgr-worker[8]: flood "), 10 * VGR_WORKER_LOG_LINES);
    free(text);
}

static void one_worker_after_the_other_gains_nothing(void **state)
{
    const unsigned n = 60;
    struct fixture *f = *state;
    unsigned shown;
    char *text;

    for (unsigned i = 0; i < n; i++) {
        vgr_worker_log_close(&f->log);
        close(f->worker);
        f->worker = open_log(f, 7);
        flood(f, 2 * VGR_WORKER_LOG_LINES);
    }
    vgr_worker_log_close(&f->log);
    text = news(f);
    shown = count(text, "vgr-worker[7]: ");
    /* Of 12000. Ten more for each second that this takes. */
    assert_uint_in_range(shown, VGR_WORKER_LOG_ALL_LINES, VGR_WORKER_LOG_ALL_LINES + 1000);
    free(text);
    /* Workers that say little give back what they did not use. */
    f->all = (struct vgr_worker_log_lines){0};
    for (unsigned i = 0; i < n; i++) {
        close(f->worker);
        f->worker = open_log(f, 7);
        flood(f, 5);
        vgr_worker_log_close(&f->log);
    }
    text = news(f);
    assert_int_equal(count(text, "vgr-worker[7]: "), 5 * n);
    free(text);
}

static void another_workers_flood_takes_no_lines(void **state)
{
    struct vgr_worker_log other;
    struct fixture *f = *state;
    int end = vgr_worker_log_open(&other, &f->loop, &f->all, 8);

    assert_true(end >= 0);
    flood(f, 1000);
    READ(f);
    free(news(f));
    assert_int_equal(write(end, "quiet\n", 6), 6);
    vgr_worker_log_close(&other);
    close(end);
    logged(f, "vgr-worker[8]: quiet\n");
}

/* A worker that writes without end takes some turns, and then none until a timer has ended. */
static void reading_is_charged(void **state)
{
    static const char part[16384];
    struct fixture *f = *state;
    unsigned turns;

    for (unsigned round = 0; round < 4; round++) {
        /* Whole turns first, then such of a byte. */
        turns = 0;
        UNTIL(f, f->log.watch.fd >= 0);
        while (f->log.watch.fd >= 0) {
            if (write(f->worker, part, round < 2 ? sizeof(part) : 1) < 0)
                assert_int_equal(errno, EAGAIN);
            vgr_loop_turn(&f->loop, 1000);
            turns++;
        }
        assert_uint_in_range(turns, 1, VGR_WORKER_LOG_CHARGE / VGR_WORKER_LOG_LEAST);
        assert_true(vgr_timer_runs(&f->log.pause));
        if (round == 1)
            READ(f);
    }
    READ(f);
}

/* The worker may do to its end what it likes. */
static void nothing_of_the_worker_blocks_the_front(void **state)
{
    static char part[4096];
    struct fixture *f = *state;
    int flags = fcntl(f->log.fd, F_GETFL), small = 1;
    char c;

    assert_int_equal(fcntl(f->worker, F_SETFL, O_RDWR | O_ASYNC), 0);
    assert_int_equal(fcntl(f->log.fd, F_GETFL), flags);
    /* Blocking now: there is nothing to read for it, ever. */
    assert_int_equal(recv(f->worker, &c, 1, 0), 0);
    vgr_loop_turn(&f->loop, 0);
    assert_int_equal(setsockopt(f->worker, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    while (send(f->worker, part, sizeof(part), MSG_DONTWAIT) > 0) {
    }
    READ(f);
    /* Messages without anything in them. */
    for (unsigned i = 0; i < 100; i++) {
        send(f->worker, "", 0, MSG_DONTWAIT);
        vgr_loop_turn(&f->loop, 0);
    }
    SAY(f, "\n");
    READ(f);
    free(news(f));
    SAY(f, "still there\n");
    READ(f);
    logged(f, "vgr-worker[7]: still there\n");
    /* It says that it is done, which costs nobody but itself its lines. */
    assert_int_equal(shutdown(f->worker, SHUT_WR), 0);
    UNTIL(f, f->log.watch.fd < 0 && !vgr_timer_runs(&f->log.pause));
    vgr_loop_turn(&f->loop, 0);
}

/* Of what was written in pieces, those that come meanwhile too: for each, the kernel wakes whoever waits at the
 * worker's end. */
static void a_call_takes_one_message(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 5; i++)
        SAY(f, "x");
    for (unsigned left = 5; left; left--) {
        char text[16];

        assert_int_equal(recv(f->log.fd, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT), 1);
        vgr_loop_turn(&f->loop, 0);
    }
    READ(f);
    SAY(f, "\n");
    READ(f);
    logged(f, "vgr-worker[7]: xxxxx\n");
}

static void at_rest_it_is_not_read(void **state)
{
    struct fixture *f = *state;

    SAY(f, "one\n");
    vgr_worker_log_rest(&f->log);
    SAY(f, "two\n");
    for (unsigned i = 0; i < 3; i++)
        vgr_loop_turn(&f->loop, 0);
    logged(f, "");
    vgr_worker_log_close(&f->log);
    logged(f, "vgr-worker[7]: one\nvgr-worker[7]: two\n");
    vgr_worker_log_rest(&f->log);
}

/* Reading the bytes would close what came with them, for as long as that takes. */
static void descriptors_are_not_taken(void **state)
{
    struct fixture *f = *state;
    unsigned before = count_fds();
    int on = -1, fds[] = {f->file};
    socklen_t len = sizeof(on);
    ssize_t n = send_fds(f->worker, "with one\n", 9, fds, 1);

    if (!getsockopt(f->log.fd, SOL_SOCKET, SO_PASSRIGHTS, &on, &len)) {
        assert_int_equal(on, 0);
        assert_int_equal(n, -1);
        assert_int_equal(errno, EPERM);
    }
    SAY(f, "without\n");
    READ(f);
    logged(f, n < 0 ? "vgr-worker[7]: without\n"
                    : "vgr-worker[7]: with one\nvgr-worker[7]: without\n");
    assert_int_equal(count_fds(), before);
}

static void another_holder_of_the_end_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    int other = dup(f->worker);

    SAY(f, "last words");
    close(f->worker);
    f->worker = other;
    vgr_worker_log_close(&f->log);
    logged(f, "vgr-worker[7]: last words\n");
    assert_int_equal(write(other, "x", 1), -1);
    assert_int_equal(errno, EPIPE);
}

static enum vgr_cost_found worst;

static void note_cost(struct vgr_worker_log *l, enum vgr_cost_found found)
{
    worst = found > worst ? found : worst;
}

/* Whoever holds the end can wait for it so often that to read is slow: a quarter of a million times here. */
static void what_it_costs_to_read_is_told(void **state)
{
    struct fixture *f = *state;
    struct epoll_event e = {.events = EPOLLOUT | EPOLLET};
    struct rlimit files = {2048, 2048}, before;
    int copies[SQUARE], watchers[SQUARE];
    unsigned lines = 0;

    worst = VGR_COST_SHORT;
    f->log.read = note_cost;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    files.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    for (int i = 0; i < SQUARE; i++) {
        copies[i] = fcntl(f->worker, F_DUPFD_CLOEXEC, 3);
        watchers[i] = epoll_create1(EPOLL_CLOEXEC);
        assert_true(copies[i] >= 0 && watchers[i] >= 0);
    }
    for (int i = 0; i < SQUARE * SQUARE; i++)
        assert_int_equal(epoll_ctl(watchers[i / SQUARE], EPOLL_CTL_ADD, copies[i % SQUARE], &e), 0);
    while (worst != VGR_COST_TOO_MUCH) {
        assert_true(++lines < 100);
        SAY(f, "x\n");
        READ(f);
    }
    assert_true(lines >= 2);
    for (int i = 0; i < SQUARE; i++) {
        close(watchers[i]);
        close(copies[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lines_have_the_prefix_of_their_worker),
        T(any_bytes_are_one_line),
        T(a_megabyte_without_an_end_is_one_line),
        T(a_flood_is_cut_and_its_end_is_kept),
        T(a_worker_waits_rather_than_lose_lines),
        T(lines_come_back_with_time),
        T(debugging_shows_more),
        T(one_worker_after_the_other_gains_nothing),
        T(another_workers_flood_takes_no_lines),
        T(reading_is_charged),
        T(nothing_of_the_worker_blocks_the_front),
        T(descriptors_are_not_taken),
        T(another_holder_of_the_end_is_not_waited_for),
        T(a_call_takes_one_message),
        T(at_rest_it_is_not_read),
        T(what_it_costs_to_read_is_told),
    };

    signal(SIGPIPE, SIG_IGN); /* as in a front and in its workers */
    signal(SIGIO, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
