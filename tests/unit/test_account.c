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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/account.h"

#define LIMIT 1000003u /* divides by nothing that is taken */

static struct vgr_account account;

static int setup(void **state)
{
    *state = &account;
    return vgr_account_create(&account);
}

static int teardown(void **state)
{
    vgr_account_destroy(*state);
    return 0;
}

/* What the worker of `slot` has. */
static struct vgr_account_share join(uint32_t slot, uint64_t limit, uint64_t each)
{
    struct vgr_account_share s;

    vgr_account_use(&account, slot);
    assert_int_equal(vgr_account_join(&s, account.read_fd, account.fd, slot, limit, each), 0);
    return s;
}

static void limit_holds_at_the_byte(void **state)
{
    struct vgr_account_share a = join(0, LIMIT, 0), b = join(1, LIMIT, 0),
                             last = join(VGR_ACCOUNT_SLOTS - 1, LIMIT, 0);

    assert_false(vgr_account_take(&a, LIMIT + 1));
    assert_true(vgr_account_take(&a, LIMIT - 1));
    assert_false(vgr_account_take(&a, 2)); /* would be believed to have the limit */
    assert_false(vgr_account_take(&b, 2));
    assert_true(vgr_account_take(&last, 1));
    assert_false(vgr_account_take(&b, 1));
    assert_true(vgr_account_sum(&a) == LIMIT);
    vgr_account_give(&last, 1);
    assert_true(vgr_account_take(&b, 1));
    assert_true(vgr_account_sum(&a) == LIMIT);
    for (unsigned i = 0; i < VGR_ACCOUNT_SLOTS; i++)
        assert_true(!account.pages->slot[i].wish);
    (void)state;
}

static void slots_that_were_never_used_are_not_read(void **state)
{
    struct vgr_account *a = *state;
    struct vgr_account_share s = join(2, LIMIT, 0);

    assert_int_equal(a->pages->used, 3);
    a->pages->slot[3].held = LIMIT;
    assert_true(vgr_account_take(&s, LIMIT));
    vgr_account_use(a, 3);
    vgr_account_use(a, 1);
    assert_int_equal(a->pages->used, 4);
    assert_false(vgr_account_take(&s, 1));
    assert_int_equal(vgr_account_join(&s, a->read_fd, a->fd, VGR_ACCOUNT_SLOTS, LIMIT, 0), -EINVAL);
}

static void sizes_do_not_overflow(void **state)
{
    struct vgr_account *a = *state;
    struct vgr_account_share first = join(0, LIMIT, 0), all = join(1, UINT64_MAX, 0),
                             liar = join(2, LIMIT, 0), other = join(3, LIMIT, 0);

    assert_true(vgr_account_take(&first, 10));
    assert_false(vgr_account_take(&first, UINT64_MAX));
    assert_false(vgr_account_take(&other, UINT64_MAX - 9));
    assert_true(vgr_account_take(&all, UINT64_MAX - 10));
    liar.own->held = 11;
    assert_true(vgr_account_sum(&all) == UINT64_MAX);
    assert_false(vgr_account_take(&other, 1));
    vgr_account_clear(a, 2);
    vgr_account_clear(a, 1);
    assert_true(vgr_account_sum(&first) == 10);
}

/* Whatever workers in their guests' hands write, they have what honest ones could have. */
static void liars_deny_no_more_than_their_share(void **state)
{
    enum { EACH = 1000 };
    static const uint64_t lies[][2] = {
        {UINT64_MAX, 0}, {0, UINT64_MAX},          {UINT64_MAX, UINT64_MAX},
        {1, UINT64_MAX}, {1ull << 63, 1ull << 63}, {EACH + 1, 0},
    };
    struct vgr_account_share honest = join(2, 4 * EACH, EACH),
                             liar[2] = {join(0, 4 * EACH, EACH), join(5, 4 * EACH, EACH)};
    struct vgr_account_share further = join(3, 4 * EACH, EACH);

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        for (unsigned k = 0; k < 2; k++) {
            liar[k].own->held = lies[i][0];
            liar[k].own->wish = lies[i][1];
        }
        assert_true(vgr_account_sum(&honest) <= 2 * EACH);
        assert_true(vgr_account_take(&honest, EACH));
        assert_true(vgr_account_take(&further, EACH));
        assert_true(account.pages->slot[2].held == EACH && account.pages->slot[3].held == EACH);
        vgr_account_give(&honest, EACH);
        vgr_account_give(&further, EACH);
    }
    /* What one has said is gone with it. */
    liar[0].own->held = UINT64_MAX;
    liar[0].own->wish = 0;
    liar[1].own->wish = 0;
    assert_true(vgr_account_take(&further, EACH));
    assert_true(vgr_account_take(&honest, EACH));
    assert_false(vgr_account_take(&honest, 1));
    vgr_account_clear(*state, 0);
    assert_true(vgr_account_take(&honest, 1));
}

static void without_a_limit_it_still_counts(void **state)
{
    struct vgr_account *a = *state;
    struct vgr_account_share s = join(5, 0, 0);

    a->pages->slot[0].wish = 77; /* and asks nobody */
    assert_true(vgr_account_take(&s, 1ull << 50));
    assert_true(vgr_account_take(&s, 1));
    assert_true(vgr_account_sum(&s) == (1ull << 50) + 1);
    vgr_account_give(&s, 1ull << 50);
    assert_true(vgr_account_sum(&s) == 1);
}

static void the_file_keeps_its_size(void **state)
{
    struct vgr_account *a = *state;
    const int fds[] = {a->fd, a->read_fd};
    struct stat st;

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ftruncate(fds[i], 0), -1);
        assert_int_equal(ftruncate(fds[i], 1 << 30), -1);
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    }
    assert_int_equal(fcntl(a->read_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fstat(a->read_fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
}

/* Exit status of `f` in a process of its own, or minus the signal that ended it. */
static int in_a_process(void (*f)(struct vgr_account_share *s))
{
    struct vgr_account_share s;
    int status;
    pid_t pid = fork();

    if (!pid) {
        signal(SIGSEGV, SIG_DFL);
        munmap(account.pages, sizeof(*account.pages)); /* as if this had been started by exec */
        if (vgr_account_join(&s, account.read_fd, account.fd, 4, LIMIT, 0))
            _exit(90);
        close(account.read_fd);
        close(account.fd);
        f(&s);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void write_own(struct vgr_account_share *s)
{
    s->own->held = 17;
}

static void write_others(struct vgr_account_share *s)
{
    *(volatile uint64_t *)&s->all->slot[5].held = 17;
}

static void write_own_where_all_are(struct vgr_account_share *s)
{
    *(volatile uint64_t *)&s->all->slot[4].held = 18;
}

static void write_the_front_s(struct vgr_account_share *s)
{
    *(volatile uint32_t *)&s->all->used = 0;
}

static void make_writable(struct vgr_account_share *s)
{
    char *all = (char *)s->all;

    for (unsigned i = 0; i <= VGR_ACCOUNT_SLOTS; i++) {
        if (!mprotect(all + (size_t)i * VGR_ACCOUNT_PAGE, VGR_ACCOUNT_PAGE,
                      PROT_READ | PROT_WRITE) ||
            (errno != EACCES && errno != EPERM))
            _exit(1);
    }
}

/* Where the kernel does not seal, the sandbox holds this, by refusing both calls. */
static void grow(struct vgr_account_share *s)
{
    size_t page = VGR_ACCOUNT_PAGE;
    int grown = 0;

    grown += syscall(SYS_mremap, s->own, page, 2 * page, MREMAP_MAYMOVE, 0) != -1;
    grown += syscall(SYS_mremap, s->own, 0, 2 * page, MREMAP_MAYMOVE, 0) != -1;
    grown += !syscall(SYS_remap_file_pages, s->own, page, 0, 0, 0);
    _exit(grown);
}

static bool kernel_seals(void)
{
#ifdef SYS_mseal
    return !syscall(SYS_mseal, NULL, 0UL, 0UL);
#else
    return false;
#endif
}

static void a_worker_writes_its_own_slot_only(void **state)
{
    struct vgr_account *a = *state;

    vgr_account_use(a, 5);
    assert_int_equal(in_a_process(write_own), 0);
    assert_true(a->pages->slot[4].held == 17);
    assert_int_equal(in_a_process(write_others), -SIGSEGV);
    assert_int_equal(in_a_process(write_own_where_all_are), -SIGSEGV);
    assert_int_equal(in_a_process(write_the_front_s), -SIGSEGV);
    assert_int_equal(in_a_process(make_writable), 0);
    assert_int_equal(!in_a_process(grow), kernel_seals());
    assert_true(a->pages->slot[4].held == 17 && !a->pages->slot[5].held);
    assert_int_equal(a->pages->used, 6);
}

/* What processes share beside the account: what they really have. */
struct truth {
    uint64_t held;
    uint32_t at[2];
    uint32_t got[2];
};

static struct truth *make_truth(void)
{
    void *p =
        mmap(NULL, sizeof(struct truth), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static void take_and_give(struct truth *t, struct vgr_account_share *s, unsigned seed)
{
    enum { TIMES = 5000 };
    unsigned refused = 0;
    uint64_t held = 0;

    srandom(seed);
    for (int n = 0; n < TIMES; n++) {
        uint64_t bytes = 1 + (uint64_t)random() % (LIMIT / 2);

        if (vgr_account_take(s, bytes)) {
            held += bytes;
            if (__atomic_add_fetch(&t->held, bytes, __ATOMIC_SEQ_CST) > LIMIT)
                _exit(2);
        } else {
            refused++;
        }
        if (s->own->held != held || s->own->wish)
            _exit(3);
        if (held && random() % 2) {
            __atomic_sub_fetch(&t->held, held - 1, __ATOMIC_SEQ_CST);
            vgr_account_give(s, held - 1);
            held = 1;
        }
    }
    _exit(refused ? 0 : 4);
}

static void all_succeed(const pid_t *pid, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int status;

        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* Children take and give back at random; they never hold more than the limit, and what they did is
 * what is left. */
static void workers_never_hold_more_together(void **state)
{
    enum { WORKERS = 4 };
    struct vgr_account_share s[WORKERS];
    struct truth *t = make_truth();
    pid_t pid[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        s[i] = join(i, LIMIT, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        pid[i] = fork();
        if (!pid[i])
            take_and_give(t, &s[i], i + 1);
    }
    all_succeed(pid, WORKERS);
    assert_true(t->held >= 1 && t->held == vgr_account_sum(&s[0]));
    munmap(t, sizeof(*t));
    (void)state;
}

/* Waits until both have come to `round`. */
static void meet(struct truth *t, unsigned me, uint32_t round)
{
    __atomic_store_n(&t->at[me], round, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&t->at[!me], __ATOMIC_SEQ_CST) < round)
        sched_yield();
}

static void want_the_last(struct truth *t, struct vgr_account_share *s, unsigned me)
{
    enum { ROUNDS = 2000 };
    uint32_t round = 0;

    for (int i = 0; i < ROUNDS; i++) {
        meet(t, me, ++round);
        t->got[me] = vgr_account_take(s, LIMIT - 1);
        meet(t, me, ++round);
        if (t->got[0] + t->got[1] != 1)
            _exit(1 + (int)(t->got[0] + t->got[1]));
        if (t->got[me])
            vgr_account_give(s, LIMIT - 1);
        meet(t, me, ++round);
    }
    _exit(0);
}

static void of_two_one_gets_the_last_bytes(void **state)
{
    struct vgr_account_share s[2] = {join(3, LIMIT, 0), join(8, LIMIT, 0)};
    struct truth *t = make_truth();
    pid_t pid[2];

    for (unsigned i = 0; i < 2; i++) {
        pid[i] = fork();
        if (!pid[i])
            want_the_last(t, &s[i], i);
    }
    all_succeed(pid, 2);
    munmap(t, sizeof(*t));
    (void)state;
}

/* Killed at any instruction, a worker leaves nothing behind that the front cannot clear. 200 of them, and
 * more if that is what it takes to meet one with a wish and one with bytes. */
static void the_dead_give_back(void **state)
{
    enum { ROUNDS = 200, MOST = 5000 };
    struct vgr_account *a = *state;
    struct vgr_account_share s = join(7, LIMIT, 0), other = join(3, LIMIT, 0);
    const struct vgr_account_slot *slot = &a->pages->slot[7];
    unsigned with_wish = 0, with_bytes = 0;
    int begun[2], i;

    assert_int_equal(pipe2(begun, O_CLOEXEC), 0);
    for (i = 0; i < ROUNDS || (i < MOST && !(with_wish && with_bytes)); i++) {
        pid_t pid = fork();
        char c = 0;

        if (!pid) {
            if (write(begun[1], &c, 1) != 1)
                _exit(1);
            for (;;) {
                if (!vgr_account_take(&s, LIMIT))
                    _exit(1);
                vgr_account_sum(&s); /* hold it for a moment */
                vgr_account_give(&s, LIMIT);
            }
        }
        assert_int_equal(read(begun[0], &c, 1), 1);
        usleep((useconds_t)(100 + 37 * (i % ROUNDS)));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        with_wish += slot->wish == LIMIT;
        with_bytes += slot->held == LIMIT;
        vgr_account_clear(a, 7);
        assert_true(vgr_account_sum(&other) == 0);
        assert_true(vgr_account_take(&other, LIMIT));
        vgr_account_give(&other, LIMIT);
    }
    close(begun[0]);
    close(begun[1]);
    assert_true(with_wish && with_bytes);
    print_message("%d killed, %u of them with a wish, %u with bytes\n", i, with_wish, with_bytes);
}

static void a_wish_that_stands_is_not_overrun(void **state)
{
    struct vgr_account *a = *state;
    struct vgr_account_share s = join(3, LIMIT, 0);

    for (uint32_t i = 2; i <= 4; i += 2) { /* before and after it */
        vgr_account_use(a, i);
        a->pages->slot[i].wish = LIMIT;
        assert_false(vgr_account_take(&s, 1)); /* waited, for long enough */
        assert_true(!s.own->wish && !s.own->held);
        vgr_account_clear(a, i);
        assert_true(vgr_account_take(&s, 1));
        vgr_account_give(&s, 1);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(limit_holds_at_the_byte),
        T(slots_that_were_never_used_are_not_read),
        T(sizes_do_not_overflow),
        T(liars_deny_no_more_than_their_share),
        T(without_a_limit_it_still_counts),
        T(the_file_keeps_its_size),
        T(a_worker_writes_its_own_slot_only),
        T(workers_never_hold_more_together),
        T(of_two_one_gets_the_last_bytes),
        T(the_dead_give_back),
        T(a_wish_that_stands_is_not_overrun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
