/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "guest/opcache.h"
#include "vgr_test.h"

static struct vgr_opcache cache;

static int setup(void **state)
{
    vgr_opcache_init(&cache, 1u << 20);
    return 0;
}

static int teardown(void **state)
{
    vgr_opcache_free(&cache);
    return 0;
}

static struct vgr_question question(int64_t ne0)
{
    struct vgr_question q = {.device = 0, .n = 2};

    q.tensor[0].op = 2;
    q.tensor[0].ne[0] = ne0;
    q.tensor[0].src[0] = 2;
    q.tensor[1].ne[0] = ne0;
    return q;
}

static void put(const struct vgr_question *q, uint64_t alloc_size)
{
    struct vgr_query_reply answer = {.supported = 1, .alloc_size = alloc_size};

    vgr_opcache_put(&cache, q, vgr_opcache_hash(q), &answer);
}

static const struct vgr_query_reply *get(const struct vgr_question *q)
{
    return vgr_opcache_get(&cache, q, vgr_opcache_hash(q));
}

static void an_empty_cache_knows_nothing(void **state)
{
    struct vgr_question q = question(1);

    assert_null(get(&q));
}

static void an_answer_is_found_by_equal_content(void **state)
{
    struct vgr_question a = question(7), b = question(7);

    put(&a, 70);
    assert_non_null(get(&b));
    assert_int_equal(get(&b)->alloc_size, 70);
}

/* What lies behind the tensors in use does not belong to the question. */
static void unused_tensors_do_not_count(void **state)
{
    struct vgr_question a = question(7), b = question(7);

    memset(&b.tensor[2], 0xff, sizeof(b.tensor[2]));
    put(&a, 70);
    assert_non_null(get(&b));
}

static void any_difference_is_another_question(void **state)
{
    struct vgr_question a = question(7), b;

    put(&a, 70);
    b = a, b.device = 1;
    assert_null(get(&b));
    b = a, b.n = 1;
    assert_null(get(&b));
    b = a, b.tensor[0].op_params[3] = 1;
    assert_null(get(&b));
    b = a, b.tensor[1].type = 1;
    assert_null(get(&b));
    b = a, b.tensor[1].nb[2] = 1;
    assert_null(get(&b));
    b = a, b.tensor[0].src[0] = 0;
    assert_null(get(&b));
}

/* Keys are compared in full: a hash that collides finds nothing. */
static void a_colliding_hash_finds_nothing(void **state)
{
    struct vgr_question a = question(7), b = question(8);

    put(&a, 70);
    assert_null(vgr_opcache_get(&cache, &b, vgr_opcache_hash(&a)));
}

static void many_answers_are_all_found(void **state)
{
    for (int i = 0; i < 2000; i++) {
        struct vgr_question q = question(i);

        put(&q, (uint64_t)i * 10);
    }
    for (int i = 0; i < 2000; i++) {
        struct vgr_question q = question(i);

        assert_non_null(get(&q));
        assert_int_equal(get(&q)->alloc_size, i * 10);
    }
}

static void the_cache_is_bounded_and_goes_on(void **state)
{
    for (int i = 0; i < 20000; i++) {
        struct vgr_question q = question(i);

        put(&q, 1);
        assert_true(cache.bytes <= cache.max_bytes);
        assert_non_null(get(&q));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_cache_knows_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_is_found_by_equal_content, setup, teardown),
        cmocka_unit_test_setup_teardown(unused_tensors_do_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(any_difference_is_another_question, setup, teardown),
        cmocka_unit_test_setup_teardown(a_colliding_hash_finds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(many_answers_are_all_found, setup, teardown),
        cmocka_unit_test_setup_teardown(the_cache_is_bounded_and_goes_on, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
