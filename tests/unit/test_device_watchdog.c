/* SPDX-License-Identifier: MIT
 *
 * The limit of time for a graph, with real worker processes whose pages say what the test wants.
 */
#include "vgr_test.h"

#include "test_loop.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/line.h"
#include "common/log.h"
#include "device/watchdog.h"

#define ARENA   (1u << 20)
#define LIMIT   100u /* ms */
#define WORKERS 2

struct fixture {
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_watchdog dog;
    struct vgr_worker worker[WORKERS];
    struct vgr_counts_page *page[WORKERS];
    int line, workers;
};

static unsigned n_overdue, n_told, n_gone;
static const struct vgr_worker *last_overdue;

static void tell(struct vgr_worker *w)
{
    assert_int_not_equal(w->over_limit[0], '\0');
    n_told++;
}

static void exited(struct vgr_worker *w, const char *why)
{
    n_gone++;
    if (w->over_limit[0]) {
        n_overdue++;
        last_overdue = w;
    }
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    vgr_log_init("test", VGR_LOG_ERROR);
    n_overdue = n_told = n_gone = 0;
    assert_int_equal(vgr_line_make(&f.line, &f.workers), 0);
    f.pool = (struct vgr_worker_pool){.loop = &f.loop, .path = VGR_FAKE_WORKER, .limit = WORKERS};
    *state = &f;
    vgr_watchdog_init(&f.dog, &f.loop, &f.pool, LIMIT);
    return vgr_loop_init(&f.loop);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < WORKERS; i++) {
        if (f->page[i])
            munmap(f->page[i], VGR_COUNTS_SIZE);
    }
    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_watchdog_finish(&f->dog);
    close(f->line);
    close(f->workers);
    vgr_loop_finish(&f->loop);
    return 0;
}

static void start(struct fixture *f, int i)
{
    struct vgr_boot_run run = {.length = ARENA};
    struct vgr_worker_job job = {.line = f->workers};

    job.arena = (struct vgr_arena){.size = ARENA, .n_files = 1, .runs = &run, .n_runs = 1};
    job.arena.files[0] = memfd_create("arena", MFD_CLOEXEC);
    assert_int_equal(ftruncate(job.arena.files[0], ARENA), 0);
    assert_int_equal(vgr_worker_start(&f->pool, &f->worker[i], &job, exited), 0);
    close(job.arena.files[0]);
    f->worker[i].tell = tell;
    f->page[i] =
        mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->worker[i].counts_fd, 0);
    assert_true(f->page[i] != MAP_FAILED);
    UNTIL(f, vgr_line_take(f->line) > 0);
}

static void compute(struct fixture *f, int i, uint32_t graphs)
{
    vgr_counts_in_flight(f->page[i], graphs);
    vgr_counts_begin(f->page[i], VGR_COUNTER_COMPUTING);
}

static void serve_for(struct fixture *f, uint64_t ms)
{
    uint64_t end = vgr_now_ms() + ms;

    while (vgr_now_ms() < end)
        vgr_loop_turn(&f->loop, 10);
}

/* Serves until the worker is overdue; how long it took. */
static uint64_t wait_overdue(struct fixture *f)
{
    uint64_t begin = vgr_now_ms();

    UNTIL(f, n_overdue);
    return vgr_now_ms() - begin;
}

static void a_graph_that_runs_on_is_ended_in_time(void **state)
{
    struct fixture *f = *state;
    uint64_t took;

    start(f, 0);
    serve_for(f, LIMIT / 2);
    compute(f, 0, 1);
    took = wait_overdue(f);
    assert_true(took >= LIMIT - 1);
    if (took > LIMIT + LIMIT / 2)
        print_message("after %llu ms: a crowded machine?\n", (unsigned long long)took);
    assert_string_equal(f->worker[0].over_limit, "a graph ran longer than the host's limit of 0.1 s");
    assert_int_equal(n_told, 0); /* it is gone, and its owner knows */
    assert_int_equal(f->pool.timed_out, 1);
    assert_int_equal(f->pool.failed, 0);
}

static void short_graphs_and_idle_workers_are_left_alone(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    start(f, 1); /* idle */
    for (int i = 0; i < 30; i++) {
        compute(f, 0, 1);
        serve_for(f, LIMIT / 5);
        vgr_counts_end(f->page[0], VGR_COUNTER_COMPUTING);
        vgr_counts_in_flight(f->page[0], 0);
    }
    assert_int_equal(n_overdue, 0);
    assert_int_equal(f->pool.alive, 2);
}

static void only_the_guilty_ends(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    start(f, 1);
    compute(f, 1, 1);
    wait_overdue(f);
    assert_ptr_equal(last_overdue, &f->worker[1]);
    serve_for(f, 2 * LIMIT);
    assert_int_equal(n_overdue, 1);
    assert_int_equal(f->pool.alive, 1);
    compute(f, 0, 1); /* and the other is still watched */
    n_overdue = 0;
    wait_overdue(f);
    assert_ptr_equal(last_overdue, &f->worker[0]);
}

static void each_graph_in_flight_has_its_time(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    compute(f, 0, 4);
    assert_true(wait_overdue(f) >= 4 * LIMIT - 1);
}

static void each_queue_is_watched(void **state)
{
    struct fixture *f = *state;
    struct vgr_counts_page *further;

    start(f, 0);
    further = f->page[0] + 3;
    vgr_counts_in_flight(further, 1);
    vgr_counts_begin(further, VGR_COUNTER_COMPUTING);
    serve_for(f, 2 * LIMIT);
    assert_int_equal(n_overdue, 0); /* there is no such queue yet */
    vgr_counts_begin(further, VGR_COUNTER_COMPUTING);
    f->page[0]->queues = 1u << 3;
    /* Neither short graphs in the first queue nor its idleness hide the long one. */
    for (int i = 0; i < 30 && !n_overdue; i++) {
        compute(f, 0, 1);
        serve_for(f, LIMIT / 5);
        vgr_counts_end(f->page[0], VGR_COUNTER_COMPUTING);
    }
    assert_int_equal(n_overdue, 1);
}

static void a_page_cannot_ask_for_ever(void **state)
{
    struct fixture *f = *state;

    start(f, 0);
    compute(f, 0, UINT32_MAX);
    f->page[0]->since[VGR_COUNTER_COMPUTING] -= VGR_COUNTS_MAX_IN_FLIGHT * LIMIT * 1000000ull;
    wait_overdue(f);
    n_overdue = 0;
    start(f, 1);
    f->page[1]->since[VGR_COUNTER_COMPUTING] = UINT64_MAX; /* it has not begun yet, then */
    serve_for(f, 3 * LIMIT);
    assert_int_equal(n_overdue, 0);
}

/* A process that does not die, as one in a driver that hangs: its end is not learnt here. */
static void one_that_does_not_die_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    uint64_t begin;

    start(f, 0);
    assert_int_equal(epoll_ctl(f->loop.epoll_fd, EPOLL_CTL_DEL, f->worker[0].watch.fd, NULL), 0);
    compute(f, 0, 1);
    begin = vgr_now_ms();
    UNTIL(f, n_told);
    assert_true(vgr_now_ms() - begin >= LIMIT + VGR_WATCHDOG_GRACE_MS - 1);
    serve_for(f, VGR_WATCHDOG_GRACE_MS + 2 * LIMIT);
    assert_int_equal(n_told, 1);
    assert_int_equal(f->pool.timed_out, 1);
    assert_int_equal(n_gone, 0);
}

static void nobody_looks_where_nobody_works(void **state)
{
    struct fixture *f = *state;

    assert_false(vgr_timer_runs(&f->dog.timer));
    start(f, 0);
    assert_true(vgr_timer_runs(&f->dog.timer));
    vgr_worker_kill(&f->worker[0]);
    UNTIL(f, n_gone && !vgr_timer_runs(&f->dog.timer));
    start(f, 1);
    assert_true(vgr_timer_runs(&f->dog.timer));
}

static struct vgr_worker many[100];

/* A page of counters in a file, for workers that the test plays. */
static struct vgr_counts_page *make_page(int *fd)
{
    struct vgr_counts_page *page;

    *fd = memfd_create("counts", MFD_CLOEXEC);
    assert_int_equal(ftruncate(*fd, VGR_COUNTS_SIZE), 0);
    page = mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    assert_true(page != MAP_FAILED);
    return page;
}

/* All say that they compute in as many queues as there can be; only the oldest, the last that is looked at,
 * does so for too long. */
static void many_workers_are_looked_at_in_several_turns(void **state)
{
    const unsigned n = sizeof(many) / sizeof(many[0]);
    struct fixture *f = *state;
    struct vgr_counts_page *page[2];
    int fd[2];

    for (int i = 0; i < 2; i++) {
        page[i] = make_page(&fd[i]);
        page[i]->queues = UINT32_MAX;
        for (unsigned q = 0; q < VGR_COUNTS_QUEUES; q++)
            page[i][q].since[VGR_COUNTER_COMPUTING] = i ? vgr_counts_now() + 1000000000 : 1;
    }
    for (unsigned i = 0; i < n; i++)
        many[i] = (struct vgr_worker){.pool = &f->pool,
                                      .watch.fd = -1,
                                      .pid = 1, /* there is no pidfd to signal it by */
                                      .number = i + 1,
                                      .counts_fd = fd[i > 0],
                                      .next = i ? &many[i - 1] : NULL};
    f->pool.first = &many[n - 1];
    f->pool.alive = n;
    vgr_watchdog_started(&f->dog);
    UNTIL(f, f->pool.timed_out);
    f->pool.first = NULL;
    f->pool.alive = 0;

    assert_int_equal(f->pool.timed_out, 1);
    assert_true(many[0].killed);
    assert_true(f->loop.record.turns >= n / VGR_WATCHDOG_TURN);
    assert_true(f->loop.record.most[VGR_WORK_CALLS] <=
                1 + VGR_WATCHDOG_TURN * (1 + 3 * VGR_COUNTS_QUEUES));
    for (int i = 0; i < 2; i++) {
        munmap(page[i], VGR_COUNTS_SIZE);
        close(fd[i]);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_graph_that_runs_on_is_ended_in_time),
        T(short_graphs_and_idle_workers_are_left_alone),
        T(only_the_guilty_ends),
        T(each_graph_in_flight_has_its_time),
        T(each_queue_is_watched),
        T(a_page_cannot_ask_for_ever),
        T(one_that_does_not_die_is_not_waited_for),
        T(nobody_looks_where_nobody_works),
        T(many_workers_are_looked_at_in_several_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
