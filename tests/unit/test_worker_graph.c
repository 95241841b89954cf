/* SPDX-License-Identifier: MIT
 *
 * Graphs and questions about ops: what works, and that a bad graph ends the context and says why.
 */
#include "test_worker.h"

#include <ggml.h>
#include <stdio.h>

#define N 64u

/* out = a + b, all in buffer 1: a at 0, b at 256, out at 512. */
struct add_graph {
    struct vgr_graph g;
    struct vgr_tensor t[3];
};

static void make_add(struct add_graph *d)
{
    memset(d, 0, sizeof(*d));
    d->g.n_nodes = 1;
    d->g.n_tensors = 3;
    for (int i = 0; i < 3; i++) {
        struct vgr_tensor *t = &d->t[i];

        t->type = GGML_TYPE_F32;
        t->buffer = 1;
        t->ne[0] = N;
        t->ne[1] = t->ne[2] = t->ne[3] = 1;
        t->nb[0] = 4;
        t->nb[1] = t->nb[2] = t->nb[3] = 4 * N;
    }
    d->t[0].op = GGML_OP_ADD;
    d->t[0].flags = GGML_TENSOR_FLAG_COMPUTE;
    d->t[0].src[0] = 2;
    d->t[0].src[1] = 3;
    d->t[0].offset = 512;
    d->t[2].offset = 256;
}

static int define(struct rig *r, const void *payload, uint32_t len)
{
    struct vgr_cmd_graph m = {.graph = 1, .data_len = len, .data_off = DATA + 8192};

    memcpy(r->c->arena.base + DATA + 8192, payload, len);
    return RUN(r, m, VGR_CMD_GRAPH_DEFINE);
}

static void set_f32(struct rig *r, uint64_t offset, float v)
{
    struct vgr_cmd_data set = {.buffer = 1, .offset = offset, .len = 4 * N, .data_off = DATA};
    float x[N];

    for (unsigned i = 0; i < N; i++)
        x[i] = v;
    memcpy(r->c->arena.base + DATA, x, sizeof(x));
    assert_int_equal(RUN(r, set, VGR_CMD_SET), 0);
}

static float get_f32(struct rig *r, uint64_t offset)
{
    struct vgr_cmd_data get = {.buffer = 1, .offset = offset, .len = 4, .data_off = DATA};
    float v;

    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    memcpy(&v, r->c->arena.base + DATA, sizeof(v));
    return v;
}

static void ready_to_add(struct rig *r)
{
    struct vgr_cmd_stream open = {.stream = 1};

    alloc(r, 1, 4096);
    assert_int_equal(RUN(r, open, VGR_CMD_STREAM_OPEN), 0);
    set_f32(r, 0, 1.5f);
    set_f32(r, 256, 2.0f);
}

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

static void test_a_graph_on_a_freed_buffer_does_not_run(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};
    struct vgr_cmd_handle free_it = {.handle = 1};
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(RUN(r, free_it, VGR_CMD_BUFFER_FREE), 0);
    alloc(r, 1, 4096); /* the same handle again, other memory */
    assert_failed(r, RUN(r, go, VGR_CMD_GRAPH_RUN), VGR_ERROR_HANDLE);
}

/* ---- Graphs end with their buffers ---- */

/* The same graph, with the second summand in buffer 2. */
static void ready_to_add_from_two(struct rig *r, struct add_graph *d)
{
    ready_to_add(r);
    alloc(r, 2, 4096);
    make_add(d);
    d->t[2].buffer = 2;
    assert_int_equal(define(r, d, sizeof(*d)), 0);
}

/* Patches tensor `index` of graph 1 to be `t`. */
static int patch(struct rig *r, uint32_t index, const struct vgr_tensor *t)
{
    struct vgr_graph_patch p = {.index = index, .tensor = *t};
    struct vgr_cmd_graph m = {.graph = 1, .data_len = sizeof(p), .data_off = DATA + 8192};

    memcpy(r->c->arena.base + DATA + 8192, &p, sizeof(p));
    return RUN(r, m, VGR_CMD_GRAPH_PATCH);
}

static void free_buffer(struct rig *r, uint32_t handle)
{
    struct vgr_cmd_handle m = {.handle = handle};

    assert_int_equal(RUN(r, m, VGR_CMD_BUFFER_FREE), 0);
}

static int run_graph(struct rig *r)
{
    struct vgr_cmd_run go = {.graph = 1, .stream = 1};

    return RUN(r, go, VGR_CMD_GRAPH_RUN);
}

/* The patch brings one of three tensors into the new buffer; the two others lay in the old one. */
static void test_a_patch_does_not_revive_a_graph_on_a_new_buffer(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    free_buffer(r, 1);
    alloc(r, 1, 4096);
    assert_failed(r, patch(r, 1, &d.t[1]), VGR_ERROR_HANDLE);
    assert_int_equal(run_graph(r), -1);
}

/* Not even a tensor that lies elsewhere may be patched: the device would look at all of them. */
static void test_a_graph_on_a_freed_buffer_is_not_patched(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_to_add_from_two(r, &d);
    free_buffer(r, 1);
    d.t[2].offset = 512;
    assert_failed(r, patch(r, 2, &d.t[2]), VGR_ERROR_HANDLE);
}

static void test_a_graph_ends_with_any_of_its_buffers(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_handle free_graph = {.handle = 1};
    struct add_graph d;

    ready_to_add_from_two(r, &d);
    assert_int_equal(r->shared.kept_tensors, 3);
    free_buffer(r, 2);
    assert_int_equal(r->shared.kept_tensors, 0);

    /* The handle is taken, can be defined anew, and freed. */
    alloc(r, 2, 4096);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(run_graph(r), 0);
    free_buffer(r, 2);
    assert_int_equal(RUN(r, free_graph, VGR_CMD_GRAPH_FREE), 0);
    assert_null(r->c->graphs[1]);
    assert_failed(r, RUN(r, free_graph, VGR_CMD_GRAPH_FREE), VGR_ERROR_HANDLE);
}

/* A guest may free what its graph has left. */
static void test_a_graph_outlives_a_buffer_that_it_was_patched_out_of(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_to_add_from_two(r, &d);
    d.t[2].buffer = 1;
    assert_int_equal(patch(r, 2, &d.t[2]), 0);
    free_buffer(r, 2);
    assert_int_equal(run_graph(r), 0);
    assert_float_equal(get_f32(r, 512), 3.5f, 0);
    assert_int_equal(patch(r, 2, &d.t[2]), 0);
    free_buffer(r, 1);
    assert_failed(r, run_graph(r), VGR_ERROR_HANDLE);
}

/* Going to and fro between buffers, as often as one likes, takes no room. */
static void test_patches_do_not_use_up_the_buffers_of_a_graph(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_to_add_from_two(r, &d);
    for (uint32_t i = 0; i < 600; i++) {
        uint32_t handle = 3 + i;

        alloc(r, handle, 256);
        d.t[2].buffer = handle;
        d.t[2].offset = 0;
        assert_int_equal(patch(r, 2, &d.t[2]), 0);
    }
    assert_int_equal(run_graph(r), 0);
}

static void test_a_patch_that_fails_ends_its_graph(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_to_add(r);
    make_add(&d);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    d.t[1].offset = 4096;
    assert_failed(r, patch(r, 1, &d.t[1]), VGR_ERROR_GRAPH);
    assert_int_equal(r->shared.kept_tensors, 0);
    assert_int_equal(run_graph(r), -1);
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
        R(test_a_graph_on_a_freed_buffer_does_not_run),
        R(test_a_patch_does_not_revive_a_graph_on_a_new_buffer),
        R(test_a_graph_on_a_freed_buffer_is_not_patched),
        R(test_a_graph_ends_with_any_of_its_buffers),
        R(test_a_graph_outlives_a_buffer_that_it_was_patched_out_of),
        R(test_patches_do_not_use_up_the_buffers_of_a_graph),
        R(test_a_patch_that_fails_ends_its_graph),
        R(test_bad_graphs_are_refused_with_their_reason),
        R(test_queries_answer_support_and_size),
        R(test_tensors_of_all_graphs_are_bounded),
        R(test_payloads_are_bounded),
        R(test_graphs_in_flight_are_bounded),
        R(test_what_is_done_is_counted),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
