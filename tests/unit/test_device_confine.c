/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "device/confine.h"

static struct vgr_boot_sandbox s;
static char why[256];

static int confine(const char *user, const char *cache)
{
    const struct vgr_options o = {
        .sandbox = VGR_SANDBOX_STRICT, .worker_user = user, .shader_cache = cache};

    why[0] = '\0';
    return vgr_confine(&o, &s, why, sizeof(why));
}

static void nothing_asked(void **state)
{
    assert_int_equal(confine(NULL, NULL), 0);
    assert_int_equal(s.mode, VGR_SANDBOX_STRICT);
    assert_false(s.has_user);
    assert_string_equal(s.shader_cache, "");
}

static void a_user_without_the_group_of_root(void **state)
{
    assert_int_equal(confine("no-such-user", NULL), -EINVAL);
    assert_non_null(strstr(why, "no user 'no-such-user'"));
    if (geteuid() != 0) {
        assert_int_equal(confine("nobody", NULL), -EINVAL);
        assert_non_null(strstr(why, "only root's"));
        return;
    }
    assert_int_equal(confine("nobody", NULL), 0);
    assert_true(s.has_user);
    assert_int_equal(s.uid, 65534);
    assert_true(s.gid != 0);
    for (uint32_t i = 0; i < s.n_groups; i++)
        assert_int_not_equal(s.groups[i], 0);
}

static void a_folder_by_its_real_path(void **state)
{
    char too_long[400] = "/";

    assert_int_equal(confine(NULL, "/usr/../tmp/."), 0);
    assert_string_equal(s.shader_cache, "/tmp");
    assert_int_equal(confine(NULL, "/"), -EINVAL);
    assert_int_equal(confine(NULL, "/etc/passwd"), -EINVAL);
    assert_non_null(strstr(why, "--shader-cache: '/etc/passwd' is not a folder"));
    memset(too_long + 1, 'x', sizeof(too_long) - 2);
    assert_int_equal(confine(NULL, too_long), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked),
        cmocka_unit_test(a_user_without_the_group_of_root),
        cmocka_unit_test(a_folder_by_its_real_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
