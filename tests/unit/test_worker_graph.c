/* SPDX-License-Identifier: MIT
 *
 * Graphs and questions about ops: what works, and that a bad graph ends the context and says why.
 */
#include "test_worker_add.h"

#include <math.h>
#include <stdio.h>

static void test_a_graph_is_defined_run_patched_and_run_again(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    struct vgr_cmd_graph m = {
        .graph = 1, .data_len = sizeof(struct vgr_graph_patch), .data_off = DATA + 8192};
    struct vgr_graph_patch p = {0};
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_float_equal(get_f32(r, 512), 3.5f, 0);

    p.tensor = d.t[0];
    p.tensor.offset = 1024; /* the result elsewhere */
    memcpy(r->c->arena.base + DATA + 8192, &p, sizeof(p));
    assert_int_equal(RUN(r, m, VGR_CMD_GRAPH_PATCH), 0);
    set_f32(r, 0, 10.0f);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_float_equal(get_f32(r, 1024), 12.0f, 0);
    assert_float_equal(get_f32(r, 512), 3.5f, 0);
}

static void test_a_patch_may_not_change_structure(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_graph m = {
        .graph = 1, .data_len = sizeof(struct vgr_graph_patch), .data_off = DATA + 8192};
    struct vgr_graph_patch p = {0};
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    p.tensor = d.t[0];
    p.tensor.op = GGML_OP_MUL;
    memcpy(r->c->arena.base + DATA + 8192, &p, sizeof(p));
    assert_failed(r, RUN(r, m, VGR_CMD_GRAPH_PATCH), VGR_ERROR_GRAPH);
}

/* What there is to do stays as it was defined: a device gets no op that it was not asked about. */
static void test_a_patch_gives_no_op_something_to_do(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_graph m = {
        .graph = 1, .data_len = sizeof(struct vgr_graph_patch), .data_off = DATA + 8192};
    struct vgr_graph_patch p = {0};
    struct add_graph d;

    ready_to_add(r);
    for (int i = 0; i < 4; i++) {
        make_add(&d);
        if (i == 1)
            d.t[0].flags = 0;
        if (i >= 2)
            d.t[0].ne[0] = d.t[1].ne[0] = d.t[2].ne[0] = 0;
        r->shared.failed = VGR_CTX_ALIVE;
        r->ctl->state = VGR_STATE_READY;
        assert_int_equal(define(r, &d, sizeof(d)), 0);
        p.index = i == 3;
        p.tensor = d.t[p.index];
        if (i < 2)
            p.tensor.flags ^= GGML_TENSOR_FLAG_COMPUTE;
        else
            p.tensor.ne[0] = N;
        memcpy(r->c->arena.base + DATA + 8192, &p, sizeof(p));
        assert_failed(r, RUN(r, m, VGR_CMD_GRAPH_PATCH), VGR_ERROR_GRAPH);
        assert_non_null(strstr(r->ctl->error_text, "structure"));
    }
}

/* A node that is not marked, beside one that is; and two that have no elements, in no buffer. */
static void test_what_has_nothing_to_do_does_nothing(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[6];
    } d;
    struct add_graph a;

    ready_to_add(r);
    set_f32(r, 512, 7.0f);
    make_add(&a);
    memset(&d, 0, sizeof(d));
    d.g = (struct vgr_graph){.n_nodes = 4, .n_tensors = 6};
    for (int i = 0; i < 4; i++) {
        d.t[i] = a.t[0];
        d.t[i].src[0] = 5;
        d.t[i].src[1] = 6;
        d.t[i].offset = 512 + 256 * (uint64_t)i;
    }
    d.t[4] = a.t[1];
    d.t[5] = a.t[2];
    d.t[0].flags = 0;
    d.t[1].src[0] = 1; /* its memory is there to be read */
    d.t[2].ne[0] = d.t[3].ne[0] = 0;
    d.t[2].buffer = d.t[3].buffer = 0;
    d.t[2].offset = d.t[3].offset = 0;
    d.t[3].op = GGML_OP_FLASH_ATTN_EXT; /* with what no rule would let pass */
    d.t[3].src[2] = 3;
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_float_equal(get_f32(r, 512), 7.0f, 0);
    assert_float_equal(get_f32(r, 768), 9.0f, 0);

    /* Without any marks, all are meant. */
    for (int i = 0; i < 4; i++)
        d.t[i].flags = 0;
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_float_equal(get_f32(r, 512), 3.5f, 0);

    /* What is computed is computed from memory, even if it is none. */
    d.t[3] = d.t[1];
    d.t[3].op = GGML_OP_CONCAT;
    d.t[3].src[0] = 5;
    d.t[3].src[1] = 3;
    assert_failed(r, define(r, &d, sizeof(d)), VGR_ERROR_GRAPH);
    assert_non_null(strstr(r->ctl->error_text, "a source without memory"));
}

/* [0 x 8] times [0 x 8], and the sums of 8 rows without elements: zeros, whatever was there. */
static void test_a_sum_over_nothing_is_zeros(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    struct vgr_cmd_query_op q = {.data_off = DATA, .reply_off = DATA + 8192};
    struct vgr_query_reply reply;
    static const enum ggml_op ops[] = {GGML_OP_MUL_MAT, GGML_OP_SUM_ROWS};
    struct add_graph d;

    ready_to_add(r);
    for (int k = 0; k < 2; k++) {
        make_add(&d);
        d.t[0].op = ops[k];
        d.t[0].ne[0] = k ? 1 : 8;
        d.t[0].ne[1] = 8;
        d.t[0].nb[1] = k ? 4 : 32;
        d.t[0].nb[2] = d.t[0].nb[3] = 8 * d.t[0].nb[1];
        for (int i = 1; i < 3; i++) {
            d.t[i].ne[0] = 0;
            d.t[i].ne[1] = 8;
        }
        if (k)
            d.t[0].src[1] = 0;
        set_f32(r, 512, NAN);
        assert_int_equal(define(r, &d, sizeof(d)), 0);
        assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
        for (uint64_t i = 0; i < (k ? 8 : 64); i++)
            assert_float_equal(get_f32(r, 512 + 4 * i), 0.0f, 0);
        if (k)
            assert_true(isnan(get_f32(r, 512 + 32)));

        q.data_len = (k ? 2 : 3) * sizeof(d.t[0]);
        memcpy(r->c->arena.base + DATA, d.t, sizeof(d.t));
        assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
        memcpy(&reply, r->c->arena.base + DATA + 8192, sizeof(reply));
        assert_int_equal(reply.supported, 1);
        assert_int_equal(reply.alloc_size, k ? 32 : 256);
    }
}

/* out = a + narrow, where narrow is a part of wide, which is far too long and nobody reads. */
static void test_a_view_may_extend_past_its_buffer(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    struct vgr_cmd_graph m = {
        .graph = 1, .data_len = sizeof(struct vgr_graph_patch), .data_off = DATA + 8192};
    struct vgr_graph_patch p = {.index = 1};
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[5];
    } d;
    struct add_graph a;

    ready_to_add(r);
    make_add(&a);
    memset(&d, 0, sizeof(d));
    d.g = (struct vgr_graph){.n_nodes = 3, .n_tensors = 5};
    d.t[0] = a.t[2]; /* wide */
    d.t[0].op = GGML_OP_VIEW;
    d.t[0].src[0] = d.t[0].view_src = 5;
    d.t[0].ne[1] = 8;
    d.t[0].nb[1] = 1 << 20;
    d.t[1] = a.t[2]; /* narrow */
    d.t[1].op = GGML_OP_VIEW;
    d.t[1].src[0] = 1;
    d.t[1].view_src = 5;
    d.t[1].nb[1] = 1 << 20;
    d.t[2] = a.t[0]; /* out */
    d.t[2].src[0] = 4;
    d.t[2].src[1] = 2;
    d.t[3] = a.t[1];
    d.t[4] = a.t[2];
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_float_equal(get_f32(r, 512), 3.5f, 0);

    /* As a leaf it may be as long, and a patch may make it so. */
    p.index = 0;
    p.tensor = d.t[0];
    p.tensor.nb[1] = 1 << 30;
    memcpy(r->c->arena.base + DATA + 8192, &p, sizeof(p));
    assert_int_equal(RUN(r, m, VGR_CMD_GRAPH_PATCH), 0);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);

    /* A patch that has something read there ends the context before it runs. */
    p.index = 1;
    p.tensor = d.t[1];
    p.tensor.offset = 4096 - 4 * N + 4;
    p.tensor.view_offs = p.tensor.offset - 256;
    memcpy(r->c->arena.base + DATA + 8192, &p, sizeof(p));
    assert_failed(r, RUN(r, m, VGR_CMD_GRAPH_PATCH), VGR_ERROR_GRAPH);
    assert_non_null(strstr(r->ctl->error_text, "outside its buffer"));

    for (int i = 0; i < 4; i++) {
        struct vgr_tensor was[5];

        memcpy(was, d.t, sizeof(was));
        if (i == 0) /* read */
            d.t[2].src[1] = 1;
        if (i == 1) /* written */
            d.t[2] = (struct vgr_tensor){.op = GGML_OP_CPY, .src = {4, 1}, .view_src = 5};
        if (i == 2) /* begins nowhere */
            d.t[0].offset = 4096 + 4;
        if (i == 3) /* is no view */
            d.t[4].nb[0] = 1 << 20;
        if (i == 1) {
            d.t[2].type = GGML_TYPE_F32;
            d.t[2].flags = GGML_TENSOR_FLAG_COMPUTE;
            d.t[2].buffer = 1;
            d.t[2].offset = d.t[0].offset;
            memcpy(d.t[2].ne, d.t[0].ne, sizeof(d.t[2].ne));
            memcpy(d.t[2].nb, d.t[0].nb, sizeof(d.t[2].nb));
            d.t[3].ne[1] = 8;
        }
        r->shared.failed = VGR_CTX_ALIVE;
        r->ctl->state = VGR_STATE_READY;
        assert_failed(r, define(r, &d, sizeof(d)), VGR_ERROR_GRAPH);
        assert_non_null(strstr(r->ctl->error_text, "outside its buffer"));
        memcpy(d.t, was, sizeof(was));
    }
}

static void refused(struct rig *r, const struct add_graph *d, const char *why)
{
    r->shared.failed = VGR_CTX_ALIVE;
    r->ctl->state = VGR_STATE_READY;
    assert_failed(r, define(r, d, sizeof(*d)), VGR_ERROR_GRAPH);
    if (!strstr(r->ctl->error_text, why))
        fail_msg("'%s' does not say '%s'", r->ctl->error_text, why);
}

static void test_bad_graphs_are_refused_with_their_reason(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    d.t[0].op = 4711;
    refused(r, &d, "op that this host does not know");
    make_add(&d);
    d.t[1].type = 200;
    refused(r, &d, "type that this host does not know");
    make_add(&d);
    d.t[0].offset = 4096 - 4 * N + 4;
    refused(r, &d, "outside its buffer");
    make_add(&d);
    d.t[0].offset = UINT64_MAX - 8;
    refused(r, &d, "outside its buffer");
    make_add(&d);
    d.t[2].nb[0] = 1ull << 40;
    refused(r, &d, "outside its buffer");
    make_add(&d);
    d.t[2].ne[1] = INT64_MAX;
    refused(r, &d, "impossible shape");
    make_add(&d);
    d.t[2].ne[0] = -1;
    refused(r, &d, "impossible shape");
    make_add(&d);
    d.t[1].buffer = 9;
    refused(r, &d, "does not exist");
    make_add(&d);
    d.t[1].buffer = 0;
    refused(r, &d, "without memory");
    make_add(&d);
    d.t[0].op = GGML_OP_MAP_CUSTOM1;
    refused(r, &d, "function pointer");
    make_add(&d);
    d.t[0].op = GGML_OP_UNARY;
    d.t[0].op_params[0] = 99;
    refused(r, &d, "unary or GLU op");
}

static void test_queries_answer_support_and_size(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_query_op q = {.data_off = DATA, .reply_off = DATA + 8192};
    struct vgr_query_reply reply;
    struct add_graph d;

    make_add(&d);
    q.data_len = sizeof(d.t);
    memcpy(r->c->arena.base + DATA, d.t, sizeof(d.t));
    assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
    memcpy(&reply, r->c->arena.base + DATA + 8192, sizeof(reply));
    assert_int_equal(reply.supported, 1);
    assert_int_equal(reply.alloc_size, 4 * N);

    d.t[0].op = 200; /* unknown to the host: an answer, not a failure */
    memcpy(r->c->arena.base + DATA, d.t, sizeof(d.t));
    assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
    memcpy(&reply, r->c->arena.base + DATA + 8192, sizeof(reply));
    assert_int_equal(reply.supported, 0);
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
}

/* ---- Bounds ---- */

static void test_tensors_of_all_graphs_are_bounded(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_handle free_it = {.handle = 1};
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    r->shared.kept_tensors = VGR_CTX_MAX_KEPT - 3; /* of graphs that others defined */
    for (int i = 0; i < 3; i++)
        assert_int_equal(define(r, &d, sizeof(d)), 0); /* each in the place of the last one */
    assert_int_equal(r->shared.kept_tensors, VGR_CTX_MAX_KEPT);
    assert_int_equal(RUN(r, free_it, VGR_CMD_GRAPH_FREE), 0);
    assert_int_equal(r->shared.kept_tensors, VGR_CTX_MAX_KEPT - 3);
    r->shared.kept_tensors++;
    assert_failed(r, define(r, &d, sizeof(d)), VGR_ERROR_LIMIT);
}

static void test_payloads_are_bounded(void **state)
{
    struct rig *r = *state;

    r->c->arena.size = 1ull << 32; /* as if; nothing beyond the real one is touched */
    assert_null(vgr_ctx_payload(r->c, HEAP, VGR_CTX_MAX_PAYLOAD + 8));
    assert_failed(r, -1, VGR_ERROR_LIMIT);
    assert_true(r->c->payload_cap < ARENA);
}

/* A driver keeps something for every graph that it has not run yet. */
static void test_graphs_in_flight_are_bounded(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    const uint64_t *syncs = &r->c->counts->counters[VGR_COUNTER_SYNCS];
    struct vgr_cmd sync;
    struct add_graph d;
    uint64_t before;

    ready_to_add(r);
    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_int_equal(r->c->counts->in_flight, 0); /* this device computes at once */

    r->c->backends.device[0].async = true; /* now nobody knows that it does */
    before = *syncs;
    for (uint32_t i = 0; i < 3 * VGR_COUNTS_MAX_IN_FLIGHT; i++) {
        assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
        assert_int_equal(r->c->counts->in_flight, i % VGR_COUNTS_MAX_IN_FLIGHT + 1);
        assert_int_equal(*syncs - before, i / VGR_COUNTS_MAX_IN_FLIGHT);
    }
    assert_int_equal(RUN(r, sync, VGR_CMD_SYNC), 0);
    assert_int_equal(r->c->counts->in_flight, 0);
}

/* ---- Counters ---- */

static void test_what_is_done_is_counted(void **state)
{
    struct rig *r = *state;
    const uint64_t *n = r->c->counts->counters;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    struct vgr_cmd_query_op q = {
        .data_off = DATA, .reply_off = DATA + 8192, .data_len = 3 * sizeof(struct vgr_tensor)};
    struct vgr_cmd_handle free_it = {.handle = 1};
    struct add_graph d;

    ready_to_add(r); /* one allocation, two uploads */
    assert_int_equal(n[VGR_COUNTER_UPLOAD_BYTES], 2 * 4 * N);
    assert_int_equal(n[VGR_COUNTER_DOWNLOAD_BYTES], sizeof(struct vgr_alloc_reply));
    assert_int_equal(n[VGR_COUNTER_BUFFER_BYTES], r->c->buffers[1].size);

    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(n[VGR_COUNTER_UPLOAD_BYTES], 2 * 4 * N + sizeof(d));
    for (int i = 0; i < 3; i++)
        assert_int_equal(RUN(r, go, VGR_CMD_GRAPH_RUN), 0);
    assert_int_equal(n[VGR_COUNTER_GRAPHS_DEFINED], 1);
    assert_int_equal(n[VGR_COUNTER_GRAPHS_RUN], 3);
    assert_true(n[VGR_COUNTER_COMPUTING] > 0);
    assert_int_equal(r->c->counts->since[VGR_COUNTER_COMPUTING], 0);
    get_f32(r, 512);
    assert_int_equal(n[VGR_COUNTER_DOWNLOAD_BYTES], sizeof(struct vgr_alloc_reply) + 4);

    memcpy(r->c->arena.base + DATA, d.t, sizeof(d.t));
    assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
    assert_int_equal(n[VGR_COUNTER_OP_MISSES], 1);
    assert_int_equal(n[VGR_COUNTER_UPLOAD_BYTES], 2 * 4 * N + sizeof(d) + sizeof(d.t));
    assert_int_equal(n[VGR_COUNTER_DOWNLOAD_BYTES],
                     sizeof(struct vgr_alloc_reply) + 4 + sizeof(struct vgr_query_reply));

    assert_int_equal(RUN(r, free_it, VGR_CMD_BUFFER_FREE), 0);
    assert_int_equal(n[VGR_COUNTER_BUFFER_BYTES], 0);
}

#define R(f) cmocka_unit_test_setup_teardown(f, setup_ready, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        R(test_a_graph_is_defined_run_patched_and_run_again),
        R(test_a_patch_may_not_change_structure),
        R(test_a_patch_gives_no_op_something_to_do),
        R(test_what_has_nothing_to_do_does_nothing),
        R(test_a_sum_over_nothing_is_zeros),
        R(test_a_view_may_extend_past_its_buffer),
        R(test_bad_graphs_are_refused_with_their_reason),
        R(test_queries_answer_support_and_size),
        R(test_tensors_of_all_graphs_are_bounded),
        R(test_payloads_are_bounded),
        R(test_graphs_in_flight_are_bounded),
        R(test_what_is_done_is_counted),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
