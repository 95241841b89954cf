/* SPDX-License-Identifier: MIT
 *
 * test_device_discard.c - connections closed by the loop, by a process, and at the end of a program whose
 * signals come all the time.
 */
#include "vgr_test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "common/fds.h"
#include "device/discard.h"
#include "holdings.h"
#include "lingering.h"
#include "test_loop.h"

struct fixture {
    struct vgr_loop loop;
    struct vgr_discard discard;
    int pair[2]; /* the second is the client's */
    int peer;    /* of a descriptor that lingers, -1 */
    unsigned fds;
    unsigned done;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    f->peer = -1;
    assert_int_equal(vgr_loop_init(&f->loop), 0);
    f->fds = count_fds();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close(f->pair[1]);
    if (f->peer >= 0)
        close(f->peer);
    assert_int_equal(count_fds(), f->fds);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* not even a zombie */
    assert_int_equal(errno, ECHILD);
    vgr_loop_finish(&f->loop);
    free(f);
    return 0;
}

static void send_lingering(struct fixture *f)
{
    int fd = lingering_socket(&f->peer);

    assert_int_equal(vgr_fds_send(f->pair[1], "x", 1, &fd, 1, 0), 1);
    close(fd); /* not the last: it lies in the queue */
}

static void done(struct vgr_discard *d)
{
    vgr_container_of(d, struct fixture, discard)->done++;
}

static void what_is_empty_is_closed_at_once(void **state)
{
    struct fixture *f = *state;

    assert_true(vgr_discard(&f->discard, &f->loop, f->pair[0], done));
    assert_false(vgr_discard_busy(&f->discard));
    assert_int_equal(f->done, 0);
    assert_int_equal(f->loop.work[VGR_WORK_PROCESSES], 0);
}

static void what_lingers_is_closed_by_a_process(void **state)
{
    struct fixture *f = *state;
    ssize_t n;
    char byte;

    send_lingering(f);
    assert_false(vgr_discard(&f->discard, &f->loop, f->pair[0], done));
    assert_true(vgr_discard_busy(&f->discard));
    assert_int_equal(f->loop.work[VGR_WORK_PROCESSES], 1);
    n = recv(f->pair[1], &byte, 1,
             MSG_DONTWAIT); /* it is told now; reset: the process has begun to close */
    assert_true(!n || (n < 0 && errno == ECONNRESET));
    close(f->peer); /* its close ends */
    f->peer = -1;
    UNTIL(f, f->done);
    assert_int_equal(f->done, 1);
    assert_false(vgr_discard_busy(&f->discard));
}

static void the_end_of_the_program_waits_for_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f->pair[1], "x", 1, 0), 1);
    assert_false(vgr_discard(&f->discard, &f->loop, f->pair[0], done));
    vgr_discard_finish(&f->discard);
    vgr_discard_finish(&f->discard);
    assert_int_equal(f->done, 0);
}

static void tick(int sig)
{
}

static void signals_do_not_end_that_wait(void **state)
{
    struct fixture *f = *state;
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};

    signal(SIGALRM, tick);
    for (int i = 0; i < 50; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(send(pair[1], "x", 1, 0), 1);
        setitimer(ITIMER_REAL, &often, NULL);
        vgr_discard_last(pair[0]);
        setitimer(ITIMER_REAL, &never, NULL);
        close(pair[1]);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    close(f->pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_empty_is_closed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_lingers_is_closed_by_a_process, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_the_program_waits_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_do_not_end_that_wait, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
