/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <string.h>

#include "device/table.h"

#define N 1000

struct fixture {
    struct vgr_table t;
    struct vgr_table_node nodes[N];
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    f.t.limit = N;
    *state = &f;
    return 0;
}

static void finds_what_was_inserted(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(vgr_table_insert(&f->t, &f->nodes[i], (i + 1) << 8), 0);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(vgr_table_find(&f->t, (i + 1) << 8), &f->nodes[i]);
    assert_null(vgr_table_find(&f->t, 1));
    assert_null(vgr_table_find(&f->t, 0));
    assert_null(vgr_table_find(&f->t, UINT32_MAX));
}

static void number_0_and_taken_numbers_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[0], 0), -EINVAL);
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[0], UINT32_MAX), 0);
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[1], UINT32_MAX), -EEXIST);
    assert_int_equal(f->t.n, 1);
}

static void is_bounded(void **state)
{
    struct fixture *f = *state;

    f->t.limit = 2;
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[0], 1), 0);
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[1], 2), 0);
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[2], 3), -ENOSPC);
    vgr_table_remove(&f->t, &f->nodes[0]);
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[2], 3), 0);
}

static void removed_numbers_are_free_again(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(vgr_table_insert(&f->t, &f->nodes[i], 1 + (i << 8)), 0);
    vgr_table_remove(&f->t, &f->nodes[1]);
    assert_null(vgr_table_find(&f->t, 1 + (1 << 8)));
    assert_non_null(vgr_table_find(&f->t, 1));
    assert_non_null(vgr_table_find(&f->t, 1 + (2 << 8)));
    assert_int_equal(vgr_table_insert(&f->t, &f->nodes[1], 1 + (1 << 8)), 0);
}

static void walk_meets_each_once(void **state)
{
    struct fixture *f = *state;
    struct vgr_table_node *n = NULL;
    unsigned count = 0;

    assert_null(vgr_table_next(&f->t, NULL));
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(vgr_table_insert(&f->t, &f->nodes[i], i * 7 + 1), 0);
    while ((n = vgr_table_next(&f->t, n)))
        count++;
    assert_int_equal(count, N);
}

static unsigned depth(const struct vgr_table_node *n)
{
    unsigned d = 0;

    for (; n; n = n->parent)
        d++;
    return d;
}

/* Numbers that go the same way for as long as there are bits: the worst that a guest can do. */
static void no_search_is_long(void **state)
{
    struct fixture *f = *state;
    unsigned deepest = 0;

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(vgr_table_insert(&f->t, &f->nodes[i], 1u << (31 - i)), 0);
    for (uint32_t i = 32; i < N; i++)
        assert_int_equal(vgr_table_insert(&f->t, &f->nodes[i], i << 22 | 1 << 21), 0);
    for (uint32_t i = 0; i < N; i++) {
        unsigned d = depth(&f->nodes[i]);

        deepest = d > deepest ? d : deepest;
    }
    assert_uint_in_range(deepest, 20, VGR_TABLE_DEPTH);
}

/* Half of them goes in the middle of a walk; what is left is found, in any order of going. */
static void nodes_may_go_during_a_walk(void **state)
{
    struct fixture *f = *state;
    struct vgr_table_node *n, *next;
    unsigned met = 0;

    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(vgr_table_insert(&f->t, &f->nodes[i], (i + 1) * 2654435761u), 0);
    for (n = vgr_table_next(&f->t, NULL); n; n = next, met++) {
        next = vgr_table_next(&f->t, n);
        if ((n - f->nodes) % 2)
            vgr_table_remove(&f->t, n);
    }
    assert_int_equal(met, N);
    assert_int_equal(f->t.n, N / 2);
    for (uint32_t i = 0; i < N; i++) {
        n = vgr_table_find(&f->t, (i + 1) * 2654435761u);
        assert_ptr_equal(n, i % 2 ? NULL : &f->nodes[i]);
    }
    for (uint32_t i = 0; i < N; i += 2)
        vgr_table_remove(&f->t, &f->nodes[i]);
    assert_null(vgr_table_next(&f->t, NULL));
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(finds_what_was_inserted),
        T(number_0_and_taken_numbers_are_refused),
        T(is_bounded),
        T(removed_numbers_are_free_again),
        T(walk_meets_each_once),
        T(no_search_is_long),
        T(nodes_may_go_during_a_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
