/* SPDX-License-Identifier: MIT
 *
 * Messages with descriptors: what arrives, what is closed, what is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fds.h"
#include "holdings.h"
#include "vgr_test.h"

static int pair[2];

static int setup(void **state)
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int teardown(void **state)
{
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static void descriptors_arrive_behind_those_that_are_there(void **state)
{
    int fd = eventfd(7, EFD_CLOEXEC), fds[4] = {-1}, flags = MSG_DONTWAIT;
    unsigned n = 1;
    uint64_t value = 0;
    char text[8];

    assert_int_equal(vgr_fds_send(pair[0], "hello", 5, &fd, 1, 0), 5);
    assert_int_equal(vgr_fds_receive(pair[1], text, sizeof(text), fds, 4, &n, &flags), 5);
    assert_int_equal(n, 2);
    assert_int_equal(fds[0], -1);
    assert_int_equal(flags & (MSG_TRUNC | MSG_CTRUNC), 0);
    assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
    assert_int_equal(read(fds[1], &value, sizeof(value)), sizeof(value));
    assert_int_equal(value, 7);
    close(fds[1]);
    close(fd);
}

static void what_does_not_fit_is_closed_and_told(void **state)
{
    static const unsigned sent[] = {3, VGR_FDS_MAX};
    int fds[VGR_FDS_MAX], got[2];
    unsigned before;
    char byte;

    for (unsigned i = 0; i < VGR_FDS_MAX; i++)
        fds[i] = pair[1];
    before = count_fds();
    for (unsigned i = 0; i < 2; i++) {
        int flags = MSG_DONTWAIT;
        unsigned n = 0;

        assert_int_equal(vgr_fds_send(pair[0], "x", 1, fds, sent[i], 0), 1);
        assert_int_equal(vgr_fds_receive(pair[1], &byte, 1, got, 2, &n, &flags), 1);
        assert_int_equal(n, 2);
        assert_true(flags & MSG_CTRUNC);
        assert_int_equal(count_fds(), before + 2);
        close(got[0]);
        close(got[1]);
    }
    assert_int_equal(vgr_fds_send(pair[0], "x", 1, fds, VGR_FDS_MAX + 1, 0), -E2BIG);
}

static void plain_messages_and_none(void **state)
{
    int fd, flags = MSG_DONTWAIT;
    unsigned n = 0;
    char text[2];

    assert_int_equal(vgr_fds_receive(pair[1], text, 2, &fd, 1, &n, &flags), -EAGAIN);
    assert_int_equal(vgr_fds_send(pair[0], "long", 4, NULL, 0, 0), 4);
    assert_int_equal(vgr_fds_receive(pair[1], text, 2, &fd, 1, &n, &flags), 2);
    assert_true(flags & MSG_TRUNC);
    assert_int_equal(n, 0);
    close(pair[1]);
    assert_int_equal(vgr_fds_send(pair[0], "x", 1, NULL, 0, 0), -EPIPE);
    pair[1] = -1;
}

/* In a process of its own, since it is about what this one reports with. */
static void closed_ones_of_the_first_three_are_opened(void **state)
{
    for (unsigned open_ones = 0; open_ones < 8; open_ones++) {
        pid_t pid = fork();
        int status;

        if (!pid) {
            int fd = eventfd(7, EFD_CLOEXEC);

            for (int i = 0; i < 3; i++) {
                if (open_ones >> i & 1)
                    dup2(fd, i);
                else
                    close(i);
            }
            if (vgr_fds_standard() || vgr_fds_standard())
                _exit(1);
            /* Those that were there are as they were; nothing else is open. */
            for (int i = 0; i < 3; i++) {
                struct stat st;
                bool null = !fstat(i, &st) && S_ISCHR(st.st_mode) && !fcntl(i, F_GETFD);

                if (null == (bool)(open_ones >> i & 1))
                    _exit(2);
            }
            close(fd);
            _exit(dup(0) == fd ? 0 : 3);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(descriptors_arrive_behind_those_that_are_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_closed_and_told, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_messages_and_none, setup, teardown),
        cmocka_unit_test(closed_ones_of_the_first_three_are_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
