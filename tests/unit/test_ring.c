/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "protocol/ring.h"
#include "vgr_test.h"

#define RING  VGR_RING_MIN
#define ARENA (4096u + RING + 4096u)

struct rig {
    void *arena;
    struct vgr_control *ctl;
    struct vgr_ring_producer p;
    struct vgr_ring_consumer c;
    uint64_t record[RING / 4 / 8];
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    r->arena = aligned_alloc(4096, (ARENA + 4095) & ~4095u);
    memset(r->arena, 0, ARENA);
    r->ctl = r->arena;
    r->ctl->hello.arena_size = ARENA;
    r->ctl->hello.ring_off = 4096;
    r->ctl->hello.ring_size = RING;
    r->ctl->hello.heap_off = 4096 + RING;
    vgr_ring_producer_init(&r->p, r->arena, (uint8_t *)r->arena + 4096, RING);
    vgr_ring_consumer_init(&r->c, r->arena, (uint8_t *)r->arena + 4096, RING);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;

    free(r->arena);
    free(r);
    return 0;
}

static void push(struct rig *r, uint32_t size, uint32_t tag)
{
    struct vgr_cmd *h = vgr_ring_reserve(&r->p, size);

    assert_non_null(h);
    memset(h, 0, size);
    h->op = VGR_CMD_SYNC;
    h->size = size;
    if (size >= 16)
        memcpy((uint8_t *)h + 8, &tag, sizeof(tag));
    vgr_ring_commit(&r->p, size);
}

static int next(struct rig *r)
{
    return vgr_ring_next(&r->c, r->record, sizeof(r->record));
}

static void test_empty_ring_has_nothing(void **state)
{
    struct rig *r = *state;

    assert_int_equal(next(r), 0);
    assert_false(vgr_ring_pending(&r->c));
}

static void test_records_are_invisible_before_publish(void **state)
{
    struct rig *r = *state;

    push(r, 16, 1);
    assert_int_equal(next(r), 0);
    vgr_ring_publish(&r->p);
    assert_int_equal(next(r), 16);
}

static void test_sequence_numbers_agree_across_wraps(void **state)
{
    struct rig *r = *state;
    uint32_t sizes[] = {8, 16, 40, 216, RING / 4, 24};
    uint64_t pushed = 0;

    for (uint32_t i = 0; i < 5000; i++) {
        uint32_t size = sizes[i % 6];
        uint32_t tag;

        push(r, size, i);
        pushed++;
        vgr_ring_publish(&r->p);
        assert_int_equal(next(r), size);
        vgr_ring_release(&r->c);
        if (size >= 16) {
            memcpy(&tag, (uint8_t *)r->record + 8, sizeof(tag));
            assert_int_equal(tag, i);
        }
        assert_int_equal(r->c.seq, pushed);
        assert_int_equal(r->p.seq, pushed);
    }
    assert_int_equal(r->c.bytes, r->p.bytes);
}

static void test_full_ring_gives_no_room_and_loses_nothing(void **state)
{
    struct rig *r = *state;
    uint32_t n = 0;

    while (vgr_ring_reserve(&r->p, 1024)) {
        push(r, 1024, n);
        n++;
    }
    assert_int_equal(n, RING / 1024);
    assert_int_equal(vgr_ring_room(&r->p, 8), -EAGAIN);
    vgr_ring_publish(&r->p);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(next(r), 1024);
    assert_int_equal(vgr_ring_room(&r->p, 8), -EAGAIN); /* not released yet */
    vgr_ring_release(&r->c);
    assert_int_equal(vgr_ring_room(&r->p, 1024), 0);
}

static void test_bad_record_sizes_cannot_be_reserved(void **state)
{
    struct rig *r = *state;

    assert_null(vgr_ring_reserve(&r->p, 0));
    assert_null(vgr_ring_reserve(&r->p, 4));
    assert_null(vgr_ring_reserve(&r->p, 12));
    assert_null(vgr_ring_reserve(&r->p, RING / 4 + 8));
}

/* A hostile guest writes what it likes: the consumer must answer -EPROTO, never read outside. */
static void hostile(struct rig *r, uint32_t tail, uint16_t op, uint32_t size)
{
    struct vgr_cmd h = {.op = op, .size = size};

    memcpy((uint8_t *)r->arena + 4096, &h, sizeof(h));
    r->ctl->tail = tail;
    assert_int_equal(next(r), -EPROTO);
}

static void test_tail_beyond_the_ring_is_refused(void **state)
{
    hostile(*state, RING + 8, VGR_CMD_SYNC, 8);
}

static void test_unaligned_tail_is_refused(void **state)
{
    hostile(*state, 12, VGR_CMD_SYNC, 8);
}

static void test_record_longer_than_what_was_produced_is_refused(void **state)
{
    hostile(*state, 8, VGR_CMD_SYNC, 16);
}

static void test_record_shorter_than_a_header_is_refused(void **state)
{
    hostile(*state, 8, VGR_CMD_SYNC, 0);
}

static void test_record_of_odd_size_is_refused(void **state)
{
    hostile(*state, 64, VGR_CMD_SYNC, 13);
}

static void test_record_over_a_quarter_is_refused(void **state)
{
    hostile(*state, RING, VGR_CMD_SYNC, RING / 4 + 8);
}

static void test_padding_that_does_not_end_at_the_wrap_is_refused(void **state)
{
    hostile(*state, 64, VGR_CMD_PAD, 16);
}

static void test_impossible_head_is_reported_to_the_guest(void **state)
{
    struct rig *r = *state;

    while (vgr_ring_reserve(&r->p, 4096))
        push(r, 4096, 0);
    r->ctl->head = r->p.tail + 64; /* consumed more than was produced */
    assert_int_equal(vgr_ring_room(&r->p, 8), -EPROTO);
    assert_null(vgr_ring_reserve(&r->p, 8));
}

static void test_one_sleep_costs_one_doorbell(void **state)
{
    struct rig *r = *state;

    push(r, 8, 0);
    assert_false(vgr_ring_publish(&r->p));     /* awake: no doorbell */
    assert_false(vgr_ring_sleep_begin(&r->c)); /* work to do: no sleep */
    assert_int_equal(next(r), 8);
    assert_true(vgr_ring_sleep_begin(&r->c));
    push(r, 8, 0);
    assert_true(vgr_ring_publish(&r->p));
    push(r, 8, 0);
    assert_false(vgr_ring_publish(&r->p)); /* already rung */
}

static void test_wait_is_woken_only_when_its_number_is_reached(void **state)
{
    struct rig *r = *state;

    assert_true(vgr_ring_wait_begin(&r->p, 3));
    assert_false(vgr_ring_complete(&r->c, 2));
    assert_true(vgr_ring_complete(&r->c, 3));
    vgr_ring_wait_end(&r->p);
    assert_false(vgr_ring_complete(&r->c, 4));
    assert_false(vgr_ring_wait_begin(&r->p, 4)); /* done already: do not sleep */
}

/* Two threads, real sleeps on eventfds, both directions, random pauses: a wake-up that is missed
 * shows as a poll that runs into its limit. */
#define HANDOVERS 200000u

struct duel {
    struct rig *r;
    int doorbell, wakeup;
    unsigned missed;
};

static void wait_fd(struct duel *d, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t v;

    if (poll(&p, 1, 5000) != 1)
        __atomic_fetch_add(&d->missed, 1, __ATOMIC_RELAXED);
    else if (read(fd, &v, sizeof(v)) < 0)
        __atomic_fetch_add(&d->missed, 1, __ATOMIC_RELAXED);
}

static void ring_fd(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) < 0)
        abort();
}

static void *consumer_main(void *arg)
{
    struct duel *d = arg;
    struct rig *r = d->r;
    unsigned seed = 1;

    while (r->c.seq < HANDOVERS) {
        int n = next(r);

        if (n > 0) {
            vgr_ring_release(&r->c);
            if (vgr_ring_complete(&r->c, r->c.seq))
                ring_fd(d->wakeup);
            continue;
        }
        for (int i = rand_r(&seed) % 64; i > 0 && !vgr_ring_pending(&r->c); i--)
            sched_yield();
        if (vgr_ring_sleep_begin(&r->c)) {
            wait_fd(d, d->doorbell);
            vgr_ring_sleep_end(&r->c);
        }
    }
    return NULL;
}

static void test_no_wake_up_is_missed(void **state)
{
    struct rig *r = *state;
    struct duel d = {.r = r, .doorbell = eventfd(0, 0), .wakeup = eventfd(0, 0)};
    unsigned seed = 2;
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, consumer_main, &d), 0);
    for (uint64_t i = 1; i <= HANDOVERS; i++) {
        push(r, 8, 0);
        if (vgr_ring_publish(&r->p))
            ring_fd(d.doorbell);
        for (int s = rand_r(&seed) % 32; s > 0 && vgr_ring_done(&r->p) < i; s--)
            sched_yield();
        while (vgr_ring_done(&r->p) < i && !d.missed) {
            if (vgr_ring_wait_begin(&r->p, i)) {
                wait_fd(&d, d.wakeup);
                vgr_ring_wait_end(&r->p);
            }
        }
    }
    pthread_join(t, NULL);
    assert_int_equal(d.missed, 0);
    assert_int_equal(r->c.seq, HANDOVERS);
    close(d.doorbell);
    close(d.wakeup);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_empty_ring_has_nothing),
        T(test_records_are_invisible_before_publish),
        T(test_sequence_numbers_agree_across_wraps),
        T(test_full_ring_gives_no_room_and_loses_nothing),
        T(test_bad_record_sizes_cannot_be_reserved),
        T(test_tail_beyond_the_ring_is_refused),
        T(test_unaligned_tail_is_refused),
        T(test_record_longer_than_what_was_produced_is_refused),
        T(test_record_shorter_than_a_header_is_refused),
        T(test_record_of_odd_size_is_refused),
        T(test_record_over_a_quarter_is_refused),
        T(test_padding_that_does_not_end_at_the_wrap_is_refused),
        T(test_impossible_head_is_reported_to_the_guest),
        T(test_one_sleep_costs_one_doorbell),
        T(test_wait_is_woken_only_when_its_number_is_reached),
        T(test_no_wake_up_is_missed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
