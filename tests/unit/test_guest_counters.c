/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "guest/counters.h"
#include "vgr_test.h"

static void each_counter_is_printed_once(void **state)
{
    static const struct vgr_counter_info info[] = {VGR_COUNTERS_GUEST(VGR_COUNTER_ROW)};
    size_t n = sizeof(info) / sizeof(info[0]), len;
    struct vgr_counters c;
    char line[2048], want[80];

    for (size_t i = 0; i < n; i++)
        ((uint64_t *)&c)[i] = 100 + i;
    len = vgr_counters_print(&c, line, sizeof(line));
    assert_int_equal(len, strlen(line));
    assert_int_equal(line[len - 1], '\n');
    for (size_t i = 0; i < n; i++) {
        const char *at;

        if (info[i].unit == VGR_UNIT_SECONDS)
            snprintf(want, sizeof(want), " %s_seconds=0.000000%zu ", info[i].name, 100 + i);
        else
            snprintf(want, sizeof(want), " %s=%zu ", info[i].name, 100 + i);
        at = strstr(line, want);
        assert_non_null(at);
        assert_null(strstr(at + 1, want));
    }
    print_message("%zu counters\n", n);
}

static void a_line_that_does_not_fit_is_cut(void **state)
{
    struct vgr_counters c = {0};
    char line[2048], cut[2048];
    size_t len = vgr_counters_print(&c, line, sizeof(line));

    for (size_t cap = 1; cap <= len; cap++) {
        memset(cut, 'x', sizeof(cut));
        assert_int_equal(vgr_counters_print(&c, cut, cap), cap - 1);
        assert_memory_equal(cut, line, cap - 1);
        assert_int_equal(cut[cap - 1], '\0');
        assert_int_equal(cut[cap], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_counter_is_printed_once),
        cmocka_unit_test(a_line_that_does_not_fit_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
