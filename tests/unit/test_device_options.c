/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <string.h>

#include "device/options.h"

static struct vgr_options o;
static char why[256];

static int parse(const char *a, const char *b, const char *c, const char *d)
{
    char *argv[] = {(char *)"vgr-device", (char *)a, (char *)b, (char *)c, (char *)d, NULL};
    int argc = 1;

    while (argv[argc])
        argc++;
    why[0] = '\0';
    return vgr_options_parse(&o, argc, argv, why, sizeof(why));
}

/* Refused, with one line that names the culprit. */
static void is_refused(const char *culprit, const char *a, const char *b, const char *c,
                       const char *d)
{
    assert_int_equal(parse(a, b, c, d), -EINVAL);
    assert_non_null(strstr(why, culprit));
    assert_null(strchr(why, '\n'));
}

static void defaults(void **state)
{
    assert_int_equal(parse("--direct", "s", NULL, NULL), 0);
    assert_string_equal(o.direct_path, "s");
    assert_null(o.socket_path);
    assert_int_equal(o.fd, -1);
    assert_int_equal(o.n_devices, 0);
    assert_int_equal(o.arena_default, 64ull << 20);
    assert_true(o.arena_max == VGR_ARENA_MAX);
    assert_int_equal(o.contexts, 64);
    assert_int_equal(o.max_mappings, VGR_BOOT_DEFAULT_RUNS);
}

static void devices_accumulate(void **state)
{
    assert_int_equal(parse("--fd=3", "--device=CPU", "--device", "Vulkan0"), 0);
    assert_int_equal(o.fd, 3);
    assert_int_equal(o.n_devices, 2);
    assert_string_equal(o.devices[1], "Vulkan0");
}

static void mappings_of_an_arena(void **state)
{
    assert_int_equal(parse("--fd=3", "--max-mappings", "1", NULL), 0);
    assert_int_equal(o.max_mappings, 1);
    assert_int_equal(parse("--fd=3", "--max-mappings=1048576", NULL, NULL), 0);
    assert_int_equal(o.max_mappings, VGR_BOOT_MAX_RUNS);
}

static void modes_need_no_socket(void **state)
{
    assert_int_equal(parse("--list-devices", NULL, NULL, NULL), 0);
    assert_int_equal(o.mode, VGR_MODE_LIST_DEVICES);
    assert_int_equal(parse("--print-capabilities", NULL, NULL, NULL), 0);
    assert_int_equal(o.mode, VGR_MODE_PRINT_CAPABILITIES);
    assert_int_equal(parse("--help", NULL, NULL, NULL), 0);
    assert_int_equal(parse("--version", NULL, NULL, NULL), 0);
}

static void bad_options_are_named(void **state)
{
    is_refused("--socket-path", NULL, NULL, NULL, NULL);
    is_refused("--bogus", "--bogus", NULL, NULL, NULL);
    is_refused("-x", "-x", NULL, NULL, NULL);
    is_refused("--direct needs", "--direct", NULL, NULL, NULL);
    is_refused("stray", "--direct", "s", "stray", NULL);
    is_refused("--fd: 'x'", "--fd", "x", NULL, NULL);
    is_refused("--fd: '-1'", "--fd", "-1", NULL, NULL);
    is_refused("exclude", "--fd", "3", "--socket-path", "s");
    is_refused("--device: ''", "--device", "", NULL, NULL);
    is_refused("--contexts: '0'", "--contexts", "0", NULL, NULL);
    is_refused("--contexts: '1K'", "--contexts", "1K", NULL, NULL);
    is_refused("--max-mappings: '0'", "--max-mappings", "0", NULL, NULL);
    is_refused("--max-mappings: '1048577'", "--max-mappings", "1048577", NULL, NULL);
    is_refused("--max-mappings: '60K'", "--max-mappings=60K", NULL, NULL, NULL);
    is_refused("--memory-limit: '8X'", "--memory-limit", "8X", NULL, NULL);
    is_refused("--memory-limit: 0 is less", "--memory-limit", "0", NULL, NULL);
    is_refused("--memory-limit: 1023K is less", "--memory-limit", "1023K", NULL, NULL);
    is_refused("--context-memory-limit: '-1'", "--context-memory-limit", "-1", NULL, NULL);
    is_refused("--context-memory-limit: 8 is less", "--context-memory-limit", "8", NULL, NULL);
    is_refused("--graph-timeout: '1.5'", "--graph-timeout", "1.5", NULL, NULL);
    is_refused("--graph-timeout: '1M'", "--graph-timeout", "1M", NULL, NULL);
    is_refused("--graph-timeout: '86401'", "--graph-timeout", "86401", NULL, NULL);
    is_refused("--log-level: 'loud'", "--log-level", "loud", NULL, NULL);
    is_refused("--arena-size: 'big'", "--arena-size", "big", NULL, NULL);
    is_refused("--arena-size: 512K", "--arena-size", "512K", NULL, NULL);
    is_refused("--arena-max: 5G", "--arena-max", "5G", NULL, NULL);
    is_refused("--arena-max: 2000000", "--arena-max", "2000000", NULL, NULL);
}

static void arena_sizes_must_agree(void **state)
{
    assert_int_equal(parse("--fd=3", "--arena-size=128M", "--arena-max=256M", NULL), 0);
    is_refused("larger than --arena-max", "--fd=3", "--arena-size=128M", "--arena-max=64M", NULL);
    assert_int_equal(parse("--fd=3", "--arena-max=32M", NULL, NULL), 0);
    assert_int_equal(o.arena_default, 32ull << 20);
    assert_int_equal(parse("--fd=3", "--arena-max=4G", NULL, NULL), 0);
    assert_true(o.arena_max == VGR_ARENA_MAX);
}

static void limits_are_none_unless_given(void **state)
{
    assert_int_equal(parse("--fd=3", NULL, NULL, NULL), 0);
    assert_true(!o.memory_limit && !o.context_memory_limit && !o.graph_timeout);
    assert_int_equal(
        parse("--fd=3", "--memory-limit=8G", "--context-memory-limit=8G", "--graph-timeout=86400"),
        0);
    assert_true(o.memory_limit == 8ull << 30 && o.context_memory_limit == 8ull << 30);
    assert_int_equal(o.graph_timeout, 86400);
    assert_int_equal(parse("--fd=3", "--context-memory-limit=1048577", "--graph-timeout=0", NULL),
                     0);
    assert_true(o.context_memory_limit == 1048577);
    is_refused("larger than --memory-limit", "--fd=3", "--memory-limit=8G",
               "--context-memory-limit=9G", NULL);
}

static void each_socket_has_its_path(void **state)
{
    assert_int_equal(parse("--direct", "a", "--stats", "b"), 0);
    assert_string_equal(o.stats_path, "b");
    is_refused("a path each", "--direct", "a", "--stats", "a");
    is_refused("a path each", "--socket-path", "a", "--stats", "a");
    is_refused("a path each", "--socket-path", "a", "--direct", "a");
    is_refused("--stats needs a value", "--direct", "a", "--stats", NULL);
    is_refused("whom to serve", "--stats", "a", NULL, NULL);
}

static void the_sandbox_is_strict_unless_told(void **state)
{
    assert_int_equal(parse("--fd=3", NULL, NULL, NULL), 0);
    assert_int_equal(o.sandbox, VGR_SANDBOX_STRICT);
    assert_int_equal(parse("--fd=3", "--sandbox", "relaxed", NULL), 0);
    assert_int_equal(o.sandbox, VGR_SANDBOX_RELAXED);
    assert_int_equal(parse("--fd=3", "--sandbox", "off", NULL), 0);
    assert_int_equal(o.sandbox, VGR_SANDBOX_OFF);
    assert_int_equal(parse("--fd=3", "--sandbox=strict", "--worker-user=me", "--shader-cache=c"),
                     0);
    assert_int_equal(o.sandbox, VGR_SANDBOX_STRICT);
    assert_string_equal(o.worker_user, "me");
    assert_string_equal(o.shader_cache, "c");
    is_refused("--sandbox: 'lax'", "--sandbox", "lax", NULL, NULL);
    is_refused("--sandbox: ''", "--sandbox=", NULL, NULL, NULL);
    is_refused("--sandbox=off excludes", "--fd=3", "--sandbox=off", "--worker-user=me", NULL);
    is_refused("--sandbox=off excludes", "--sandbox=off", "--fd=3", "--shader-cache=c", NULL);
}

static void sizes_have_suffixes(void **state)
{
    uint64_t n;

    assert_int_equal(vgr_size_parse("4096", &n), 0);
    assert_int_equal(n, 4096);
    assert_int_equal(vgr_size_parse("3k", &n), 0);
    assert_int_equal(n, 3072);
    assert_int_equal(vgr_size_parse("64M", &n), 0);
    assert_int_equal(n, 64 << 20);
    assert_int_equal(vgr_size_parse("2G", &n), 0);
    assert_int_equal(n, 2ull << 30);
    assert_int_equal(vgr_size_parse("", &n), -EINVAL);
    assert_int_equal(vgr_size_parse("M", &n), -EINVAL);
    assert_int_equal(vgr_size_parse("-1", &n), -EINVAL);
    assert_int_equal(vgr_size_parse("1MB", &n), -EINVAL);
    assert_int_equal(vgr_size_parse("1T", &n), -EINVAL);
    assert_int_equal(vgr_size_parse("99999999999999999999", &n), -EINVAL);
    assert_int_equal(vgr_size_parse("18014398509481984K", &n), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(devices_accumulate),
        cmocka_unit_test(mappings_of_an_arena),
        cmocka_unit_test(modes_need_no_socket),
        cmocka_unit_test(bad_options_are_named),
        cmocka_unit_test(arena_sizes_must_agree),
        cmocka_unit_test(limits_are_none_unless_given),
        cmocka_unit_test(each_socket_has_its_path),
        cmocka_unit_test(the_sandbox_is_strict_unless_told),
        cmocka_unit_test(sizes_have_suffixes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
