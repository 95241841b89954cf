/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <ggml.h>
#include <string.h>

#include "guest/log.h"
#include "protocol/wire.h"

static char last[2048];
static unsigned n_lines;

static void keep(enum ggml_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    strncpy(last, text, sizeof(last) - 1);
    n_lines++;
}

static int setup(void **state)
{
    ggml_log_set(keep, NULL);
    n_lines = 0;
    return 0;
}

static void a_lying_host_writes_no_second_line(void **state)
{
    vgr_say_error("ggml %s on the host", "1.0\nllama: done\x1b]0;title\a\xe2\x80\xae");
    assert_int_equal(n_lines, 1);
    assert_string_equal(last, "ggml-virtgpu: ggml 1.0\\x0allama: done\\x1b]0;title\\x07"
                              "\\xe2\\x80\\xae on the host\n");
}

static void a_long_line_is_cut(void **state)
{
    char text[1024];

    memset(text, '\a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    vgr_say_error("%s", text);
    assert_int_equal(n_lines, 1);
    assert_int_equal(strlen(last) % 4, 3); /* the prefix, whole \xNN, a newline */
    assert_ptr_equal(strchr(last, '\n'), last + strlen(last) - 1);
}

static void names_of_the_host_are_cleaned(void **state)
{
    char text[VGR_CONTROL_TEXT + 64], out[VGR_CONTROL_TEXT];

    vgr_say_clean(out, sizeof(out), "Intel\xc2\xae\0not this", 16);
    assert_string_equal(out, "Intel\xc2\xae");
    vgr_say_clean(out, 16, "GPU\r\x9b no end", 8);
    assert_string_equal(out, "GPU\\x0d\\x9b no");
    vgr_say_clean(out, 10, "GPU\r\x9b", 5);
    assert_string_equal(out, "GPU\\x0d");
    /* Without an end, and longer than it may be. */
    memset(text, 'a', sizeof(text));
    vgr_say_clean(out, sizeof(out), text, sizeof(text));
    assert_int_equal(strlen(out), sizeof(out) - 1);
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_lying_host_writes_no_second_line),
        T(a_long_line_is_cut),
        T(names_of_the_host_are_cleaned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
