/* SPDX-License-Identifier: MIT
 *
 * The account of device memory, with real processes on it.
 */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/account.h"

#define LIMIT 1000003u /* divides by nothing that is taken */

static int setup(void **state)
{
    int fd = vgr_account_create();

    if (fd < 0)
        return fd;
    *state = vgr_account_map(fd);
    close(fd);
    return *state ? 0 : -errno;
}

static int teardown(void **state)
{
    vgr_account_unmap(*state);
    return 0;
}

static void limit_holds_at_the_byte(void **state)
{
    struct vgr_account *a = *state;

    assert_false(vgr_account_take(a, 0, LIMIT, LIMIT + 1));
    assert_true(vgr_account_take(a, 0, LIMIT, LIMIT - 1));
    assert_false(vgr_account_take(a, 1, LIMIT, 2));
    assert_true(vgr_account_take(a, VGR_ACCOUNT_SLOTS - 1, LIMIT, 1));
    assert_false(vgr_account_take(a, 1, LIMIT, 1));
    assert_true(vgr_account_sum(a) == LIMIT);
    vgr_account_give(a, VGR_ACCOUNT_SLOTS - 1, 1);
    assert_true(vgr_account_take(a, 1, LIMIT, 1));
    assert_true(vgr_account_sum(a) == LIMIT);
}

static void sizes_do_not_overflow(void **state)
{
    struct vgr_account *a = *state;

    assert_true(vgr_account_take(a, 0, LIMIT, 10));
    assert_false(vgr_account_take(a, 0, LIMIT, UINT64_MAX));
    assert_false(vgr_account_take(a, 1, LIMIT, UINT64_MAX - 9));
    assert_true(vgr_account_take(a, 1, UINT64_MAX, UINT64_MAX - 10));
    a->held[2] = 11; /* a liar */
    assert_true(vgr_account_sum(a) == UINT64_MAX);
    assert_false(vgr_account_take(a, 3, LIMIT, 1));
    vgr_account_clear(a, 2);
    vgr_account_clear(a, 1);
    assert_true(vgr_account_sum(a) == 10);
}

static void without_a_limit_it_still_counts(void **state)
{
    struct vgr_account *a = *state;

    a->lock = 77; /* and asks nobody */
    assert_true(vgr_account_take(a, 5, 0, 1ull << 50));
    assert_true(vgr_account_take(a, 5, 0, 1));
    assert_true(vgr_account_sum(a) == (1ull << 50) + 1);
    vgr_account_give(a, 5, 1ull << 50);
    assert_true(vgr_account_sum(a) == 1);
}

/* Nobody has such a slot, and who takes does not hold the lock yet. */
static void a_lock_that_lies_is_free(void **state)
{
    struct vgr_account *a = *state;

    a->lock = UINT32_MAX;
    assert_true(vgr_account_take(a, 5, LIMIT, 1));
    assert_int_equal(a->lock, 0);
    a->lock = VGR_ACCOUNT_SLOTS + 1;
    assert_true(vgr_account_take(a, 5, LIMIT, 1));
    a->lock = 5 + 1;
    assert_true(vgr_account_take(a, 5, LIMIT, 1));
    assert_int_equal(a->lock, 0);
    assert_true(vgr_account_sum(a) == 3);
    vgr_account_clear(a, 5);
}

static void the_file_keeps_its_size(void **state)
{
    int fd = vgr_account_create();

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

/* Whether the slots hold at most LIMIT together, told under the lock: nobody takes while it is held. A
 * sum without it is no single moment's, and may count what one gave back and another took since. */
static bool within_limit(struct vgr_account *a, uint32_t slot)
{
    uint32_t nobody = 0;
    bool within;

    while (!__atomic_compare_exchange_n(&a->lock, &nobody, slot + 1, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
        nobody = 0;
        sched_yield();
    }
    within = vgr_account_sum(a) <= LIMIT;
    __atomic_store_n(&a->lock, 0, __ATOMIC_RELEASE);
    return within;
}

/* Children take and give back at random; they never hold more than the limit, and what they did is
 * what is left. */
static void workers_never_hold_more_together(void **state)
{
    enum { WORKERS = 4, TIMES = 20000 };
    struct vgr_account *a = *state;
    pid_t pid[WORKERS];
    uint64_t left = 0;
    unsigned looks = 0;
    int running = WORKERS;

    for (unsigned i = 0; i < WORKERS; i++) {
        pid[i] = fork();
        if (!pid[i]) {
            unsigned refused = 0;
            uint64_t held = 0;

            srandom(i + 1);
            for (int n = 0; n < TIMES; n++) {
                uint64_t bytes = 1 + (uint64_t)random() % (LIMIT / 2);

                if (vgr_account_take(a, i, LIMIT, bytes))
                    held += bytes;
                else
                    refused++;
                if (!within_limit(a, i) || a->held[i] != held)
                    _exit(2);
                if (held && random() % 2) {
                    vgr_account_give(a, i, held - 1);
                    held = 1;
                }
            }
            _exit(refused ? 0 : 3);
        }
    }
    while (running) {
        int status;
        pid_t done = waitpid(-1, &status, WNOHANG);

        assert_true(within_limit(a, VGR_ACCOUNT_SLOTS - 1));
        looks++;
        if (done > 0) {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
            running--;
        }
    }
    for (unsigned i = 0; i < WORKERS; i++)
        left += a->held[i];
    assert_true(left >= 1 && left == vgr_account_sum(a));
    assert_int_equal(a->lock, 0);
    print_message("%d processes, %d tries each, %u looks\n", WORKERS, TIMES, looks);
}

/* Killed at any instruction, a worker leaves nothing behind that the front cannot clear. 200 of them, and
 * more if that is what it takes to meet one with the lock and one with bytes. */
static void the_dead_give_back(void **state)
{
    enum { ROUNDS = 200, MOST = 5000 };
    struct vgr_account *a = *state;
    unsigned with_lock = 0, with_bytes = 0;
    int begun[2], i;

    assert_int_equal(pipe2(begun, O_CLOEXEC), 0);
    for (i = 0; i < ROUNDS || (i < MOST && !(with_lock && with_bytes)); i++) {
        pid_t pid = fork();
        char c = 0;

        if (!pid) {
            if (write(begun[1], &c, 1) != 1)
                _exit(1);
            for (;;) {
                if (!vgr_account_take(a, 7, LIMIT, LIMIT))
                    _exit(1);
                vgr_account_sum(a); /* hold it for a moment */
                vgr_account_give(a, 7, LIMIT);
            }
        }
        assert_int_equal(read(begun[0], &c, 1), 1);
        usleep((useconds_t)(100 + 37 * (i % ROUNDS)));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        with_lock += a->lock == 8;
        with_bytes += a->held[7] == LIMIT;
        vgr_account_clear(a, 7);
        assert_true(vgr_account_sum(a) == 0);
        assert_true(vgr_account_take(a, 3, LIMIT, LIMIT));
        vgr_account_give(a, 3, LIMIT);
    }
    close(begun[0]);
    close(begun[1]);
    assert_true(with_lock && with_bytes);
    print_message("%d killed, %u of them with the lock, %u with bytes\n", i, with_lock, with_bytes);
}

static void another_ones_lock_is_not_taken(void **state)
{
    struct vgr_account *a = *state;

    a->lock = 1 + 4;
    vgr_account_clear(a, 3);
    assert_int_equal(a->lock, 5);
    assert_false(vgr_account_take(a, 3, LIMIT, 1)); /* waited, for long enough */
    assert_true(vgr_account_sum(a) == 0);
    vgr_account_clear(a, 4);
    assert_true(vgr_account_take(a, 3, LIMIT, 1));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(limit_holds_at_the_byte),
        T(sizes_do_not_overflow),
        T(without_a_limit_it_still_counts),
        T(the_file_keeps_its_size),
        T(a_lock_that_lies_is_free),
        T(workers_never_hold_more_together),
        T(the_dead_give_back),
        T(another_ones_lock_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
