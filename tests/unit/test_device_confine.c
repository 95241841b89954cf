/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

    char folder[] = "/tmp/vgr-test-XXXXXX", detour[64];

    assert_non_null(mkdtemp(folder));
    snprintf(detour, sizeof(detour), "/usr/..%s/.", folder);
    assert_int_equal(confine(NULL, detour), 0);
    assert_string_equal(s.shader_cache, folder);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(confine(NULL, "/"), -EINVAL);
    assert_int_equal(confine(NULL, "/etc/passwd"), -EINVAL);
    assert_non_null(strstr(why, "--shader-cache: '/etc/passwd' is not a folder"));
    memset(too_long + 1, 'x', sizeof(too_long) - 2);
    assert_int_equal(confine(NULL, too_long), -EINVAL);
}

/* A cache is code that workers run. */
static void a_folder_of_nobody_else(void **state)
{
    static const mode_t open_to_others[] = {0701, 0710, 0720, 0740, 0704, 0750, 0755, 0770, 01777};
    char folder[] = "/tmp/vgr-test-XXXXXX";

    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof(open_to_others) / sizeof(open_to_others[0]); i++) {
        assert_int_equal(chmod(folder, open_to_others[i]), 0);
        assert_int_equal(confine(NULL, folder), -EINVAL);
        assert_non_null(strstr(why, "chmod 700 it"));
        assert_string_equal(s.shader_cache, "");
    }
    assert_int_equal(chmod(folder, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(confine("nobody", folder), -EINVAL);
        assert_non_null(strstr(why, "chown it to the workers' user, 65534"));
        assert_int_equal(chown(folder, 65534, 0), 0);
        assert_int_equal(confine(NULL, folder), -EINVAL);
        assert_non_null(strstr(why, "belongs to user 65534"));
        assert_int_equal(confine("nobody", folder), 0);
    } else {
        assert_int_equal(confine(NULL, folder), 0);
    }
    assert_string_equal(s.shader_cache, folder);
    assert_int_equal(rmdir(folder), 0);
}

/* One at a time: a second vgr-device is another process, which is refused until the first one ends. */
static void a_folder_of_one_front(void **state)
{
    char folder[] = "/tmp/vgr-test-XXXXXX";
    int ready[2], go[2], status;
    char byte;
    pid_t pid;

    assert_non_null(mkdtemp(folder));
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        byte = confine(NULL, folder) ? 'n' : 'y';
        if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(confine(NULL, folder), -EINVAL);
    assert_non_null(strstr(why, "another vgr-device's"));
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(confine(NULL, folder), 0);
    assert_int_equal(rmdir(folder), 0);
}

static uint32_t nodes_for(const char *first, const char *second)
{
    const struct vgr_options o = {.devices = {first, second},
                                  .n_devices = second  ? 2
                                               : first ? 1
                                                       : 0};

    assert_int_equal(vgr_confine(&o, &s, why, sizeof(why)), 0);
    return s.nodes;
}

static void nodes_by_the_names_of_devices(void **state)
{
    assert_int_equal(nodes_for(NULL, NULL), VGR_NODES_ALL);
    assert_int_equal(nodes_for("CPU", NULL), 0);
    assert_int_equal(nodes_for("CUDA0", NULL), VGR_NODES_NVIDIA);
    assert_int_equal(nodes_for("CUDA0", "CPU"), VGR_NODES_NVIDIA);
    assert_int_equal(nodes_for("ROCm1", NULL), VGR_NODES_KFD | VGR_NODES_DRM);
    assert_int_equal(nodes_for("SYCL0", "CUDA0"), VGR_NODES_DRM | VGR_NODES_NVIDIA);
    assert_int_equal(nodes_for("Vulkan0", NULL) & VGR_NODES_KFD, 0);
    assert_int_equal(nodes_for("CPU", "Another0"), VGR_NODES_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked),
        cmocka_unit_test(a_user_without_the_group_of_root),
        cmocka_unit_test(a_folder_by_its_real_path),
        cmocka_unit_test(a_folder_of_nobody_else),
        cmocka_unit_test(a_folder_of_one_front),
        cmocka_unit_test(nodes_by_the_names_of_devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
