/* SPDX-License-Identifier: MIT
 *
 * The worker's commands against the real CPU backend, in this process: what works, and that each bad
 * command ends the context with the right code.
 */
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/ggml_names.h"
#include "vgr_test.h"
#include "worker/context.h"
#include "worker/graph.h"

#define ARENA (1u << 20)
#define RING  (64u << 10)
#define HEAP  (4096u + RING)
#define DATA  (HEAP + (256u << 10)) /* free for tests */

struct rig {
    struct vgr_ctx *c;
    struct vgr_control *ctl;
};

static struct vgr_backends backends;

static int load(void **state)
{
    static const char names[1][64] = {"CPU"};

    (void)state;
    vgr_log_init("test", VGR_LOG_ERROR);
    return vgr_backends_load(&backends, names, 1);
}

static int setup(void **state)
{
    static struct vgr_names names;
    struct rig *r = calloc(1, sizeof(*r));
    struct vgr_ctx *c = calloc(1, sizeof(*c));

    c->arena.base = aligned_alloc(4096, ARENA);
    c->arena.size = ARENA;
    memset(c->arena.base, 0, ARENA);
    c->wakeup_fd = eventfd(0, EFD_NONBLOCK);
    c->backends = backends;
    c->counts = calloc(1, sizeof(*c->counts));
    r->c = c;
    r->ctl = (struct vgr_control *)c->arena.base;
    vgr_ggml_names(&names);
    r->ctl->hello = (struct vgr_hello){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .arena_size = ARENA,
        .ring_off = 4096,
        .ring_size = RING,
        .heap_off = HEAP,
        .dict_off = HEAP,
        .dict_len = (uint32_t)vgr_names_size(&names),
        .reply_off = HEAP + 65536,
        .reply_cap = 65536,
    };
    vgr_names_write(&names, c->arena.base + HEAP, 65536);
    *state = r;
    return 0;
}

static int setup_ready(void **state)
{
    struct rig *r;

    setup(state);
    r = *state;
    return vgr_ctx_handshake(r->c);
}

static int teardown(void **state)
{
    struct rig *r = *state;

    for (uint32_t i = 1; i <= VGR_CTX_MAX_GRAPHS; i++) {
        if (r->c->graphs[i])
            vgr_graph_free(r->c, i);
    }
    for (uint32_t i = 1; i <= VGR_CTX_MAX_STREAMS; i++) {
        if (r->c->streams[i].backend)
            ggml_backend_free(r->c->streams[i].backend);
    }
    if (r->c->query)
        ggml_free(r->c->query);
    for (uint32_t i = 1; i <= VGR_CTX_MAX_BUFFERS; i++) {
        if (r->c->buffers[i].buffer)
            ggml_backend_buffer_free(r->c->buffers[i].buffer);
    }
    close(r->c->wakeup_fd);
    free(r->c->arena.base);
    free(r->c->record);
    free(r->c->payload);
    free(r->c->counts);
    free(r->c);
    free(r);
    return 0;
}

static int run(struct rig *r, void *cmd, uint16_t op, uint32_t size)
{
    struct vgr_cmd *h = cmd;

    h->op = op;
    h->flags = 0;
    h->size = size;
    return vgr_ctx_dispatch(r->c, h);
}

#define RUN(r, cmd, op) run(r, &(cmd), op, sizeof(cmd))

static void assert_failed(struct rig *r, int ret, enum vgr_error code)
{
    assert_int_equal(ret, -1);
    assert_int_equal(r->ctl->state, VGR_STATE_FAILED);
    assert_int_equal(r->ctl->error, code);
    assert_string_not_equal(r->ctl->error_text, "");
}

static void alloc(struct rig *r, uint32_t handle, uint64_t size)
{
    struct vgr_cmd_alloc a = {.buffer = handle, .size = size, .reply_off = DATA};
    struct vgr_alloc_reply reply;

    assert_int_equal(RUN(r, a, VGR_CMD_BUFFER_ALLOC), 0);
    memcpy(&reply, r->c->arena.base + DATA, sizeof(reply));
    assert_int_equal(reply.ok, 1);
}

/* ---- Handshake ---- */

static void test_handshake_describes_the_host(void **state)
{
    struct rig *r = *state;
    struct vgr_reply reply;

    assert_int_equal(vgr_ctx_handshake(r->c), 0);
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
    memcpy(&reply, r->c->arena.base + HEAP + 65536, sizeof(reply));
    assert_int_equal(reply.magic, VGR_MAGIC);
    assert_int_equal(reply.n_devices, 1);
    assert_string_equal(reply.devices[0].name, "CPU");
    assert_true(reply.devices[0].alignment >= 1);
}

static void test_other_protocol_version_is_told(void **state)
{
    struct rig *r = *state;

    r->ctl->hello.version = 99;
    assert_failed(r, vgr_ctx_handshake(r->c), VGR_ERROR_VERSION);
    assert_non_null(strstr(r->ctl->error_text, "version 99"));
}

static void test_bad_hellos_are_refused(void **state)
{
    struct rig *r = *state;
    struct vgr_hello good = r->ctl->hello, h;
    struct {
        size_t at;
        uint32_t value;
    } bad[] = {
        {offsetof(struct vgr_hello, magic), 1},
        {offsetof(struct vgr_hello, ring_off), 0},
        {offsetof(struct vgr_hello, ring_off), 4097},
        {offsetof(struct vgr_hello, ring_off), ARENA},
        {offsetof(struct vgr_hello, ring_size), 3u << 14},
        {offsetof(struct vgr_hello, ring_size), 4096},
        {offsetof(struct vgr_hello, ring_size), 1u << 31},
        {offsetof(struct vgr_hello, heap_off), 4096},
        {offsetof(struct vgr_hello, heap_off), ARENA},
        {offsetof(struct vgr_hello, dict_off), ARENA - 8},
        {offsetof(struct vgr_hello, dict_off), 0},
        {offsetof(struct vgr_hello, dict_len), 0xfffffff0},
        {offsetof(struct vgr_hello, dict_len), 3},
        {offsetof(struct vgr_hello, reply_off), ARENA},
        {offsetof(struct vgr_hello, reply_off), 8},
        {offsetof(struct vgr_hello, reply_cap), 100},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        h = good;
        memcpy((uint8_t *)&h + bad[i].at, &bad[i].value, sizeof(bad[i].value));
        r->ctl->hello = h;
        r->ctl->state = VGR_STATE_STARTING;
        r->c->failed = false;
        if (vgr_ctx_handshake(r->c) != -1)
            fail_msg("hello %zu was accepted", i);
        assert_int_equal(r->ctl->state, VGR_STATE_FAILED);
    }
}

static void test_an_empty_dictionary_is_refused_aloud(void **state)
{
    struct rig *r = *state;

    r->ctl->hello.dict_len = 0;
    assert_failed(r, vgr_ctx_handshake(r->c), VGR_ERROR_HELLO);
}

/* ---- Buffers and data ---- */

static void test_data_goes_and_comes_back(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_data set = {.buffer = 7, .offset = 100, .len = 1000, .data_off = DATA};
    struct vgr_cmd_data get = {.buffer = 7, .offset = 100, .len = 1000, .data_off = DATA + 4096};
    uint8_t *p = r->c->arena.base;

    alloc(r, 7, 5000);
    for (int i = 0; i < 1000; i++)
        p[DATA + i] = (uint8_t)(i * 7);
    assert_int_equal(RUN(r, set, VGR_CMD_SET), 0);
    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    assert_memory_equal(p + DATA, p + DATA + 4096, 1000);
}

static void test_fresh_buffers_are_zero(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_memset fill = {.buffer = 1, .value = 0xaa, .len = 60000};
    struct vgr_cmd_handle free_it = {.handle = 1};
    struct vgr_cmd_data get = {.buffer = 1, .len = 60000, .data_off = DATA + 4096};

    alloc(r, 1, 60000);
    assert_int_equal(RUN(r, fill, VGR_CMD_MEMSET), 0);
    assert_int_equal(RUN(r, free_it, VGR_CMD_BUFFER_FREE), 0);
    alloc(r, 1, 60000);
    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    for (int i = 0; i < 60000; i++)
        assert_int_equal(r->c->arena.base[DATA + 4096 + i], 0);
}

static void test_inline_data_and_copy(void **state)
{
    struct rig *r = *state;
    struct {
        struct vgr_cmd_data d;
        uint8_t bytes[24];
    } set = {.d = {.buffer = 1, .offset = 8, .len = 20}};
    struct vgr_cmd_copy copy = {.dst = 2, .src = 1, .dst_offset = 64, .src_offset = 8, .len = 20};
    struct vgr_cmd_data get = {.buffer = 2, .offset = 64, .len = 20, .data_off = DATA};

    memset(set.bytes, 0x5a, sizeof(set.bytes));
    alloc(r, 1, 4096);
    alloc(r, 2, 4096);
    assert_int_equal(RUN(r, set, VGR_CMD_SET_INLINE), 0);
    assert_int_equal(RUN(r, copy, VGR_CMD_COPY), 0);
    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    assert_memory_equal(r->c->arena.base + DATA, set.bytes, 20);
}

static void test_too_large_a_buffer_is_an_answer_not_a_failure(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_alloc a = {.buffer = 1, .size = 1ull << 60, .reply_off = DATA};
    struct vgr_alloc_reply reply = {.ok = 1};

    memcpy(r->c->arena.base + DATA, &reply, sizeof(reply));
    assert_int_equal(RUN(r, a, VGR_CMD_BUFFER_ALLOC), 0);
    memcpy(&reply, r->c->arena.base + DATA, sizeof(reply));
    assert_int_equal(reply.ok, 0);
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
    alloc(r, 1, 4096); /* the handle stayed free */
}

static void test_data_outside_the_buffer_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_data set = {.buffer = 1, .offset = 4000, .len = 200, .data_off = DATA};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, set, VGR_CMD_SET), VGR_ERROR_RANGE);
}

static void test_offset_overflow_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_memset m = {.buffer = 1, .offset = UINT64_MAX - 3, .len = 8};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, m, VGR_CMD_MEMSET), VGR_ERROR_RANGE);
}

static void test_data_outside_the_heap_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_data get = {.buffer = 1, .len = 64, .data_off = 0}; /* the control page */

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, get, VGR_CMD_GET), VGR_ERROR_RANGE);
}

static void test_inline_data_longer_than_its_record_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct {
        struct vgr_cmd_data d;
        uint8_t bytes[8];
    } set = {.d = {.buffer = 1, .len = 9}};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, set, VGR_CMD_SET_INLINE), VGR_ERROR_COMMAND);
}

static void test_overlapping_copy_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_copy copy = {.dst = 1, .src = 1, .dst_offset = 8, .src_offset = 0, .len = 16};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, copy, VGR_CMD_COPY), VGR_ERROR_RANGE);
}

static void test_unknown_handles_end_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_handle h = {.handle = 0xffffffff};

    assert_failed(r, RUN(r, h, VGR_CMD_BUFFER_FREE), VGR_ERROR_HANDLE);
}

static void test_double_free_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_handle h = {.handle = 1};

    alloc(r, 1, 4096);
    assert_int_equal(RUN(r, h, VGR_CMD_BUFFER_FREE), 0);
    assert_failed(r, RUN(r, h, VGR_CMD_BUFFER_FREE), VGR_ERROR_HANDLE);
}

static void test_unknown_commands_end_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd h;

    assert_failed(r, RUN(r, h, VGR_CMD_COUNT), VGR_ERROR_COMMAND);
}

static void test_records_of_wrong_size_end_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run m = {0};

    assert_failed(r, run(r, &m, VGR_CMD_GRAPH_RUN, 8), VGR_ERROR_COMMAND);
}

/* ---- Graphs ---- */

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

static void refused(struct rig *r, const struct add_graph *d, const char *why)
{
    r->c->failed = false;
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
#define H(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        H(test_handshake_describes_the_host),
        H(test_other_protocol_version_is_told),
        H(test_bad_hellos_are_refused),
        H(test_an_empty_dictionary_is_refused_aloud),
        R(test_data_goes_and_comes_back),
        R(test_fresh_buffers_are_zero),
        R(test_inline_data_and_copy),
        R(test_too_large_a_buffer_is_an_answer_not_a_failure),
        R(test_data_outside_the_buffer_ends_the_context),
        R(test_offset_overflow_ends_the_context),
        R(test_data_outside_the_heap_ends_the_context),
        R(test_inline_data_longer_than_its_record_ends_the_context),
        R(test_overlapping_copy_ends_the_context),
        R(test_unknown_handles_end_the_context),
        R(test_double_free_ends_the_context),
        R(test_unknown_commands_end_the_context),
        R(test_records_of_wrong_size_end_the_context),
        R(test_a_graph_is_defined_run_patched_and_run_again),
        R(test_a_patch_may_not_change_structure),
        R(test_a_graph_on_a_freed_buffer_does_not_run),
        R(test_bad_graphs_are_refused_with_their_reason),
        R(test_queries_answer_support_and_size),
        R(test_what_is_done_is_counted),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
