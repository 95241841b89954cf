/* SPDX-License-Identifier: MIT
 *
 * The line: whatever one end does to it, the other end's calls return.
 */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/line.h"

struct fixture {
    int ours, workers;
};

static int setup(void **state)
{
    static struct fixture f;

    *state = &f;
    return vgr_line_make(&f.ours, &f.workers);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close(f->ours);
    close(f->workers);
    return 0;
}

/* Either end, in turn. */
static void rings_are_taken_one_by_one(void **state)
{
    struct fixture *f = *state;
    const int ends[2] = {f->ours, f->workers};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(vgr_line_take(ends[!i]), 0);
        for (int n = 0; n < 3; n++)
            vgr_line_ring(ends[i]);
        for (int n = 0; n < 3; n++)
            assert_int_equal(vgr_line_take(ends[!i]), 1);
        assert_int_equal(vgr_line_take(ends[!i]), 0);
        assert_int_equal(vgr_line_take(ends[i]), 0);
    }
}

static void fill(int end)
{
    char bytes[4096] = {0};

    while (send(end, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
    while (send(end, bytes, 1, MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
}

/* A worker decides how much it costs to take one. */
static void few_wake_ups_lie_in_a_line(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;

    while (send(f->workers, "", 1, MSG_DONTWAIT) == 1)
        n++;
    assert_int_equal(errno, EAGAIN);
    assert_true(n >= 2 && n <= 16);
}

static void a_full_line_holds_nobody_up(void **state)
{
    struct fixture *f = *state;

    fill(f->ours);
    fill(f->workers);
    vgr_line_ring(f->ours);
    vgr_line_ring(f->workers);
    while (vgr_line_take(f->ours) > 0) {
    }
    vgr_line_ring(f->workers);
    assert_int_equal(vgr_line_take(f->ours), 1);
}

/* The worker clears every flag that it can reach, on a line that is full in one direction and empty in the
 * other: an eventfd's next write, or its next read, would wait for ever. */
static void flags_of_the_other_end_do_not_matter(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fcntl(f->workers, F_SETFL, 0), 0);
    assert_true(fcntl(f->ours, F_GETFL) & O_NONBLOCK);
    fill(f->ours);
    vgr_line_ring(f->ours);
    assert_int_equal(vgr_line_take(f->ours), 0);
    /* Not even our own. */
    assert_int_equal(fcntl(f->ours, F_SETFL, 0), 0);
    vgr_line_ring(f->ours);
    assert_int_equal(vgr_line_take(f->ours), 0);
}

/* Without a signal. */
static void a_closed_end_is_told(void **state)
{
    struct fixture *f = *state;

    vgr_line_ring(f->workers);
    assert_int_equal(shutdown(f->workers, SHUT_RDWR), 0);
    vgr_line_ring(f->ours);
    assert_int_equal(vgr_line_take(f->ours), 1);
    assert_int_equal(vgr_line_take(f->ours), -EPIPE);
    close(f->workers);
    vgr_line_ring(f->ours);
    assert_true(vgr_line_take(f->ours) < 0);
    f->workers = -1;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rings_are_taken_one_by_one),  T(few_wake_ups_lie_in_a_line),
        T(a_full_line_holds_nobody_up), T(flags_of_the_other_end_do_not_matter),
        T(a_closed_end_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
