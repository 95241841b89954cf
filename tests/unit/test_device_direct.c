/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include "test_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/fds.h"
#include "common/line.h"
#include "common/log.h"
#include "device/direct.h"
#include "device/listen.h"
#include "device/watchdog.h"
#include "fake_worker.h"
#include "lingering.h"
#include "send_fds.h"

#define ARENA (1ull << 20)

struct fixture {
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_direct direct;
    char dir[32], path[64];
    /* The client. */
    int sock, arena, line, workers;
    struct vgr_control *ctl;
    struct vgr_notice notice;
};

static int setup_front(void **state, bool broker)
{
    static struct fixture f;
    struct vgr_capset cap = {
        .magic = VGR_MAGIC,
        .arena_min = ARENA,
        .arena_max = 4 * ARENA,
        .arena_default = ARENA,
    };
    char why[256];
    int fd;

    memset(&f, 0, sizeof(f));
    strcpy(f.dir, "/tmp/vgr-test-XXXXXX");
    if (!mkdtemp(f.dir) || vgr_loop_init(&f.loop))
        return -1;
    snprintf(f.path, sizeof(f.path), "%s/sock", f.dir);
    f.pool = (struct vgr_worker_pool){
        .loop = &f.loop, .path = VGR_FAKE_WORKER, .limit = 2, .max_runs = 64};
    fd = vgr_listen(f.path, SOCK_STREAM, 0777, why, sizeof(why));
    if (fd < 0 || vgr_direct_init(&f.direct, &f.loop, &f.pool, &cap, fd, f.path, broker))
        return -1;
    f.arena = memfd_create("arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ftruncate(f.arena, (off_t)ARENA) || fcntl(f.arena, F_ADD_SEALS, F_SEAL_SHRINK))
        return -1;
    f.ctl = mmap(NULL, VGR_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f.arena, 0);
    if (vgr_line_make(&f.line, &f.workers))
        return -1;
    f.sock = -1;
    *state = &f;
    return 0;
}

static int setup(void **state)
{
    return setup_front(state, false);
}

static int setup_broker(void **state)
{
    return setup_front(state, true);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_direct_finish(&f->direct);
    vgr_loop_finish(&f->loop);
    munmap(f->ctl, VGR_CONTROL_SIZE);
    close(f->arena);
    close(f->line);
    if (f->workers >= 0)
        close(f->workers);
    if (f->sock >= 0)
        close(f->sock);
    return rmdir(f->dir); /* the socket is gone */
}

static void client_connect(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct vgr_capset cap;
    ssize_t n;

    strcpy(addr.sun_path, f->path);
    f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(f->sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
    UNTIL(f, (n = recv(f->sock, &cap, sizeof(cap), 0)) >= 0);
    assert_int_equal(n, sizeof(cap));
    assert_int_equal(cap.magic, VGR_MAGIC);
}

static void client_send(struct fixture *f, const void *buf, size_t len, unsigned n_fds)
{
    int fds[4] = {f->arena, f->workers, f->arena, f->workers};

    assert_int_equal(send_fds(f->sock, buf, len, fds, n_fds), len);
}

static void client_open(struct fixture *f, uint64_t size)
{
    struct vgr_submit s = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = size};

    client_send(f, &s, sizeof(s), VGR_DIRECT_NFDS);
}

static bool hung_up(struct fixture *f)
{
    struct pollfd p = {.fd = f->sock, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

/* What the front has said, or 0. */
static uint32_t noticed(struct fixture *f)
{
    f->notice = (struct vgr_notice){0};
    if (recv(f->sock, &f->notice, sizeof(f->notice), 0) != sizeof(f->notice))
        return 0;
    assert_int_equal(f->notice.magic, VGR_MAGIC);
    return f->notice.error;
}

static bool woken(struct fixture *f)
{
    return vgr_line_take(f->line) > 0;
}

static void ring(struct fixture *f)
{
    vgr_line_ring(f->line);
}

static void worker_serves_the_arena(void **state)
{
    struct fixture *f = *state;

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    assert_int_equal(f->ctl->state, VGR_STATE_READY);
    ring(f);
    UNTIL(f, woken(f));
    assert_int_equal(f->ctl->done, 1);
    assert_false(hung_up(f));
}

static void closing_ends_the_worker(void **state)
{
    struct fixture *f = *state;

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    close(f->sock);
    f->sock = -1;
    UNTIL(f, !f->pool.alive);
    assert_int_equal(f->direct.n_clients, 0);
}

static int log_file, real_stderr;

static void begin_log(void)
{
    log_file = memfd_create("log", MFD_CLOEXEC);
    real_stderr = dup(STDERR_FILENO);
    assert_true(log_file >= 0 && dup2(log_file, STDERR_FILENO) >= 0);
    vgr_log_init("test", VGR_LOG_INFO);
}

/* What was logged since then. The caller frees it. */
static char *end_log(void)
{
    off_t size = lseek(log_file, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    vgr_log_init("test", VGR_LOG_ERROR);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    assert_int_equal(pread(log_file, text, (size_t)size, 0), size);
    close(log_file);
    return text;
}

static void a_workers_last_words_come_before_its_end(void **state)
{
    struct fixture *f = *state;
    char *text, *words, *end;

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    begin_log();
    f->ctl->hello.features = FAKE_ABORT;
    ring(f);
    UNTIL(f, !f->pool.alive);
    text = end_log();
    words = strstr(text, "vgr-worker[1]: vgr-device: last words\n");
    end = strstr(text, "test: worker 1 (pid ");
    assert_ptr_equal(words, text);
    assert_true(end > words);
    free(text);
}

/* Whoever opens one context after the other fills no disk with what is said of them. */
static void lines_about_contexts_are_limited(void **state)
{
    struct fixture *f = *state;
    unsigned lines = 0;
    char *text;

    begin_log();
    for (unsigned i = 0; i < VGR_WORKER_POOL_BURST; i++) {
        client_connect(f);
        client_open(f, ARENA);
        UNTIL(f, woken(f));
        close(f->sock);
        f->sock = -1;
        UNTIL(f, !f->pool.alive);
        f->pool.log.since_ms = vgr_now_ms(); /* all of it is one window, however long it takes */
    }
    text = end_log();
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    free(text);
    /* Each was opened and closed. */
    assert_int_equal(lines, VGR_WORKER_POOL_BURST);
    assert_int_equal(f->pool.log.left_out, VGR_WORKER_POOL_BURST);
}

/* Whether it comes before or after the look at what the worker has left. */
static void any_further_message_ends_the_context(void **state)
{
    struct fixture *f = *state;

    f->direct.taken_ms = 1500;
    for (int early = 0; early < 2; early++) {
        uint64_t end = vgr_now_ms() + (early ? 0 : f->direct.taken_ms + 100);

        client_connect(f);
        client_open(f, ARENA);
        UNTIL(f, woken(f));
        while (vgr_now_ms() < end)
            vgr_loop_turn(&f->loop, 5);
        client_open(f, ARENA);
        UNTIL(f, hung_up(f) && !f->direct.n_clients);
        close(f->sock);
    }
    f->sock = -1;
}

/* There is no hang-up of a connection whose other end is in its own queue. */
static void a_connection_sent_over_itself_ends(void **state)
{
    struct fixture *f = *state;

    f->direct.taken_ms = 1500;
    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    assert_int_equal(send_fds(f->sock, "x", 1, &f->sock, 1), 1);
    close(f->sock);
    f->sock = -1;
    UNTIL(f, !f->direct.n_clients && !f->pool.alive);
}

static void death_of_the_worker_is_told(void **state)
{
    struct fixture *f = *state;

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    f->ctl->hello.features = FAKE_ABORT;
    ring(f);
    UNTIL(f, noticed(f));
    assert_int_equal(f->notice.error, VGR_ERROR_WORKER_DIED);
    assert_non_null(strstr(f->notice.text, "Aborted"));
    UNTIL(f, hung_up(f));
}

static void reason_of_the_worker_is_kept(void **state)
{
    struct fixture *f = *state;

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    f->ctl->hello.features = FAKE_FAIL;
    ring(f);
    UNTIL(f, hung_up(f));
    assert_int_equal(f->ctl->error, VGR_ERROR_GRAPH);
}

/* A guest that never reads, and a worker that it can use to write: its own matter. */
static void a_full_line_does_not_block(void **state)
{
    struct fixture *f = *state;
    char bytes[4096] = {0};

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    f->ctl->hello.features = FAKE_EXIT;
    while (send(f->workers, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(fcntl(f->workers, F_SETFL, 0), 0); /* blocking */
    while (send(f->sock, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
    ring(f);
    UNTIL(f, hung_up(f));
}

static void sizes_outside_of_the_limits_are_told(void **state)
{
    static const uint64_t bad[] = {0, 4096, ARENA - 4096, 5 * ARENA, UINT64_MAX, ARENA + 100};
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->arena, 8 * (off_t)ARENA), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        client_connect(f);
        client_open(f, bad[i]);
        UNTIL(f, hung_up(f));
        assert_int_equal(noticed(f), VGR_ERROR_ARENA);
        close(f->sock);
    }
    f->sock = -1;
}

/* The front must neither take such a descriptor nor be the one who closes it. */
static void descriptors_that_linger_do_not_block(void **state)
{
    struct vgr_submit s = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = ARENA};
    struct fixture *f = *state;
    /* Refused by the front, refused by the worker, left in the queue of a context that lives. */
    for (int i = 0; i < 3; i++) {
        int peer, fds[2] = {lingering_socket(&peer), f->workers};

        client_connect(f);
        if (i == 2) {
            client_open(f, ARENA);
            UNTIL(f, woken(f));
        }
        s.size = i ? ARENA : 0;
        assert_int_equal(send_fds(f->sock, &s, sizeof(s), fds, 2), sizeof(s));
        close(fds[0]);
        if (i < 2)
            UNTIL(f, hung_up(f));
        close(f->sock);
        UNTIL(f, !f->direct.n_clients);
        close(peer);
    }
    f->sock = -1;
}

/* Of a bridge: connects and returns its end of the line. */
static int bridge_connect(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct vgr_broker_hello hello;
    int line = -1, flags;
    unsigned n = 0;

    strcpy(addr.sun_path, f->path);
    f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(f->sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
    UNTIL(f, (flags = 0, vgr_fds_receive(f->sock, &hello, sizeof(hello), &line, 1, &n, &flags)) ==
                 (ssize_t)sizeof(hello));
    assert_int_equal(n, 1);
    return line;
}

/* A bridge has its end of the line from the start, and can send over it what nobody receives. */
static void what_a_bridge_sends_over_its_line_does_not_block(void **state)
{
    struct vgr_broker_open open = {VGR_BROKER_MAGIC, VGR_BROKER_VERSION, .n_runs = 1, .n_files = 1,
                                   .size = ARENA};
    struct fixture *f = *state;

    /* Says nothing, is refused by the front, has a worker that refuses it, or one that lives. */
    for (int i = 0; i < 4; i++) {
        int peer, fd = lingering_socket(&peer), line = bridge_connect(f);
        struct vgr_boot_run run = {.length = ARENA};
        int list = memfd_create("runs", MFD_CLOEXEC), files[2] = {list, f->arena};

        assert_int_equal(write(list, &run, sizeof(run)), sizeof(run));
        assert_int_equal(send_fds(line, "x", 1, &fd, 1), 1);
        close(fd);
        open.size = i == 1 ? 0 : ARENA;
        if (i)
            assert_int_equal(send_fds(f->sock, &open, sizeof(open), files, i == 2 ? 1 : 2),
                             sizeof(open));
        if (i == 3)
            UNTIL(f, f->pool.alive);
        close(list);
        close(line);
        if (i == 1 || i == 2)
            UNTIL(f, hung_up(f));
        close(f->sock);
        UNTIL(f, !f->direct.n_clients);
        close(peer);
    }
    f->sock = -1;
}

static void nothing(int sig)
{
    (void)sig;
}

/* A client that was not accepted yet, too, has something in its queue. */
static void the_end_does_not_wait_for_who_waits(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int peer, fd = lingering_socket(&peer);
    uint64_t before;

    strcpy(addr.sun_path, f->path);
    f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(f->sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(send_fds(f->sock, "x", 1, &fd, 1), 1);
    close(fd);
    signal(SIGALRM, nothing);
    alarm(5); /* a signal ends the wait, and the test then tells */
    before = vgr_now_ms();
    vgr_listener_close(&f->direct.listener);
    assert_true(vgr_now_ms() - before < 4000);
    alarm(0);
    UNTIL(f, hung_up(f));
    close(peer);
}

/* It cannot be looked at and stays where it is, so that the connection is ready for ever. */
static void an_out_of_band_byte_ends_the_connection(void **state)
{
    struct fixture *f = *state;

    client_connect(f);
    assert_int_equal(send(f->sock, "x", 1, MSG_OOB), 1);
    UNTIL(f, hung_up(f));
    UNTIL(f, !f->direct.n_clients);
}

static void arena_that_could_shrink_is_refused(void **state)
{
    struct fixture *f = *state;

    close(f->arena);
    f->arena = memfd_create("arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(f->arena, (off_t)ARENA), 0);
    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, hung_up(f));
    assert_int_equal(f->pool.alive, 0);
}

static void arena_smaller_than_said_is_refused(void **state)
{
    struct fixture *f = *state;

    client_connect(f);
    client_open(f, 2 * ARENA);
    UNTIL(f, hung_up(f));
    assert_int_equal(f->pool.alive, 0);
}

static void malformed_messages_end_the_connection(void **state)
{
    struct fixture *f = *state;
    struct vgr_submit s = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = ARENA};
    struct vgr_submit wrong_op = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_DOORBELL};
    char large[100] = {0};
    const struct {
        const void *buf;
        size_t len;
        unsigned n_fds;
    } bad[] = {
        {&s, sizeof(s), 0},        {&s, sizeof(s), 1},    {&s, sizeof(s), 3},        {&s, 8, 2},
        {large, sizeof(large), 2}, {large, sizeof(s), 2}, {&wrong_op, sizeof(s), 2},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        client_connect(f);
        client_send(f, bad[i].buf, bad[i].len, bad[i].n_fds);
        UNTIL(f, hung_up(f));
        close(f->sock);
    }
    f->sock = -1;
    UNTIL(f, !f->direct.n_clients);
}

static void descriptors_of_a_refused_message_are_closed(void **state)
{
    struct fixture *f = *state;
    struct pollfd p;
    int pipe_fds[2];

    /* The read end of a pipe tells when the last copy of its write end is closed. */
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    close(f->workers);
    f->workers = pipe_fds[1];
    client_connect(f);
    client_send(f, "x", 1, 2);
    close(f->workers);
    f->workers = -1;
    p = (struct pollfd){.fd = pipe_fds[0], .events = POLLIN};
    UNTIL(f, poll(&p, 1, 0) == 1 && p.revents & POLLHUP);
    UNTIL(f, !f->direct.n_clients);
    close(pipe_fds[0]);
}

static void line_must_be_a_socket(void **state)
{
    struct fixture *f = *state;

    close(f->workers);
    f->workers = open("/dev/null", O_RDWR | O_CLOEXEC);
    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, hung_up(f));
    assert_int_equal(noticed(f), VGR_ERROR_ARENA);
    assert_int_equal(f->pool.refused, 1);
    assert_int_equal(f->pool.failed, 0);
}

static void contexts_are_limited(void **state)
{
    struct fixture *f = *state;

    f->pool.limit = 0;
    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, hung_up(f));
    assert_int_equal(noticed(f), VGR_ERROR_LIMIT);
    assert_int_equal(f->pool.refused, 1);
    assert_int_equal(f->pool.opened, 0);
}

static void an_endless_graph_is_told(void **state)
{
    struct fixture *f = *state;
    struct vgr_watchdog dog;
    struct vgr_counts_page *page;

    vgr_watchdog_init(&dog, &f->loop, &f->pool, 50);
    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    page = mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->pool.first->counts_fd,
                0);
    assert_true(page != MAP_FAILED);
    vgr_counts_begin(page, VGR_COUNTER_COMPUTING);
    munmap(page, VGR_COUNTS_SIZE);
    UNTIL(f, noticed(f));
    assert_int_equal(f->notice.error, VGR_ERROR_LIMIT);
    assert_non_null(strstr(f->notice.text, "a graph ran longer"));
    UNTIL(f, hung_up(f) && !f->direct.n_clients);
    vgr_watchdog_finish(&dog);
}

static void the_end_waits_for_workers_in_spite_of_signals(void **state)
{
    struct fixture *f = *state;
    struct sigaction act = {.sa_handler = nothing}, old;
    struct itimerval often = {{0, 50}, {0, 50}}, never = {0};

    client_connect(f);
    client_open(f, ARENA);
    UNTIL(f, woken(f));
    assert_int_equal(sigaction(SIGALRM, &act, &old), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    vgr_worker_pool_finish(&f->pool, 5000);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
    assert_int_equal(f->pool.alive, 0);
}

static void live_socket_is_not_taken_over(void **state)
{
    struct fixture *f = *state;
    char why[256];

    assert_int_equal(vgr_listen(f->path, SOCK_STREAM, 0777, why, sizeof(why)), -EADDRINUSE);
    assert_non_null(strstr(why, "in use"));
    assert_int_equal(vgr_listen(f->path, SOCK_SEQPACKET, 0777, why, sizeof(why)), -EADDRINUSE);
    client_connect(f);
}

static void stale_socket_is_replaced_and_files_are_not(void **state)
{
    struct fixture *f = *state;
    char path[64], why[256];
    struct stat st;
    int fd;

    snprintf(path, sizeof(path), "%s/other", f->dir);
    fd = vgr_listen(path, SOCK_STREAM, 0777, why, sizeof(why));
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(stat(path, &st), 0);
    fd = vgr_listen(path, SOCK_STREAM, 0777, why, sizeof(why));
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(vgr_listen(path, SOCK_STREAM, 0777, why, sizeof(why)), -EEXIST);
    unlink(path);
    char long_path[200];
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(vgr_listen(long_path, SOCK_STREAM, 0777, why, sizeof(why)), -ENAMETOOLONG);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(worker_serves_the_arena),
        T(closing_ends_the_worker),
        T(any_further_message_ends_the_context),
        T(a_connection_sent_over_itself_ends),
        T(lines_about_contexts_are_limited),
        T(a_workers_last_words_come_before_its_end),
        T(death_of_the_worker_is_told),
        T(reason_of_the_worker_is_kept),
        T(a_full_line_does_not_block),
        T(sizes_outside_of_the_limits_are_told),
        T(descriptors_that_linger_do_not_block),
        cmocka_unit_test_setup_teardown(what_a_bridge_sends_over_its_line_does_not_block,
                                        setup_broker, teardown),
        T(the_end_does_not_wait_for_who_waits),
        T(an_out_of_band_byte_ends_the_connection),
        T(arena_that_could_shrink_is_refused),
        T(arena_smaller_than_said_is_refused),
        T(malformed_messages_end_the_connection),
        T(descriptors_of_a_refused_message_are_closed),
        T(line_must_be_a_socket),
        T(contexts_are_limited),
        T(an_endless_graph_is_told),
        T(the_end_waits_for_workers_in_spite_of_signals),
        T(live_socket_is_not_taken_over),
        T(stale_socket_is_replaced_and_files_are_not),
    };

    vgr_log_init("test", VGR_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
