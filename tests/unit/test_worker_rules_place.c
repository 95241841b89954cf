/* SPDX-License-Identifier: MIT
 *
 * Where tensors are: views that are elsewhere, results on top of what they read, and what reaches past a buffer.
 */
#include <ggml-backend.h>
#include <stdlib.h>

#include "rules_ops.h"
#include "vgr_test.h"
#include "worker/rules/rules.h"

static ctx_t context(void)
{
    struct ggml_init_params params = {.mem_size = 64 * ggml_tensor_overhead(), .no_alloc = true};

    return ggml_init(params);
}

#define ROOM 65536

struct room {
    uint8_t *base;
    ggml_backend_buffer_t buffer;
};

static int make_room(void **state)
{
    static struct room r;

    r.base = aligned_alloc(4096, ROOM);
    memset(r.base, 0, ROOM);
    r.buffer = ggml_backend_cpu_buffer_from_ptr(r.base, ROOM);
    *state = &r;
    return r.buffer ? 0 : -1;
}

static int leave_room(void **state)
{
    struct room *r = *state;

    ggml_backend_buffer_free(r->buffer);
    free(r->base);
    return 0;
}

static void put(struct room *r, tensor_t t, size_t offset)
{
    t->buffer = r->buffer;
    t->data = r->base + offset;
}

static void test_views_are_where_they_say(void **state)
{
    struct room *r = *state;
    ctx_t c = context();
    tensor_t a = f32(c, 8, 4, 1, 1), v = ggml_view_1d(c, a, 8, 32), t = ggml_sqr(c, v);

    put(r, a, 0);
    put(r, v, 32);
    put(r, t, 4096);
    assert_null(vgr_rules_check(t));
    assert_null(vgr_rules_check(v));
    put(r, v, 36);
    assert_non_null(vgr_rules_check(t));
    assert_non_null(vgr_rules_check(v));
    put(r, v, 32);
    v->view_offs = 1 << 20;
    assert_non_null(vgr_rules_check(t));
    v->view_offs = 32;
    a->buffer = NULL;
    assert_non_null(vgr_rules_check(t));
    a->buffer = r->buffer;
    t->view_offs = 4;
    assert_non_null(vgr_rules_check(t));
    t->view_offs = 0;
    put(r, t, 4098);
    assert_non_null(vgr_rules_check(t));
    ggml_free(c);
}

static void test_results_on_top_of_sources(void **state)
{
    struct room *r = *state;
    ctx_t c = context();
    tensor_t a = f32(c, 8, 4, 1, 1), ids = i32(c, 4, 1, 1, 1), sorted, rows, sqr;

    put(r, a, 0);
    put(r, ids, 1024);
    sorted = ggml_argsort(c, a, GGML_SORT_ORDER_ASC);
    put(r, sorted, 4096);
    assert_null(vgr_rules_check(sorted));
    put(r, sorted, 0);
    assert_non_null(vgr_rules_check(sorted));

    rows = ggml_get_rows(c, a, ids);
    put(r, rows, 4096);
    assert_null(vgr_rules_check(rows));
    put(r, rows, 1024 - 64);
    assert_non_null(vgr_rules_check(rows));

    /* GGML's allocator puts results of such ops on top of their source. */
    sqr = ggml_sqr(c, a);
    put(r, sqr, 0);
    assert_null(vgr_rules_check(sqr));
    ggml_free(c);
}

static void test_factors_at_the_end_of_a_buffer(void **state)
{
    struct room *r = *state;
    ctx_t c = context();
    tensor_t t = build_rope_partial(c);

    put(r, t->src[0], 0);
    put(r, t->src[1], 8192);
    put(r, t, 16384);
    put(r, t->src[2], ROOM - 8 * sizeof(float));
    assert_null(vgr_rules_check(t));
    put(r, t->src[2], ROOM - 4 * sizeof(float));
    assert_non_null(vgr_rules_check(t));
    ggml_free(c);
}

/* From the first byte to the last, of what is read and of what is written, whatever the strides. */
static void test_what_an_op_touches_lies_inside(void **state)
{
    enum { BYTES = 8 * 4 * 4 };
    struct room *r = *state;
    ctx_t c = context();
    tensor_t a = f32(c, 8, 4, 1, 1), b = f32(c, 8, 4, 1, 1), t = ggml_add(c, a, b),
             *each[] = {&a, &b, &t};

    put(r, a, 0);
    put(r, b, 1024);
    put(r, t, 2048);
    for (int i = 0; i < 3; i++) {
        tensor_t x = *each[i];
        size_t was = (size_t)((uint8_t *)x->data - r->base), nb = x->nb[1];

        put(r, x, ROOM - BYTES);
        assert_null(vgr_rules_check(t));
        put(r, x, ROOM - BYTES + 4);
        assert_string_equal(vgr_rules_check(t), "a tensor outside its buffer");
        put(r, x, (size_t)0 - 4096);
        assert_string_equal(vgr_rules_check(t), "a tensor outside its buffer");
        put(r, x, was);
        x->nb[1] = (ROOM - was - 32) / 3 / 4 * 4;
        if (x != t) /* whose layout is another matter */
            assert_null(vgr_rules_check(t));
        x->nb[1] += 4;
        assert_non_null(vgr_rules_check(t));
        x->nb[1] = (UINT64_MAX / 3 & ~UINT64_C(3)) + 4; /* three of them are small again */
        assert_non_null(vgr_rules_check(t));
        x->nb[1] = nb;
    }
    ggml_free(c);
}

/* Rows on top of each other, which some kernels write, or read, one behind the other. */
static void test_rows_on_top_of_each_other_would_fit(void **state)
{
    static tensor_t (*const builds[])(ctx_t c) = {
        build_norm,   build_l2_norm, build_rms_norm, build_rms_norm_back,
        build_add_id, build_clamp,   build_cumsum,   build_sqr};
    struct room *r = *state;

    for (size_t i = 0; i < sizeof(builds) / sizeof(builds[0]); i++) {
        ctx_t c = context();
        tensor_t t = builds[i](c), each[1 + 2] = {t};
        int n = 1;

        for (int s = 0; s < GGML_MAX_SRC && t->src[s]; s++) {
            put(r, t->src[s], 4096 * (size_t)(s + 1));
            if (vgr_alike(t, t->src[s]))
                each[n++] = t->src[s];
        }
        put(r, t, 0);
        assert_true(n >= 2);
        for (int k = 0; k < n; k++)
            each[k]->nb[1] = each[k]->nb[2] = each[k]->nb[3] = 0;
        for (int k = 0; k < n; k++) {
            void *was = each[k]->data;
            size_t dense = (size_t)ggml_nelements(t) * sizeof(float);

            put(r, each[k], ROOM - dense);
            assert_null(vgr_rules_check(t));
            put(r, each[k], ROOM - dense + 4);
            assert_non_null(vgr_rules_check(t));
            put(r, each[k], ROOM - ggml_nbytes(each[k]));
            assert_string_equal(vgr_rules_check(t), "a tensor outside its buffer");
            each[k]->data = was;
            assert_null(vgr_rules_check(t));
        }
        ggml_free(c);
    }
}

/* A view may be too long, as may be views of it, until an op reads or writes one. */
static void test_views_may_extend_past_their_buffer(void **state)
{
    struct room *r = *state;
    ctx_t c = context();
    tensor_t a = f32(c, 8, 4, 1, 1), wide = ggml_view_2d(c, a, 8, 4, ROOM, 0), again, narrow, copy,
             sqr;

    again = ggml_permute(c, wide, 1, 0, 2, 3);
    narrow = ggml_view_2d(c, wide, 4, 1, ROOM, 16);
    put(r, a, ROOM - 128);
    put(r, wide, ROOM - 128);
    put(r, again, ROOM - 128);
    put(r, narrow, ROOM - 112);
    assert_null(vgr_rules_check(wide));
    assert_null(vgr_rules_check(again));
    assert_null(vgr_rules_check(narrow));

    sqr = ggml_sqr(c, narrow);
    put(r, sqr, 0);
    assert_null(vgr_rules_check(sqr));
    sqr = ggml_sqr(c, wide);
    put(r, sqr, 0);
    assert_string_equal(vgr_rules_check(sqr), "a tensor outside its buffer");
    sqr = ggml_cont(c, again);
    put(r, sqr, 0);
    assert_string_equal(vgr_rules_check(sqr), "a tensor outside its buffer");

    /* Written: as a copy's destination, as rows that are set, in place. */
    copy = ggml_cpy(c, f32(c, 8, 4, 1, 1), wide);
    put(r, copy->src[0], 0);
    put(r, copy, ROOM - 128);
    assert_string_equal(vgr_rules_check(copy), "a tensor outside its buffer");
    copy = ggml_set_rows(c, wide, f32(c, 8, 1, 1, 1), i32(c, 1, 1, 1, 1));
    put(r, copy->src[0], 0);
    put(r, copy->src[1], 1024);
    put(r, copy, ROOM - 128);
    assert_string_equal(vgr_rules_check(copy), "a tensor outside its buffer");
    copy = ggml_sqr_inplace(c, wide);
    put(r, copy, ROOM - 128);
    assert_string_equal(vgr_rules_check(copy), "a tensor outside its buffer");
    ggml_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_views_are_where_they_say, make_room, leave_room),
        cmocka_unit_test_setup_teardown(test_results_on_top_of_sources, make_room, leave_room),
        cmocka_unit_test_setup_teardown(test_factors_at_the_end_of_a_buffer, make_room, leave_room),
        cmocka_unit_test_setup_teardown(test_what_an_op_touches_lies_inside, make_room, leave_room),
        cmocka_unit_test_setup_teardown(test_rows_on_top_of_each_other_would_fit, make_room,
                                        leave_room),
        cmocka_unit_test_setup_teardown(test_views_may_extend_past_their_buffer, make_room,
                                        leave_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
