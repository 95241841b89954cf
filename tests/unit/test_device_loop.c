/* SPDX-License-Identifier: MIT
 *
 * The event loop: watches that are removed while their events are served, and timers.
 */
#include "vgr_test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "device/loop.h"

#define N 4

static struct fixture {
    struct vgr_loop loop;
    struct vgr_timer timer[N];
    struct vgr_watch watch[N];
    struct vgr_again again[N];
    enum vgr_work kind; /* charged by each callback below */
    uint64_t charge;
    char order[32]; /* of what was called */
    struct vgr_timer *stopped;
    uint32_t again_ms;
} f;

static int setup(void **state)
{
    memset(&f, 0, sizeof(f));
    *state = &f;
    return vgr_loop_init(&f.loop);
}

static int teardown(void **state)
{
    vgr_loop_finish(&f.loop);
    return 0;
}

static void note(char c)
{
    size_t n = strlen(f.order);

    assert_true(n + 1 < sizeof(f.order));
    f.order[n] = c;
}

static void ended(struct vgr_timer *t)
{
    assert_false(vgr_timer_runs(t));
    note((char)('0' + (t - f.timer)));
    if (f.stopped)
        vgr_timer_stop(f.stopped);
    if (f.again_ms)
        vgr_timer_set(&f.loop, t, f.again_ms, ended);
}

static void set(unsigned i, uint32_t ms)
{
    vgr_timer_set(&f.loop, &f.timer[i], ms, ended);
    assert_true(vgr_timer_runs(&f.timer[i]));
}

/* Turns until `n` calls were noted. */
static void until(size_t n)
{
    uint64_t end = vgr_now_ms() + 5000;

    while (strlen(f.order) < n) {
        assert_true(vgr_now_ms() < end);
        assert_int_equal(vgr_loop_turn(&f.loop, 50), 0);
    }
}

static void timers_end_in_the_order_of_their_ends(void **state)
{
    set(0, 30);
    set(1, 10);
    set(2, 20);
    set(3, 20);
    until(4);
    assert_string_equal(f.order, "1230");
    assert_null(f.loop.first);
    assert_null(f.loop.last);
}

static void timer_does_not_end_early(void **state)
{
    for (int i = 0; i < 20; i++) {
        struct timespec a, b;

        memset(f.order, 0, sizeof(f.order));
        clock_gettime(CLOCK_MONOTONIC, &a);
        set(0, 5);
        until(1);
        clock_gettime(CLOCK_MONOTONIC, &b);
        assert_true((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 5000000);
    }
}

static void timer_is_set_anew_and_stopped(void **state)
{
    set(0, 10000);
    set(1, 30);
    set(2, 10000);
    set(2, 10);
    set(1, 40);
    vgr_timer_stop(&f.timer[0]);
    vgr_timer_stop(&f.timer[0]);
    until(2);
    assert_string_equal(f.order, "21");
    assert_null(f.loop.first);
}

static void timer_stops_another_that_is_due(void **state)
{
    set(0, 1);
    set(1, 1);
    set(2, 1);
    f.stopped = &f.timer[1];
    usleep(5000);
    until(2);
    assert_string_equal(f.order, "02");
}

/* One that always sets itself again keeps neither the others nor events from their turns. */
static void eager_timer_keeps_nobody_out(void **state)
{
    f.again_ms = 1;
    set(0, 0);
    set(1, 0);
    usleep(3000);
    assert_int_equal(vgr_loop_turn(&f.loop, 0), 0);
    assert_string_equal(f.order, "01");
}

static void turn_waits_no_longer_than_told(void **state)
{
    uint64_t begin = vgr_now_ms();

    set(0, 100000);
    assert_int_equal(vgr_loop_turn(&f.loop, 10), 0);
    assert_string_equal(f.order, "");
    assert_true(vgr_now_ms() - begin < 50000);
    vgr_timer_stop(&f.timer[0]);
}

static void watch_ready(struct vgr_watch *w, uint32_t events)
{
    vgr_event_read(w->fd);
    note((char)('a' + (w - f.watch)));
    for (int i = 0; i < N; i++)
        vgr_loop_close(&f.loop, &f.watch[i]);
    f.loop.stop = true;
}

static void removed_watch_and_timer_are_not_called(void **state)
{
    for (int i = 0; i < N; i++)
        assert_int_equal(vgr_loop_add(&f.loop, &f.watch[i], eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
                                      EPOLLIN, watch_ready),
                         0);
    set(0, 0);
    usleep(3000);
    assert_int_equal(vgr_loop_run(&f.loop), 0);
    assert_int_equal(strlen(f.order), 1); /* one watch; and a loop that is stopped ends no timers */
    for (int i = 0; i < N; i++)
        assert_int_equal(f.watch[i].fd, -1);
}

/* ---- Turns ---- */

static void event(struct vgr_watch *w, uint32_t events)
{
    vgr_event_read(w->fd);
    note((char)('a' + (w - f.watch)));
    vgr_loop_charge(&f.loop, f.kind, f.charge);
}

/* Descriptors that are ready, told once as those of clients may be. */
static void watch_all(void)
{
    for (int i = 0; i < N; i++)
        assert_int_equal(vgr_loop_add(&f.loop, &f.watch[i], eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
                                      EPOLLIN | EPOLLET, event),
                         0);
}

static void close_all(void)
{
    for (int i = 0; i < N; i++)
        vgr_loop_close(&f.loop, &f.watch[i]);
}

static void turn_gives(const char *order)
{
    memset(f.order, 0, sizeof(f.order));
    assert_int_equal(vgr_loop_turn(&f.loop, 0), 0);
    assert_string_equal(f.order, order);
}

static void turn_that_has_done_enough_ends(void **state)
{
    f.kind = VGR_WORK_ENTRIES;
    f.charge = VGR_LOOP_TURN_UNITS;
    watch_all();
    for (int i = 0; i < N; i++)
        turn_gives((const char *[]){"a", "b", "c", "d"}[i]);
    turn_gives("");
    assert_int_equal(f.loop.record.turns, N + 1);
    assert_int_equal(f.loop.record.most[VGR_WORK_CALLS], 1);
    assert_uint_in_range(f.loop.record.most[VGR_WORK_ENTRIES], f.charge, f.charge + N);
    close_all();
}

static void every_kind_of_work_counts(void **state)
{
    const uint64_t enough[VGR_WORK_KINDS] = {
        VGR_LOOP_TURN_UNITS,
        (uint64_t)VGR_LOOP_TURN_UNITS * VGR_WORK_BYTES_A_UNIT,
        VGR_LOOP_TURN_UNITS / VGR_WORK_UNITS_A_CALL,
        VGR_LOOP_TURN_UNITS / VGR_WORK_UNITS_A_PROCESS,
    };

    for (f.kind = 0; f.kind < VGR_WORK_KINDS; f.kind++) {
        f.charge = enough[f.kind];
        watch_all();
        turn_gives("a");
        assert_uint_in_range(f.loop.record.most[f.kind], f.charge, f.charge + N);
        assert_uint_in_range(f.loop.record.most_units, VGR_LOOP_TURN_UNITS,
                             VGR_LOOP_TURN_UNITS + 100);
        close_all();
    }
}

/* What is left of a turn comes first in the next, and once, though epoll tells it again. */
static void what_is_left_is_served_once(void **state)
{
    f.charge = VGR_LOOP_TURN_UNITS;
    for (int i = 0; i < N; i++)
        assert_int_equal(vgr_loop_add(&f.loop, &f.watch[i], eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
                                      EPOLLIN, event),
                         0);
    turn_gives("a");
    vgr_event_signal(f.watch[0].fd); /* is behind the others */
    vgr_loop_close(&f.loop, &f.watch[2]);
    turn_gives("b");
    turn_gives("d");
    turn_gives("a");
    turn_gives("");
    close_all();
}

static void go_on(struct vgr_again *a)
{
    assert_null(a->loop);
    note((char)('A' + (a - f.again)));
    vgr_loop_charge(&f.loop, f.kind, f.charge);
    if (f.again_ms)
        vgr_loop_again(&f.loop, a, go_on);
}

/* Each is called once a turn, as long as the turn is not used up. */
static void one_that_is_not_done_goes_on_in_the_next_turn(void **state)
{
    f.again_ms = 1;
    for (int i = 0; i < 3; i++)
        vgr_loop_again(&f.loop, &f.again[i], go_on);
    vgr_loop_again(&f.loop, &f.again[0], go_on);
    vgr_again_stop(&f.again[1]);
    vgr_again_stop(&f.again[1]);
    turn_gives("AC");
    turn_gives("AC");
    f.again_ms = 0;
    turn_gives("AC");
    turn_gives("");
    assert_null(f.loop.waiting);
}

/* Where each uses up a turn, one is served in each: events, timers and those that are not done by turns. */
static void each_kind_has_its_turn(void **state)
{
    f.charge = VGR_LOOP_TURN_UNITS;
    f.again_ms = 1;
    vgr_loop_again(&f.loop, &f.again[0], go_on);
    vgr_loop_again(&f.loop, &f.again[1], go_on);
    watch_all();
    set(0, 0);
    usleep(3000);
    turn_gives("a");
    turn_gives("0A");
    turn_gives("b");
    usleep(3000);
    turn_gives("0B");
    f.again_ms = 0;
    turn_gives("c");
    usleep(3000);
    turn_gives("0A");
    turn_gives("d");
    turn_gives("B");
    turn_gives("");
    assert_null(f.loop.waiting);
    close_all();
}

static unsigned n_served;

static void count(struct vgr_watch *w, uint32_t events)
{
    vgr_event_read(w->fd);
    n_served++;
    vgr_loop_charge(&f.loop, f.kind, f.charge);
}

/* A turn that another kind uses up leaves as many events as the loop has room for: there is nothing to ask epoll
 * for then, and it would take that for an error. */
static void events_that_fill_the_loop_wait_for_their_turn(void **state)
{
    struct vgr_watch watch[VGR_LOOP_BATCH + 2];
    const unsigned n = VGR_LOOP_BATCH + 2;

    n_served = 0;
    f.charge = VGR_LOOP_TURN_UNITS;
    f.again_ms = 1;
    vgr_loop_again(&f.loop, &f.again[0], go_on);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(vgr_loop_add(&f.loop, &watch[i], eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
                                      EPOLLIN | EPOLLET, count),
                         0);
    for (unsigned i = 0; i < n; i++) {
        turn_gives("");
        assert_int_equal(n_served, i + 1);
        turn_gives("A");
        assert_int_equal(n_served, i + 1);
    }
    for (unsigned i = 0; i < n; i++)
        vgr_loop_close(&f.loop, &watch[i]);
}

static void nobody_waits_while_somebody_is_not_done(void **state)
{
    vgr_loop_again(&f.loop, &f.again[0], go_on);
    assert_int_equal(vgr_loop_turn(&f.loop, -1), 0);
    assert_string_equal(f.order, "A");
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(timers_end_in_the_order_of_their_ends),
        T(timer_does_not_end_early),
        T(timer_is_set_anew_and_stopped),
        T(timer_stops_another_that_is_due),
        T(eager_timer_keeps_nobody_out),
        T(turn_waits_no_longer_than_told),
        T(removed_watch_and_timer_are_not_called),
        T(turn_that_has_done_enough_ends),
        T(every_kind_of_work_counts),
        T(what_is_left_is_served_once),
        T(one_that_is_not_done_goes_on_in_the_next_turn),
        T(each_kind_has_its_turn),
        T(events_that_fill_the_loop_wait_for_their_turn),
        T(nobody_waits_while_somebody_is_not_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
