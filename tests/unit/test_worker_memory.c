/* SPDX-License-Identifier: MIT
 *
 * A context's device memory on the real CPU backend, under both limits.
 */
#include "vgr_test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/memory.h"

#define LIMIT (1u << 20)

static struct vgr_backends backends;
static const char *why;

static int load(void **state)
{
    static const char names[1][64] = {"CPU"};

    vgr_log_init("test", VGR_LOG_ERROR);
    return vgr_backends_load(&backends, names, 1);
}

static int setup(void **state)
{
    static struct vgr_memory m;
    int fd = vgr_account_create();

    if (fd < 0)
        return fd;
    m = (struct vgr_memory){.slot = 3, .account = vgr_account_map(fd)};
    close(fd);
    *state = &m;
    return m.account ? 0 : -1;
}

static int teardown(void **state)
{
    vgr_account_unmap(((struct vgr_memory *)*state)->account);
    return 0;
}

static ggml_backend_buffer_t alloc(struct vgr_memory *m, uint64_t size)
{
    return vgr_memory_alloc(m, &backends.device[0], size, &why);
}

static void context_limit_holds_at_the_byte(void **state)
{
    struct vgr_memory *m = *state;
    ggml_backend_buffer_t a, b;

    m->limit = LIMIT;
    assert_null(alloc(m, LIMIT + 1));
    assert_non_null(strstr(why, "--context-memory-limit"));
    a = alloc(m, LIMIT - 64);
    assert_non_null(a);
    assert_null(alloc(m, 65));
    b = alloc(m, 64);
    assert_non_null(b);
    assert_null(alloc(m, 1));
    assert_true(m->held == LIMIT && vgr_account_sum(m->account) == LIMIT);
    vgr_memory_free(m, a);
    a = alloc(m, LIMIT - 64);
    assert_non_null(a);
    vgr_memory_free(m, a);
    vgr_memory_free(m, b);
    assert_true(!m->held && !vgr_account_sum(m->account));
}

static void others_count_in_the_common_limit(void **state)
{
    struct vgr_memory *m = *state;
    ggml_backend_buffer_t a;

    m->account_limit = LIMIT;
    assert_true(vgr_account_take(m->account, 9, LIMIT, 1000));
    assert_null(alloc(m, LIMIT - 999));
    assert_non_null(strstr(why, "over --memory-limit"));
    a = alloc(m, LIMIT - 1000);
    assert_non_null(a);
    assert_false(vgr_account_take(m->account, 9, LIMIT, 1));
    vgr_memory_free(m, a);
    vgr_account_clear(m->account, 9);
    a = alloc(m, LIMIT);
    assert_non_null(a);
    vgr_memory_free(m, a);
    assert_true(!m->held && !vgr_account_sum(m->account));
}

/* What the device itself refuses was never taken. */
static void refused_memory_is_not_counted(void **state)
{
    struct vgr_memory *m = *state;

    m->account_limit = UINT64_MAX;
    assert_null(alloc(m, UINT64_MAX));
    assert_null(alloc(m, 1ull << 62));
    assert_non_null(strstr(why, "than the device has"));
    assert_true(!m->held && !vgr_account_sum(m->account));
}

static void figures_are_what_the_limits_leave(void **state)
{
    struct vgr_memory *m = *state;
    ggml_backend_buffer_t a = alloc(m, 1000);
    uint64_t free = 5u << 20, total = 8u << 20;

    vgr_memory_clamp(m, &free, &total); /* no limits */
    assert_true(free == 5u << 20 && total == 8u << 20);
    m->account_limit = 3u << 20;
    assert_true(vgr_account_take(m->account, 9, 0, LIMIT));
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == (2u << 20) - 1000 && total == 3u << 20);
    m->limit = LIMIT;
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == LIMIT - 1000 && total == LIMIT);
    free = 17; /* the device has less */
    total = 30;
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == 17 && total == 30);
    m->account->held[9] = UINT64_MAX; /* a liar */
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == 0 && total == 30);
    vgr_memory_free(m, a);
}

static void boot_tells_the_limits(void **state)
{
    struct vgr_boot boot = {.account_slot = 7, .memory_limit = 10, .context_memory_limit = 5};
    struct vgr_memory m;
    int fd = vgr_account_create();
    struct vgr_account *a = vgr_account_map(fd);

    assert_int_equal(dup2(fd, VGR_BOOT_ACCOUNT_FD), VGR_BOOT_ACCOUNT_FD);
    if (fd != VGR_BOOT_ACCOUNT_FD)
        close(fd);
    assert_int_equal(vgr_memory_init(&m, &boot), 0);
    assert_int_equal(close(VGR_BOOT_ACCOUNT_FD), -1); /* closed already */
    assert_true(m.limit == 5 && m.account_limit == 10);
    assert_true(vgr_account_take(m.account, m.slot, 10, 4));
    assert_true(a->held[7] == 4);
    vgr_account_unmap(m.account);
    vgr_account_unmap(a);
    boot.account_slot = VGR_ACCOUNT_SLOTS;
    assert_true(vgr_memory_init(&m, &boot) < 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(context_limit_holds_at_the_byte),      T(others_count_in_the_common_limit),
        T(refused_memory_is_not_counted),        T(figures_are_what_the_limits_leave),
        cmocka_unit_test(boot_tells_the_limits),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
