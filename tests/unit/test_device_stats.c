/* SPDX-License-Identifier: MIT
 *
 * The responder behind --stats: what it answers, and what it does to clients that misbehave.
 */
#include "vgr_test.h"

#include "send_fds.h"
#include "test_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "device/listen.h"
#include "device/stats.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define MANY 600 /* contexts: an answer that no socket buffer takes at once */

struct fixture {
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_stats stats;
    char dir[32], path[64];
    struct vgr_counts_page *page; /* of all workers below */
    struct vgr_worker workers[MANY];
    char answer[4 << 20];
    size_t len;
};

static int setup(void **state)
{
    static struct fixture f;
    char why[256];
    int fd;

    memset(&f, 0, sizeof(f));
    vgr_log_init("test", VGR_LOG_ERROR);
    strcpy(f.dir, "/tmp/vgr-test-XXXXXX");
    if (!mkdtemp(f.dir) || vgr_loop_init(&f.loop))
        return -1;
    snprintf(f.path, sizeof(f.path), "%s/sock", f.dir);
    f.pool = (struct vgr_worker_pool){.loop = &f.loop, .limit = MANY, .opened = 9, .refused = 2};
    fd = vgr_listen(f.path, SOCK_STREAM, 0600, why, sizeof(why));
    if (fd < 0 || vgr_stats_init(&f.stats, &f.loop, &f.pool, fd, f.path))
        return -1;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_stats_finish(&f->stats);
    vgr_loop_finish(&f->loop);
    if (f->page)
        munmap(f->page, VGR_COUNTS_SIZE);
    if (f->pool.alive)
        close(f->workers[0].counts_fd);
    return rmdir(f->dir); /* the socket is gone */
}

/* Workers by hand, all with the same page. */
static void have_workers(struct fixture *f, unsigned n)
{
    int fd = memfd_create("counts", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, VGR_COUNTS_SIZE), 0);
    f->page = mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (unsigned i = 0; i < n; i++) {
        f->workers[i] = (struct vgr_worker){
            .pid = (pid_t)(1000 + i), .number = i + 1, .counts_fd = fd, .next = f->pool.first};
        f->pool.first = &f->workers[i];
    }
    f->pool.alive = n;
}

static int client(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    strcpy(addr.sun_path, f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, const void *text, size_t len)
{
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

/* Takes what has come. True once the other end has closed. */
static bool closed(struct fixture *f, int fd)
{
    for (;;) {
        ssize_t n = recv(fd, f->answer + f->len, sizeof(f->answer) - 1 - f->len, 0);

        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0) {
            f->answer[f->len] = '\0';
            return true;
        }
        f->len += (size_t)n;
    }
}

/* Waits for the whole answer and closes. */
static void hear(struct fixture *f, int fd)
{
    f->len = 0;
    UNTIL(f, closed(f, fd));
    close(fd);
}

/* The status of the answer, which must be whole. */
static int status(struct fixture *f)
{
    const char *body = strstr(f->answer, "\r\n\r\n"), *length;

    assert_int_equal(strncmp(f->answer, "HTTP/1.1 ", 9), 0);
    assert_non_null(body);
    length = strstr(f->answer, "\r\nContent-Length: ");
    assert_true(length && length < body);
    assert_int_equal(atoi(length + 18), f->answer + f->len - body - 4);
    assert_non_null(strstr(f->answer, "\r\nConnection: close\r\n"));
    return atoi(f->answer + 9);
}

static int ask(struct fixture *f, const char *request)
{
    int fd = client(f);

    say(fd, request, strlen(request));
    hear(f, fd);
    return status(f);
}

static void has(struct fixture *f, const char *text)
{
    if (!strstr(f->answer, text))
        fail_msg("'%s' is missing in:\n%s", text, f->answer);
}

/* ---- What is answered ---- */

static void both_formats_are_served(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\nHost: vgr\r\n\r\n"), 200);
    has(f, "\r\nContent-Type: text/plain; version=0.0.4");
    has(f, "\n# HELP vgr_contexts_opened_total ");
    has(f, "\n# TYPE vgr_contexts_opened_total counter\nvgr_contexts_opened_total 9\n");
    has(f, "\nvgr_contexts_refused_total 2\n");
    assert_null(strstr(f->answer, "context=\""));

    assert_int_equal(ask(f, "GET /stats HTTP/1.0\r\n\r\n"), 200);
    has(f, "\r\nContent-Type: application/json\r\n");
    has(f, "\"contexts_opened\": 9,");
    has(f, "\"contexts\": []\n}\n");
    assert_int_equal(f->stats.n_clients, 0);
}

static void requests_get_their_status(void **state)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 200},
        {"GET /stats.json HTTP/1.1\r\n\r\n", 200},
        {"GET /stats?pretty=1 HTTP/1.1\r\n\r\n", 200},
        {"GET /metrics HTTP/1.0\n\n", 200},
        {"GET /metrics HTTP/1.1\r\nAccept: a\r\nAccept: b\r\n\r\n", 200},
        {"GET /metrics HTTP/1.1\r\n\r\nand more that nobody reads", 200},
        {"GET /metrics/ HTTP/1.1\r\n\r\n", 404},
        {"GET /../stats HTTP/1.1\r\n\r\n", 404},
        {"GET //stats HTTP/1.1\r\n\r\n", 404},
        {"GET /%73tats HTTP/1.1\r\n\r\n", 404},
        {"GET /? HTTP/1.1\r\n\r\n", 200},
        {"GET http://vgr/stats HTTP/1.1\r\n\r\n", 400},
        {"GET stats HTTP/1.1\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\n\r\n", 400},
        {"GET  /stats HTTP/1.1\r\n\r\n", 400},
        {"GET /stats  HTTP/1.1\r\n\r\n", 400},
        {" GET /stats HTTP/1.1\r\n\r\n", 400},
        {"GET /stats\r\n\r\n", 400},
        {"GET\r\n\r\n", 400},
        {"\r\n\r\n", 400},
        {"\n\r\n", 400},
        {"GET /stats HTTP/1.1\r\r\n\r\n", 505},
        {"GET /stats HTTP/1.10\r\n\r\n", 505},
        {"GET /stats HTTP/2\r\n\r\n", 505},
        {"GET /stats FTP/1.1\r\n\r\n", 400},
        {"get /stats HTTP/1.1\r\n\r\n", 405},
        {"POST /stats HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405},
        {"HEAD /stats HTTP/1.1\r\n\r\n", 405},
    };
    struct fixture *f = *state;
    size_t n = sizeof(cases) / sizeof(cases[0]);

    for (size_t i = 0; i < n; i++) {
        int got = ask(f, cases[i].request);

        if (got != cases[i].status)
            fail_msg("%d instead of %d for: %s", got, cases[i].status, cases[i].request);
    }
    print_message("%zu requests\n", n);
}

static void a_nul_is_no_request(void **state)
{
    static const char request[] = "GET /stats\0 HTTP/1.1\r\n\r\n";
    struct fixture *f = *state;
    int fd = client(f);

    say(fd, request, sizeof(request) - 1);
    hear(f, fd);
    assert_int_equal(status(f), 400);
}

static void a_request_may_come_in_bytes(void **state)
{
    static const char request[] = "GET /stats HTTP/1.1\r\nHost: vgr\r\n\r\n";
    struct fixture *f = *state;
    int fd = client(f);

    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        say(fd, request + i, 1);
        vgr_loop_turn(&f->loop, 20);
        f->len = 0;
        if (i < sizeof(request) - 2)
            assert_false(closed(f, fd));
        assert_true(i == sizeof(request) - 2 || !f->len);
    }
    UNTIL(f, closed(f, fd));
    close(fd);
    assert_int_equal(status(f), 200);
}

/* ---- Bounds ---- */

static void request_lines_have_a_limit(void **state)
{
    struct fixture *f = *state;
    char line[2 * VGR_STATS_LINE];

    for (int over = 0; over < 2; over++) {
        size_t len = VGR_STATS_LINE - 1 + (size_t)over; /* with the CR, without the LF */

        memset(line, 'x', sizeof(line));
        memcpy(line, "GET /stats?", 11);
        memcpy(line + len - 10, " HTTP/1.1\r\n\r\n", 14);
        assert_int_equal(ask(f, line), over ? 414 : 200);
    }
    memset(line, 'x', sizeof(line));
    line[VGR_STATS_LINE] = '\0'; /* and its end never comes */
    assert_int_equal(ask(f, line), 414);
}

static void heads_have_a_limit(void **state)
{
    struct fixture *f = *state;
    static char head[VGR_STATS_HEAD + 1];

    for (int over = 0; over < 2; over++) {
        memset(head, 'x', sizeof(head));
        memcpy(head, "GET /stats HTTP/1.1\r\nX: ", 24);
        memcpy(head + VGR_STATS_HEAD - (over ? 3 : 4), "\r\n\r\n", over ? 3 : 4);
        head[VGR_STATS_HEAD] = '\0';
        assert_int_equal(ask(f, head), over ? 431 : 200);
    }
}

static void noise_gets_an_error(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 7, n = 0;
    char noise[1500];

    for (; n < 500; n++) {
        int fd = client(f);
        size_t len = 1 + (unsigned)rand_r(&seed) % (sizeof(noise) - 1);

        for (size_t i = 0; i < len; i++)
            noise[i] = "GET /stamrics HTTP/1.01\r\n\n\n \0?"[rand_r(&seed) % 31];
        say(fd, noise, len);
        shutdown(fd, SHUT_WR);
        hear(f, fd);
        if (f->len)
            assert_true(status(f) >= 200 && status(f) <= 505);
    }
    assert_int_equal(f->stats.n_clients, 0);
    print_message("%u times noise\n", n);
}

/* ---- Clients that do not do their part ---- */

static void a_silent_client_is_dropped(void **state)
{
    struct fixture *f = *state;
    uint64_t start = vgr_now_ms();
    int fd;

    f->stats.limit_ms = 100;
    fd = client(f);
    say(fd, "GET /sta", 8);
    hear(f, fd);
    assert_int_equal(f->len, 0);
    assert_true(vgr_now_ms() - start >= 100 && vgr_now_ms() - start < 4000);
    assert_int_equal(f->stats.n_clients, 0);
}

static void a_client_that_keeps_talking_is_dropped(void **state)
{
    struct fixture *f = *state;
    uint64_t start = vgr_now_ms();
    int fd;

    f->stats.limit_ms = 200;
    fd = client(f);
    say(fd, "GET /stats HTTP/1.1\r\nX: ", 24);
    f->len = 0;
    while (!closed(f, fd)) {
        assert_true(vgr_now_ms() - start < 4000);
        if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            break;
        usleep(2000); /* never as much as a head may have */
        vgr_loop_turn(&f->loop, 10);
    }
    close(fd);
    assert_int_equal(f->len, 0);
    UNTIL(f, !f->stats.n_clients);
}

static void a_client_that_does_not_read_is_dropped(void **state)
{
    struct fixture *f = *state;
    int fd;

    have_workers(f, MANY);
    f->stats.limit_ms = 200;
    fd = client(f);
    say(fd, "GET /metrics HTTP/1.0\r\n\r\n", 25);
    UNTIL(f, f->stats.n_clients == 1);
    UNTIL(f, f->stats.n_clients == 0);
    hear(f, fd); /* what the kernel kept of it */
    assert_true(f->len > 1000 && !strstr(f->answer, "vgr_fences_expired_total"));
}

static void a_slow_reader_gets_it_all(void **state)
{
    struct fixture *f = *state;
    unsigned pieces = 0;
    int fd;

    have_workers(f, MANY);
    fd = client(f);
    say(fd, "GET /metrics HTTP/1.0\r\n\r\n", 25);
    f->len = 0;
    for (bool end = false; !end; pieces++) {
        ssize_t n;

        vgr_loop_turn(&f->loop, 5);
        n = recv(fd, f->answer + f->len, 30000, 0);
        end = !n;
        f->len += n > 0 ? (size_t)n : 0;
    }
    f->answer[f->len] = '\0';
    close(fd);
    assert_int_equal(status(f), 200);
    has(f, "vgr_context_commands_total{context=\"600\"");
    assert_true(f->len > 512 << 10 && pieces > 20);
    print_message("%zu bytes in %u pieces\n", f->len, pieces);
}

static void clients_may_go_at_any_time(void **state)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    struct fixture *f = *state;
    unsigned n = 0;

    have_workers(f, MANY);
    for (size_t len = 0; len < sizeof(request); len += 4, n++) {
        int fd = client(f);

        if (len)
            say(fd, request, len);
        vgr_loop_turn(&f->loop, 20);
        close(fd);
        UNTIL(f, !f->stats.n_clients);
    }
    /* With the answer on its way. */
    for (int served = 0; served < 3; served++, n++) {
        int fd = client(f);

        say(fd, request, sizeof(request) - 1);
        for (int i = 0; i <= served; i++)
            vgr_loop_turn(&f->loop, 20);
        close(fd);
        UNTIL(f, !f->stats.n_clients);
    }
    print_message("%u clients gone\n", n);
    assert_int_equal(ask(f, "GET / HTTP/1.0\r\n\r\n"), 200);
}

static void one_client_too_many_waits(void **state)
{
    struct fixture *f = *state;
    int idle[VGR_STATS_CLIENTS], fd;

    for (unsigned i = 0; i < VGR_STATS_CLIENTS; i++)
        idle[i] = client(f);
    UNTIL(f, f->stats.n_clients == VGR_STATS_CLIENTS);
    fd = client(f);
    say(fd, "GET /stats HTTP/1.0\r\n\r\n", 23);
    for (int i = 0; i < 5; i++)
        vgr_loop_turn(&f->loop, 10);
    f->len = 0;
    assert_false(closed(f, fd));
    assert_int_equal(f->stats.n_clients, VGR_STATS_CLIENTS);
    close(idle[3]);
    hear(f, fd);
    assert_int_equal(status(f), 200);
    for (unsigned i = 0; i < VGR_STATS_CLIENTS; i++) {
        if (i != 3)
            close(idle[i]);
    }
    UNTIL(f, !f->stats.n_clients);
}

static void finishing_drops_clients(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    int fd = client(f);
    char byte;

    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    UNTIL(f, f->stats.n_clients == 1);
    vgr_stats_finish(&f->stats);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

/* Reading a request would close what came with it, for as long as that takes. */
static void descriptors_are_not_taken(void **state)
{
    struct fixture *f = *state;
    int c = client(f), supported = -1, fds[] = {c};
    socklen_t len = sizeof(supported);
    ssize_t n = send_fds(c, "x", 1, fds, 1); /* before it is accepted, too */

    if (!getsockopt(c, SOL_SOCKET, SO_PASSRIGHTS, &supported, &len)) {
        assert_int_equal(n, -1);
        assert_int_equal(errno, EPERM);
        UNTIL(f, f->stats.n_clients == 1);
        assert_int_equal(send_fds(c, "x", 1, fds, 1), -1);
        assert_int_equal(errno, EPERM);
    }
    close(c);
    vgr_loop_turn(&f->loop, 50);
    UNTIL(f, !f->stats.n_clients);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(both_formats_are_served),
        T(requests_get_their_status),
        T(a_nul_is_no_request),
        T(a_request_may_come_in_bytes),
        T(request_lines_have_a_limit),
        T(heads_have_a_limit),
        T(noise_gets_an_error),
        T(a_silent_client_is_dropped),
        T(a_client_that_keeps_talking_is_dropped),
        T(a_client_that_does_not_read_is_dropped),
        T(a_slow_reader_gets_it_all),
        T(clients_may_go_at_any_time),
        T(one_client_too_many_waits),
        T(finishing_drops_clients),
        T(descriptors_are_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
