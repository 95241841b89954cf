/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static int log_pipe[2], real_stderr;

static int setup(void **state)
{
    if (pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK))
        return -1;
    /* The writing end as a daemon gets it. */
    fcntl(log_pipe[1], F_SETFL, 0);
    real_stderr = dup(STDERR_FILENO);
    vgr_log_init("test", VGR_LOG_INFO);
    return dup2(log_pipe[1], STDERR_FILENO) < 0;
}

static int teardown(void **state)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(log_pipe[0]);
    close(log_pipe[1]);
    return 0;
}

/* The lines that are in the pipe; the last one in last[256]. */
static unsigned read_lines(char *last)
{
    char c, line[256];
    unsigned n = 0, at = 0;

    while (read(log_pipe[0], &c, 1) == 1) {
        if (c != '\n') {
            line[at++ % sizeof(line)] = c;
            continue;
        }
        line[at % sizeof(line)] = '\0';
        strcpy(last, line);
        at = 0;
        n++;
    }
    return n;
}

static void line_has_prefix_and_level(void **state)
{
    char last[256];

    vgr_warn("number %d", 7);
    vgr_debug("not written");
    assert_int_equal(read_lines(last), 1);
    assert_string_equal(last, "test: warning: number 7");
}

static void full_pipe_does_not_block(void **state)
{
    char last[256];
    unsigned n;

    alarm(20);
    for (int i = 0; i < 20000; i++)
        vgr_info("a line that nobody reads, number %d", i);
    alarm(0);
    n = read_lines(last);
    assert_uint_in_range(n, 100, 19999);
    /* And once somebody reads again there are whole lines. */
    vgr_info("here");
    assert_int_equal(read_lines(last), 1);
    assert_string_equal(last, "test: here");
}

static void provoked_lines_are_limited(void **state)
{
    struct vgr_log_limit limit = {0}, other = {0};
    char last[256];

    for (int i = 0; i < 1000; i++)
        vgr_log_often(&limit, VGR_LOG_DEBUG, "not written, so it takes no other line's place");
    for (int i = 0; i < 1000; i++)
        vgr_log_often(&limit, VGR_LOG_WARN, "number %d", i);
    assert_int_equal(read_lines(last), VGR_LOG_BURST);
    vgr_log_often(&other, VGR_LOG_WARN, "of another kind");
    assert_int_equal(read_lines(last), 1);
    limit.since_ms -= VGR_LOG_WINDOW_MS;
    vgr_log_often(&limit, VGR_LOG_WARN, "again");
    assert_int_equal(read_lines(last), 2);
    assert_string_equal(last, "test: warning: again");
    assert_int_equal(limit.left_out, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(line_has_prefix_and_level),
        T(full_pipe_does_not_block),
        T(provoked_lines_are_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
