/* SPDX-License-Identifier: MIT
 *
 * Graphs and questions about ops: what works, and that a bad graph ends the context and says why.
 */
#include "test_worker_add.h"

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
        R(test_bad_graphs_are_refused_with_their_reason),
        R(test_queries_answer_support_and_size),
        R(test_tensors_of_all_graphs_are_bounded),
        R(test_payloads_are_bounded),
        R(test_graphs_in_flight_are_bounded),
        R(test_what_is_done_is_counted),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
