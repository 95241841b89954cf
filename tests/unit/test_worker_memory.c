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

static struct vgr_account account;
static struct vgr_account_share other; /* a worker's with no limit of its own */

static int setup(void **state)
{
    static struct vgr_memory m;

    m = (struct vgr_memory){0};
    *state = &m;
    if (vgr_account_create(&account))
        return -1;
    vgr_account_use(&account, 9);
    return vgr_account_join(&m.account, account.read_fd, account.fd, 3, 0, 0) ||
           vgr_account_join(&other, account.read_fd, account.fd, 9, 0, 0);
}

static int teardown(void **state)
{
    vgr_account_destroy(&account);
    (void)state;
    return 0;
}

static void set_account_limit(struct vgr_memory *m, uint64_t limit)
{
    m->account.limit = m->account.most = limit;
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
    assert_true(m->held == LIMIT && vgr_account_sum(&m->account) == LIMIT);
    vgr_memory_free(m, a);
    a = alloc(m, LIMIT - 64);
    assert_non_null(a);
    vgr_memory_free(m, a);
    vgr_memory_free(m, b);
    assert_true(!m->held && !vgr_account_sum(&m->account));
}

static void others_count_in_the_common_limit(void **state)
{
    struct vgr_memory *m = *state;
    ggml_backend_buffer_t a;

    set_account_limit(m, LIMIT);
    other.limit = other.most = LIMIT;
    assert_true(vgr_account_take(&other, 1000));
    assert_null(alloc(m, LIMIT - 999));
    assert_non_null(strstr(why, "over --memory-limit"));
    a = alloc(m, LIMIT - 1000);
    assert_non_null(a);
    assert_false(vgr_account_take(&other, 1));
    vgr_memory_free(m, a);
    vgr_account_clear(&account, 9);
    a = alloc(m, LIMIT);
    assert_non_null(a);
    vgr_memory_free(m, a);
    assert_true(!m->held && !vgr_account_sum(&m->account));
}

/* What the device itself refuses was never taken. */
static void refused_memory_is_not_counted(void **state)
{
    struct vgr_memory *m = *state;

    set_account_limit(m, UINT64_MAX);
    assert_null(alloc(m, UINT64_MAX));
    assert_null(alloc(m, 1ull << 62));
    assert_non_null(strstr(why, "than the device has"));
    assert_true(!m->held && !vgr_account_sum(&m->account));
}

static void figures_are_what_the_limits_leave(void **state)
{
    struct vgr_memory *m = *state;
    ggml_backend_buffer_t a = alloc(m, 1000);
    uint64_t free = 5u << 20, total = 8u << 20;

    vgr_memory_clamp(m, &free, &total); /* no limits */
    assert_true(free == 5u << 20 && total == 8u << 20);
    set_account_limit(m, 3u << 20);
    assert_true(vgr_account_take(&other, LIMIT));
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == (2u << 20) - 1000 && total == 3u << 20);
    m->limit = LIMIT;
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == LIMIT - 1000 && total == LIMIT);
    free = 17; /* the device has less */
    total = 30;
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == 17 && total == 30);
    other.own->held = UINT64_MAX; /* a liar */
    vgr_memory_clamp(m, &free, &total);
    assert_true(free == 0 && total == 30);
    vgr_memory_free(m, a);
}

static void boot_tells_the_limits(void **state)
{
    struct vgr_boot boot = {.account_slot = 7, .memory_limit = 10, .context_memory_limit = 5};
    const struct vgr_account *a = &account;
    struct vgr_memory m;

    vgr_account_use(&account, 7);
    assert_int_equal(dup2(a->read_fd, VGR_BOOT_ACCOUNT_FD), VGR_BOOT_ACCOUNT_FD);
    assert_int_equal(dup2(a->fd, VGR_BOOT_SLOT_FD), VGR_BOOT_SLOT_FD);
    assert_int_equal(vgr_memory_init(&m, &boot), 0);
    assert_int_equal(close(VGR_BOOT_ACCOUNT_FD), -1); /* closed already */
    assert_int_equal(close(VGR_BOOT_SLOT_FD), -1);
    assert_true(m.limit == 5 && m.account.limit == 10 && m.account.most == 5);
    assert_true(vgr_account_take(&m.account, 4));
    assert_true(a->pages->slot[7].held == 4);
    boot.account_slot = VGR_ACCOUNT_SLOTS;
    assert_true(vgr_memory_init(&m, &boot) < 0);
    (void)state;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(context_limit_holds_at_the_byte), T(others_count_in_the_common_limit),
        T(refused_memory_is_not_counted),   T(figures_are_what_the_limits_leave),
        T(boot_tells_the_limits),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
