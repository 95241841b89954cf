/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <fcntl.h>
#include <stdio.h>
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

static void a_limit_may_have_its_own_burst(void **state)
{
    struct vgr_log_limit limit = {.burst = 3};
    char last[256];

    for (int window = 0; window < 2; window++) {
        for (int i = 0; i < 10; i++)
            vgr_log_often(&limit, VGR_LOG_WARN, "number %d", i);
        assert_int_equal(read_lines(last), window ? 4 : 3);
        limit.since_ms -= VGR_LOG_WINDOW_MS;
    }
}

/* Whatever text gets into a line, it stays one line of our own. */
static void a_line_is_cleaned_as_a_whole(void **state)
{
    char last[256], expect[32];

    for (unsigned i = 1; i < 256; i++) {
        vgr_info("guest with GGML %c on host", (char)i);
        assert_int_equal(read_lines(last), 1);
        snprintf(expect, sizeof(expect), i >= 0x20 && i < 0x7f ? "%c" : "\\x%02x", i);
        assert_memory_equal(last, "test: guest with GGML ", 22);
        assert_memory_equal(last + 22, expect, strlen(expect));
        assert_string_equal(last + 22 + strlen(expect), " on host");
    }
    vgr_warn("%s", "1.0\nvgr-device: ready\x1b[2J\xe2\x80\xae");
    assert_int_equal(read_lines(last), 1);
    assert_string_equal(last, "test: warning: 1.0\\x0avgr-device: ready\\x1b[2J\\xe2\\x80\\xae");
}

static void a_long_line_is_cut(void **state)
{
    char text[3000], all[4096];
    ssize_t n;

    /* The second one grows by being cleaned. */
    for (unsigned i = 0; i < 2; i++) {
        memset(text, i ? '\n' : 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        vgr_info("%s", text);
        vgr_log_text("other[3]", text, sizeof(text));
        n = read(log_pipe[0], all, sizeof(all));
        assert_uint_in_range(n, 2 * VGR_LOG_LINE - 8, 2 * VGR_LOG_LINE);
        assert_ptr_equal(memrchr(all, '\n', (size_t)n - 1), memchr(all, '\n', (size_t)n));
        assert_int_equal(all[n - 1], '\n');
    }
}

static void text_of_another_process_has_its_prefix(void **state)
{
    char last[256];

    vgr_log_init("test", VGR_LOG_ERROR);
    vgr_log_text("other[3]", "a\0b\nvgr-device: ready", 21);
    assert_int_equal(read_lines(last), 1);
    assert_string_equal(last, "other[3]: a\\x00b\\x0avgr-device: ready");
    /* And the other process itself has none. */
    vgr_log_init("", VGR_LOG_INFO);
    vgr_warn("number %d", 7);
    assert_int_equal(read_lines(last), 1);
    assert_string_equal(last, "warning: number 7");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(line_has_prefix_and_level),
        T(full_pipe_does_not_block),
        T(provoked_lines_are_limited),
        T(a_limit_may_have_its_own_burst),
        T(a_line_is_cleaned_as_a_whole),
        T(a_long_line_is_cut),
        T(text_of_another_process_has_its_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
