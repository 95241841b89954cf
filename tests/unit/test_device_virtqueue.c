/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>

#include "fake_guest.h"

#define N 8

static int setup_plain(void **state)
{
    static struct fake_guest g;

    guest_init(&g, N, 0, false);
    *state = &g;
    return 0;
}

static int setup_event_idx(void **state)
{
    static struct fake_guest g;

    guest_init(&g, N, 0, true);
    *state = &g;
    return 0;
}

/* Three before the index wraps. */
static int setup_wrap(void **state)
{
    static struct fake_guest g;

    guest_init(&g, N, 65533, true);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    guest_finish(*state);
    return 0;
}

/* One chain of one readable and one writable piece, as descriptors i and i + 1. */
static void offer_simple(struct fake_guest *g, unsigned i)
{
    guest_desc(g, i, DATA_GPA, 16, VGR_DESC_NEXT, (uint16_t)(i + 1));
    guest_desc(g, i + 1, DATA_GPA + 0x1000, 16, VGR_DESC_WRITE, 0);
    guest_offer(g, (uint16_t)i);
}

static void pop_is(struct fake_guest *g, int expected)
{
    struct vgr_chain c;

    assert_int_equal(vgr_vq_pop(&g->vq, &c), expected);
}

static void empty_queue_has_nothing(void **state)
{
    struct fake_guest *g = *state;

    pop_is(g, 0);
    assert_true(vgr_vq_untouched(&g->vq));
    assert_false(vgr_vq_rearm(&g->vq));
}

static void chain_is_read_and_answered(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain c;
    char buf[32] = {0};
    uint32_t len;

    strcpy(guest_ptr(g, DATA_GPA), "question");
    offer_simple(g, 0);
    assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
    assert_int_equal(c.in_left, 16);
    assert_int_equal(vgr_chain_read(&c, buf, 4), 4);
    assert_int_equal(vgr_chain_read(&c, buf + 4, 28), 12);
    assert_string_equal(buf, "question");
    assert_int_equal(c.in_left, 0);
    assert_int_equal(vgr_chain_read(&c, buf, 1), 0);
    assert_int_equal(vgr_chain_write(&c, "answer", 7), 7);
    assert_int_equal(vgr_chain_write(&c, buf, 32), 9);
    vgr_vq_push(&g->vq, c.head, c.written);
    assert_int_equal(guest_used(g, &len), 0);
    assert_int_equal(len, 16);
    assert_string_equal(guest_ptr(g, DATA_GPA + 0x1000), "answer");
    pop_is(g, 0);
}

static void chains_complete_in_any_order(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain a, b;

    offer_simple(g, 0);
    offer_simple(g, 4);
    assert_int_equal(vgr_vq_pop(&g->vq, &a), 1);
    assert_int_equal(vgr_vq_pop(&g->vq, &b), 1);
    vgr_vq_push(&g->vq, b.head, 1);
    assert_int_equal(guest_used(g, NULL), 4);
    assert_int_equal(guest_used(g, NULL), -1);
    vgr_vq_push(&g->vq, a.head, 1);
    assert_int_equal(guest_used(g, NULL), 0);
}

static void indices_wrap(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain c;

    for (unsigned i = 0; i < 10; i++) {
        *guest_used_event(g) = g->used_seen;
        offer_simple(g, 2 * (i % 4));
        assert_true(vgr_vq_rearm(&g->vq));
        assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
        assert_int_equal(c.head, 2 * (i % 4));
        assert_false(vgr_vq_rearm(&g->vq));
        assert_int_equal(*guest_avail_event(g), g->avail_idx);
        vgr_vq_push(&g->vq, c.head, 0);
        vgr_vq_notify(&g->vq);
        assert_true(guest_interrupted(g));
        assert_int_equal(guest_used(g, NULL), c.head);
    }
    assert_int_equal(g->used_seen, (uint16_t)(65533 + 10));
}

/* The guest's queue with a record, and a successor of its device. */
static void keep(struct fake_guest *g, struct vgr_vq_record *record)
{
    memset(record, 0, sizeof(*record));
    g->vq.record = record;
    assert_int_equal(vgr_vq_start(&g->vq, &g->mem, N, UADDR + DESC_GPA, UADDR + AVAIL_GPA,
                                  UADDR + USED_GPA, g->avail_idx, true),
                     0);
}

static void succeed(struct fake_guest *g)
{
    g->vq.last_avail = g->vq.used_idx = 0x5555; /* what it knew is gone */
    vgr_vq_stop(&g->vq);
    assert_int_equal(vgr_vq_resume(&g->vq, &g->mem, N, UADDR + DESC_GPA, UADDR + AVAIL_GPA,
                                   UADDR + USED_GPA, true),
                     0);
}

static void successor_gives_back_what_was_held(void **state)
{
    static struct vgr_vq_record record;
    struct fake_guest *g = *state;
    struct vgr_chain c;

    keep(g, &record);
    for (unsigned i = 0; i < 3; i++) {
        offer_simple(g, 2 * i);
        pop_is(g, 1);
    }
    vgr_vq_push(&g->vq, 2, 0);
    assert_int_equal(guest_used(g, NULL), 2);
    offer_simple(g, 6); /* not taken before the death */

    succeed(g);
    for (int head = 0; head <= 6; head += head ? 2 : 4) {
        assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
        assert_int_equal(c.head, head);
        assert_int_equal(c.in_left, 16);
        vgr_vq_push(&g->vq, c.head, 0);
        assert_int_equal(guest_used(g, NULL), head);
    }
    pop_is(g, 0);
    assert_int_equal(g->vq.last_avail, g->avail_idx);
}

/* Death at each step of giving a chain back: it is given back once. */
static void death_while_pushing_pushes_once(void **state)
{
    static struct vgr_vq_record record;
    struct fake_guest *g = *state;
    struct vgr_chain c;

    for (int step = 0; step < 4; step++) {
        uint16_t used = g->used_seen;

        keep(g, &record);
        offer_simple(g, 4);
        offer_simple(g, 2);
        pop_is(g, 1);
        pop_is(g, 1);
        if (step == 0) {
            record.last = 2; /* noted, not published */
        } else {
            vgr_vq_push(&g->vq, 2, 0);
            if (step <= 2)
                record.used_idx = used;
            if (step == 1)
                record.held[2] = 1;
        }
        succeed(g);
        while (vgr_vq_pop(&g->vq, &c) == 1)
            vgr_vq_push(&g->vq, c.head, 0);
        assert_int_equal(guest_used(g, NULL), 2);
        assert_int_equal(guest_used(g, NULL), 4);
        assert_int_equal(guest_used(g, NULL), -1);
    }
}

/* Where memory moves, the queue stops and goes on. New rings begin without marks. */
static void marks_are_of_their_rings(void **state)
{
    static struct vgr_vq_record record;
    struct fake_guest *g = *state;

    keep(g, &record);
    offer_simple(g, 0);
    pop_is(g, 1);
    vgr_vq_stop(&g->vq);
    assert_int_equal(vgr_vq_start(&g->vq, &g->mem, N, UADDR + DESC_GPA, UADDR + AVAIL_GPA,
                                  UADDR + USED_GPA, g->vq.last_avail, true),
                     0);
    assert_int_equal(record.held[0], 1);
    vgr_vq_stop(&g->vq);
    *(uint16_t *)guest_ptr(g, USED_GPA + 2) = 100;
    assert_int_equal(vgr_vq_start(&g->vq, &g->mem, N, UADDR + DESC_GPA, UADDR + AVAIL_GPA,
                                  UADDR + USED_GPA, 100, true),
                     0);
    assert_int_equal(record.held[0], 0);
}

static void flag_suppresses_interrupts(void **state)
{
    struct fake_guest *g = *state;
    uint16_t *avail_flags = guest_ptr(g, AVAIL_GPA);

    *avail_flags = 1;
    vgr_vq_push(&g->vq, 0, 0);
    vgr_vq_notify(&g->vq);
    assert_false(guest_interrupted(g));
    *avail_flags = 0;
    vgr_vq_notify(&g->vq); /* nothing new */
    assert_false(guest_interrupted(g));
    vgr_vq_push(&g->vq, 0, 0);
    vgr_vq_notify(&g->vq);
    assert_true(guest_interrupted(g));
}

static void used_event_suppresses_interrupts(void **state)
{
    struct fake_guest *g = *state;

    *guest_used_event(g) = 2; /* wants to hear of the third */
    for (int i = 0; i < 2; i++) {
        vgr_vq_push(&g->vq, 0, 0);
        vgr_vq_notify(&g->vq);
        assert_false(guest_interrupted(g));
    }
    vgr_vq_push(&g->vq, 0, 0);
    vgr_vq_push(&g->vq, 0, 0); /* stepped over it in one go */
    vgr_vq_notify(&g->vq);
    assert_true(guest_interrupted(g));
    vgr_vq_push(&g->vq, 0, 0);
    vgr_vq_notify(&g->vq);
    assert_false(guest_interrupted(g));
    assert_int_equal(g->vq.interrupts, 1);
}

static void rearm_sees_what_came_meanwhile(void **state)
{
    struct fake_guest *g = *state;

    assert_false(vgr_vq_rearm(&g->vq));
    assert_int_equal(*guest_avail_event(g), 0);
    offer_simple(g, 0);
    assert_true(vgr_vq_rearm(&g->vq));
    pop_is(g, 1);
    assert_false(vgr_vq_rearm(&g->vq));
    assert_int_equal(*guest_avail_event(g), 1);
}

static void indirect_table(struct fake_guest *g, uint64_t table_gpa, uint32_t n, uint64_t data)
{
    for (uint32_t i = 0; i < n; i++) {
        struct vgr_vq_desc *d = guest_ptr(g, table_gpa + 16ull * i);

        /* Every second byte, so that nothing merges. */
        *d = (struct vgr_vq_desc){data + 2 * (i % 1000), 1,
                                  i + 1 < n ? VGR_DESC_NEXT : VGR_DESC_WRITE, (uint16_t)(i + 1)};
    }
    guest_desc(g, 0, table_gpa, 16 * n, VGR_DESC_INDIRECT, 0);
}

static void indirect_chain_is_followed(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain c;

    indirect_table(g, DATA_GPA, 3, DATA_GPA + 0x10000);
    guest_offer(g, 0);
    assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
    assert_int_equal(c.n_in, 2);
    assert_int_equal(c.n_out, 1);
    assert_int_equal(c.in_left, 2);
}

static void ring_descriptors_may_precede_an_indirect_table(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain c;

    indirect_table(g, DATA_GPA, 2, DATA_GPA + 0x10000);
    guest_desc(g, 1, DATA_GPA, 4, VGR_DESC_NEXT, 0);
    guest_offer(g, 1);
    assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
    assert_int_equal(c.in_left, 5);
}

static void long_indirect_table_may_cross_regions(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain c;
    uint32_t n = 60000; /* `next` has 16 bits, so this is near what one table can chain */

    indirect_table(g, GPA_B - 16 * 1000, n, GPA_C);
    guest_offer(g, 0);
    assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
    assert_int_equal(c.in_left, n - 1);
}

static void range_over_a_border_is_two_pieces(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_chain c;
    char buf[8];

    memcpy(guest_ptr(g, GPA_B - 4), "abcd", 4);
    memcpy(guest_ptr(g, GPA_B), "efgh", 4);
    guest_desc(g, 0, GPA_B - 4, 8, 0, 0);
    guest_offer(g, 0);
    assert_int_equal(vgr_vq_pop(&g->vq, &c), 1);
    assert_int_equal(vgr_chain_read(&c, buf, 8), 8);
    assert_memory_equal(buf, "abcdefgh", 8);
}

/* A bad chain is given back, and the next one is served. */
static void is_bad(struct fake_guest *g)
{
    struct vgr_chain c;

    guest_offer(g, 0);
    assert_int_equal(vgr_vq_pop(&g->vq, &c), -EBADMSG);
    assert_int_equal(c.head, 0);
    vgr_vq_push(&g->vq, c.head, 0);
    offer_simple(g, 6);
    pop_is(g, 1);
}

static void loop_in_ring_is_bad(void **state)
{
    guest_desc(*state, 0, DATA_GPA, 1, VGR_DESC_NEXT, 1);
    guest_desc(*state, 1, DATA_GPA, 1, VGR_DESC_NEXT, 0);
    is_bad(*state);
}

static void next_outside_of_ring_is_bad(void **state)
{
    guest_desc(*state, 0, DATA_GPA, 1, VGR_DESC_NEXT, N);
    is_bad(*state);
}

static void loop_in_indirect_table_is_bad(void **state)
{
    struct vgr_vq_desc *d = guest_ptr(*state, DATA_GPA);

    indirect_table(*state, DATA_GPA, 4, DATA_GPA + 0x10000);
    d[2].next = 0;
    is_bad(*state);
}

static void next_outside_of_indirect_table_is_bad(void **state)
{
    struct vgr_vq_desc *d = guest_ptr(*state, DATA_GPA);

    indirect_table(*state, DATA_GPA, 4, DATA_GPA + 0x10000);
    d[2].next = 4;
    is_bad(*state);
}

static void nested_indirect_table_is_bad(void **state)
{
    struct vgr_vq_desc *d = guest_ptr(*state, DATA_GPA);

    indirect_table(*state, DATA_GPA, 2, DATA_GPA + 0x10000);
    d[1] = (struct vgr_vq_desc){DATA_GPA, 32, VGR_DESC_INDIRECT, 0};
    is_bad(*state);
}

static void indirect_with_next_is_bad(void **state)
{
    guest_desc(*state, 0, DATA_GPA, 32, VGR_DESC_INDIRECT | VGR_DESC_NEXT, 1);
    guest_desc(*state, 1, DATA_GPA, 1, 0, 0);
    is_bad(*state);
}

static void empty_and_odd_indirect_tables_are_bad(void **state)
{
    guest_desc(*state, 0, DATA_GPA, 0, VGR_DESC_INDIRECT, 0);
    is_bad(*state);
    guest_desc(*state, 0, DATA_GPA, 24, VGR_DESC_INDIRECT, 0);
    is_bad(*state);
}

static void oversized_indirect_table_is_bad(void **state)
{
    guest_desc(*state, 0, DATA_GPA, 16 * (VGR_VQ_MAX_INDIRECT + 1), VGR_DESC_INDIRECT, 0);
    is_bad(*state);
}

static void indirect_table_outside_of_memory_is_bad(void **state)
{
    guest_desc(*state, 0, 2 * MIB, 32, VGR_DESC_INDIRECT, 0);
    is_bad(*state);
    guest_desc(*state, 0, UINT64_MAX - 15, 32, VGR_DESC_INDIRECT, 0);
    is_bad(*state);
}

static void address_outside_of_memory_is_bad(void **state)
{
    guest_desc(*state, 0, 3 * MIB, 1, 0, 0);
    is_bad(*state);
    guest_desc(*state, 0, GPA_C + MIB - 1, 2, VGR_DESC_WRITE, 0);
    is_bad(*state);
    guest_desc(*state, 0, UINT64_MAX, UINT32_MAX, 0, 0);
    is_bad(*state);
}

static void readable_after_writable_is_bad(void **state)
{
    guest_desc(*state, 0, DATA_GPA, 1, VGR_DESC_WRITE | VGR_DESC_NEXT, 1);
    guest_desc(*state, 1, DATA_GPA, 1, 0, 0);
    is_bad(*state);
}

static void head_outside_of_ring_ends_the_queue(void **state)
{
    struct fake_guest *g = *state;

    guest_offer(g, N);
    pop_is(g, -EPROTO);
    offer_simple(g, 0);
    pop_is(g, 0);
}

/* A chain that is with the device is offered again and again: each would be held. */
static void more_chains_than_descriptors_end_the_queue(void **state)
{
    struct fake_guest *g = *state;

    for (int i = 0; i < N; i++) {
        offer_simple(g, 0);
        pop_is(g, 1);
    }
    vgr_vq_push(&g->vq, 0, 0);
    offer_simple(g, 0);
    pop_is(g, 1);
    offer_simple(g, 0);
    pop_is(g, -EPROTO);
}

static void impossible_index_ends_the_queue(void **state)
{
    struct fake_guest *g = *state;

    g->avail_idx += N;
    guest_offer(g, 0);
    pop_is(g, -EPROTO);
}

static void stopped_queue_touches_nothing(void **state)
{
    struct fake_guest *g = *state;

    offer_simple(g, 0);
    vgr_vq_stop(&g->vq);
    pop_is(g, 0);
    vgr_vq_push(&g->vq, 0, 0);
    vgr_vq_notify(&g->vq);
    assert_int_equal(guest_used(g, NULL), -1);
    assert_false(guest_interrupted(g));
}

static void start_checks_size_and_addresses(void **state)
{
    struct fake_guest *g = *state;
    struct vgr_vq q;

    vgr_vq_init(&q);
    assert_int_equal(vgr_vq_start(&q, &g->mem, 6, UADDR, UADDR, UADDR, 0, false), -EINVAL);
    assert_int_equal(vgr_vq_start(&q, &g->mem, 0, UADDR, UADDR, UADDR, 0, false), -EINVAL);
    assert_int_equal(vgr_vq_start(&q, &g->mem, 65536, UADDR, UADDR, UADDR, 0, false), -EINVAL);
    assert_int_equal(vgr_vq_start(&q, &g->mem, 8, UADDR + 8, UADDR, UADDR, 0, false), -EINVAL);
    assert_int_equal(vgr_vq_start(&q, &g->mem, 8, 0x1000, UADDR, UADDR, 0, false), -EFAULT);
    /* The last ring entry, just outside. */
    assert_int_equal(vgr_vq_start(&q, &g->mem, 8, UADDR, UADDR, UADDR + 2 * MIB - 64, 0, false),
                     -EFAULT);
    assert_false(q.running);
}

#define PLAIN(f) cmocka_unit_test_setup_teardown(f, setup_plain, teardown)
#define EVENT(f) cmocka_unit_test_setup_teardown(f, setup_event_idx, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(empty_queue_has_nothing),
        PLAIN(chain_is_read_and_answered),
        PLAIN(chains_complete_in_any_order),
        cmocka_unit_test_setup_teardown(indices_wrap, setup_wrap, teardown),
        PLAIN(flag_suppresses_interrupts),
        EVENT(used_event_suppresses_interrupts),
        EVENT(successor_gives_back_what_was_held),
        EVENT(death_while_pushing_pushes_once),
        EVENT(marks_are_of_their_rings),
        EVENT(rearm_sees_what_came_meanwhile),
        PLAIN(indirect_chain_is_followed),
        PLAIN(ring_descriptors_may_precede_an_indirect_table),
        PLAIN(long_indirect_table_may_cross_regions),
        PLAIN(range_over_a_border_is_two_pieces),
        PLAIN(loop_in_ring_is_bad),
        PLAIN(next_outside_of_ring_is_bad),
        PLAIN(loop_in_indirect_table_is_bad),
        PLAIN(next_outside_of_indirect_table_is_bad),
        PLAIN(nested_indirect_table_is_bad),
        PLAIN(indirect_with_next_is_bad),
        PLAIN(empty_and_odd_indirect_tables_are_bad),
        PLAIN(oversized_indirect_table_is_bad),
        PLAIN(indirect_table_outside_of_memory_is_bad),
        PLAIN(address_outside_of_memory_is_bad),
        PLAIN(readable_after_writable_is_bad),
        PLAIN(head_outside_of_ring_ends_the_queue),
        PLAIN(more_chains_than_descriptors_end_the_queue),
        PLAIN(impossible_index_ends_the_queue),
        PLAIN(stopped_queue_touches_nothing),
        PLAIN(start_checks_size_and_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
