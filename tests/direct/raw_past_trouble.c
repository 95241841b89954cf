/* SPDX-License-Identifier: MIT
 *
 * One test for each class of trouble that hosts of remote graphics and of GGML have had: what went wrong
 * elsewhere is tried here, against the whole host. docs/security.md lists them.
 */
#include <stdio.h>

#include "raw_scene.h"

/* Resident KiB of the newest worker. */
static unsigned worker_kib(void)
{
    char name[64], line[256];
    unsigned kib = 0;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/%d/status", raw_device_newest_worker());
    f = fopen(name, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "RssAnon: %u kB", &kib) == 1)
            break;
    }
    fclose(f);
    assert_true(kib > 0);
    return kib;
}

/* Each in a context of its own. */
static void one_fails(void *cmd, enum vgr_cmd_op op, uint32_t size, enum vgr_error code,
                      const char *text)
{
    struct raw_client c;

    raw_open(&c);
    raw_buffer(&c, 1, 4096);
    raw_buffer(&c, 2, 4096);
    raw_push(&c, cmd, (uint16_t)op, size);
    raw_assert_fails(&c, code, text);
    raw_close(&c);
}

static void heap_overflow_in_an_inline_transfer(void **state)
{
    static const struct {
        uint64_t offset;
        uint32_t len;
    } wrong[] = {{0, 9}, {0, 4096}, {0, 0xffffffff}, {4092, 8}, {~0ull - 3, 8}, {1ull << 63, 8}};
    struct {
        struct vgr_cmd_data d;
        uint8_t bytes[8];
    } set = {.d = {.buffer = 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        set.d.offset = wrong[i].offset;
        set.d.len = wrong[i].len;
        if (wrong[i].len > sizeof(set.bytes))
            one_fails(&set, VGR_CMD_SET_INLINE, sizeof(set), VGR_ERROR_COMMAND, "longer");
        else
            one_fails(&set, VGR_CMD_SET_INLINE, sizeof(set), VGR_ERROR_RANGE, "outside");
    }
}

static void out_of_bounds_read(void **state)
{
    static const struct {
        uint64_t offset;
        uint32_t len;
    } wrong[] = {{4096, 1}, {0, 4097}, {4095, 2}, {1, 0xffffffff}, {~0ull, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct vgr_cmd_data get = {
            .buffer = 1, .data_off = RAW_DATA, .offset = wrong[i].offset, .len = wrong[i].len};

        one_fails(&get, VGR_CMD_GET, sizeof(get), VGR_ERROR_RANGE, "outside buffer 1");
    }
}

static void null_dereference(void **state)
{
    struct vgr_cmd_data get = {.buffer = 0, .len = 8, .data_off = RAW_DATA};
    struct vgr_cmd_run run = {.graph = 1, .stream = 0};
    struct vgr_cmd_stream close_it = {.stream = 0};
    struct raw_client *c = bad_context(state);
    struct square s = square();

    one_fails(&get, VGR_CMD_GET, sizeof(get), VGR_ERROR_HANDLE, "no buffer 0");
    one_fails(&run, VGR_CMD_GRAPH_RUN, sizeof(run), VGR_ERROR_HANDLE, "");
    one_fails(&close_it, VGR_CMD_STREAM_CLOSE, sizeof(close_it), VGR_ERROR_HANDLE, "no stream 0");
    /* An op that computes, on a tensor without memory. */
    s.t[1].buffer = 0;
    define(c, &s, sizeof(s));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "");
}

static void double_free(void **state)
{
    struct vgr_cmd_handle h = {.handle = 1};
    struct vgr_cmd_stream stream = {.stream = 1};
    struct square s = square();
    struct raw_client *c = bad_context(state), other;

    define(c, &s, sizeof(s));
    raw_push(c, &h, VGR_CMD_GRAPH_FREE, sizeof(h));
    assert_true(raw_done(c, raw_push(c, &h, VGR_CMD_BUFFER_FREE, sizeof(h))));
    raw_push(c, &h, VGR_CMD_BUFFER_FREE, sizeof(h));
    raw_assert_fails(c, VGR_ERROR_HANDLE, "no buffer 1");

    raw_open(&other);
    define(&other, &s, sizeof(s));
    raw_push(&other, &h, VGR_CMD_GRAPH_FREE, sizeof(h));
    raw_push(&other, &h, VGR_CMD_GRAPH_FREE, sizeof(h));
    raw_assert_fails(&other, VGR_ERROR_HANDLE, "graph 1");
    raw_close(&other);

    raw_open(&other);
    raw_push(&other, &stream, VGR_CMD_STREAM_OPEN, sizeof(stream));
    raw_push(&other, &stream, VGR_CMD_STREAM_CLOSE, sizeof(stream));
    raw_push(&other, &stream, VGR_CMD_STREAM_CLOSE, sizeof(stream));
    raw_assert_fails(&other, VGR_ERROR_HANDLE, "no stream 1");
    raw_close(&other);
}

/* The address sanitizer keeps what was freed for a while, a quarter of a gigabyte of it. The loop below
 * would lose more than twice as much. */
#ifdef __SANITIZE_ADDRESS__
#define KEPT_KIB (300u << 10)
#else
#define KEPT_KIB 1024u
#endif

/* What can be made can be unmade and replaced, ten thousand times, at no cost. */
static void leak_until_denial_of_service(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_graph define_it = {
        .graph = 1, .data_off = RAW_DATA + 4096, .data_len = sizeof(struct square)};
    struct vgr_cmd_alloc alloc = {.buffer = 2, .size = 65536, .reply_off = RAW_DATA};
    struct vgr_cmd_handle h = {.handle = 2};
    struct vgr_cmd_stream stream = {.stream = 2};
    struct vgr_cmd_run run = {.graph = 1, .stream = 2};
    struct square s = square();
    unsigned before = 0;

    define(c, &s, sizeof(s));
    for (int i = 0; i < 10000; i++) {
        uint64_t seq;

        raw_push(c, &alloc, VGR_CMD_BUFFER_ALLOC, sizeof(alloc));
        raw_push(c, &define_it, VGR_CMD_GRAPH_DEFINE, sizeof(define_it));
        if (i % 100 == 0) {
            raw_push(c, &stream, VGR_CMD_STREAM_OPEN, sizeof(stream));
            raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
            raw_push(c, &stream, VGR_CMD_STREAM_CLOSE, sizeof(stream));
        }
        seq = raw_push(c, &h, VGR_CMD_BUFFER_FREE, sizeof(h));
        if (i % 100 == 0)
            assert_true(raw_done(c, seq));
        if (i == 1000)
            before = worker_kib();
    }
    assert_true(raw_done(c, c->ring.seq));
    assert_true(worker_kib() <= before + KEPT_KIB);
}

static void integer_overflow(void **state)
{
    static const struct {
        int64_t ne[4];
        uint64_t nb[4];
    } wrong[] = {
        {{1ll << 62, 4, 1, 1}, {4, 0, 0, 0}},
        {{16, 1ll << 62, 1, 1}, {4, 4, 64, 64}},
        {{1ll << 32, 1ll << 32, 1ll << 32, 1}, {4, 64, 64, 64}},
        {{16, 2, 1, 1}, {4, ~0ull - 3, 64, 64}},
        {{16, 2, 2, 2}, {4, 1ull << 63, 1ull << 63, 64}},
        {{-16, 1, 1, 1}, {4, 64, 64, 64}},
        {{-1, -1, 1, 1}, {4, 64, 64, 64}},
        {{INT64_MIN, -1, 1, 1}, {4, 64, 64, 64}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct square s = square();
        struct raw_client c;

        for (int t = 0; t < 2; t++) {
            memcpy(s.t[t].ne, wrong[i].ne, sizeof(wrong[i].ne));
            memcpy(s.t[t].nb, wrong[i].nb, sizeof(wrong[i].nb));
        }
        raw_open(&c);
        define(&c, &s, sizeof(s));
        raw_assert_fails(&c, VGR_ERROR_GRAPH, "");
        raw_close(&c);
    }
}

/* One node of `op`, whose sources are the second tensor, twice if there are two. */
static void op_fails(struct square s, enum ggml_op op, int sources)
{
    struct raw_client c;

    s.t[0].op = (uint32_t)op;
    s.t[0].src[0] = 2;
    s.t[0].src[1] = sources > 1 ? 2 : 0;
    raw_open(&c);
    define(&c, &s, sizeof(s));
    raw_assert_fails(&c, VGR_ERROR_GRAPH, "");
    raw_close(&c);
}

static void function_pointer_in_op_params(void **state)
{
    static const enum ggml_op ops[] = {GGML_OP_MAP_CUSTOM1, GGML_OP_MAP_CUSTOM2,
                                       GGML_OP_MAP_CUSTOM3, GGML_OP_CUSTOM};

    (void)state;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct square s = square();
        uint64_t pointer = 0x41414141;

        memcpy(s.t[0].op_params, &pointer, sizeof(pointer));
        op_fails(s, ops[i], i == 1 ? 2 : 1);
    }
}

static void shape_mismatch_that_reaches_a_kernel(void **state)
{
    static const enum ggml_op ops[] = {GGML_OP_ADD,    GGML_OP_MUL_MAT, GGML_OP_SCALE,
                                       GGML_OP_CONCAT, GGML_OP_DUP,     GGML_OP_SOFT_MAX,
                                       GGML_OP_CPY,    GGML_OP_RMS_NORM};

    (void)state;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct square s = square();

        /* The result is a row longer, and has room for it, than the source. */
        s.t[0].ne[1] = 2;
        s.t[0].nb[2] = s.t[0].nb[3] = 128;
        if (ops[i] == GGML_OP_CONCAT)
            s.t[0].ne[0] = 17;
        op_fails(s, ops[i],
                 ops[i] == GGML_OP_ADD || ops[i] == GGML_OP_MUL_MAT || ops[i] == GGML_OP_CONCAT ||
                         ops[i] == GGML_OP_CPY
                     ? 2
                     : 1);
    }
}

static void op_params_out_of_bounds(void **state)
{
    static const struct {
        enum ggml_op op;
        int sources, param;
        int32_t value;
    } wrong[] = {
        {GGML_OP_CONCAT, 2, 0, 4},      {GGML_OP_CONCAT, 2, 0, -1},
        {GGML_OP_POOL_1D, 1, 0, 99},    {GGML_OP_UPSCALE, 1, 0, 1 << 20},
        {GGML_OP_UNARY, 1, 0, 9999},    {GGML_OP_GLU, 1, 0, -5},
        {GGML_OP_ARGSORT, 1, 0, 77},    {GGML_OP_SQR, 1, 15, 1},
        {GGML_OP_ACC, 2, 3, 0x7ffffff}, {GGML_OP_SET, 2, 3, -4},
        {GGML_OP_ROLL, 1, 0, 1 << 30},  {GGML_OP_PAD, 1, 1, 1 << 30},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct square s = square();

        s.t[0].op_params[wrong[i].param] = wrong[i].value;
        op_fails(s, wrong[i].op, wrong[i].sources);
    }
}

static void copy_out_of_bounds(void **state)
{
    static const struct {
        uint32_t dst, src;
        uint64_t dst_offset, src_offset, len;
    } wrong[] = {
        {1, 2, 0, 0, 4097},        {1, 2, 4090, 0, 8},      {1, 2, 0, 4090, 8},
        {1, 2, ~0ull - 3, 0, 8},   {1, 2, 0, ~0ull - 3, 8}, {1, 2, 0, 0, ~0ull},
        {1, 2, 2048, 2048, ~0ull}, {1, 1, 0, 8, 64},        {1, 1, 8, 0, 64},
        {1, 1, 0, 0, 4096},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct vgr_cmd_copy copy = {.dst = wrong[i].dst,
                                    .src = wrong[i].src,
                                    .dst_offset = wrong[i].dst_offset,
                                    .src_offset = wrong[i].src_offset,
                                    .len = wrong[i].len};

        one_fails(&copy, VGR_CMD_COPY, sizeof(copy), VGR_ERROR_RANGE, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(heap_overflow_in_an_inline_transfer),
        TEST(out_of_bounds_read),
        TEST(null_dereference),
        TEST(double_free),
        TEST(leak_until_denial_of_service),
        TEST(integer_overflow),
        TEST(function_pointer_in_op_params),
        TEST(shape_mismatch_that_reaches_a_kernel),
        TEST(op_params_out_of_bounds),
        TEST(copy_out_of_bounds),
    };

    return cmocka_run_group_tests(tests, setup_device, teardown_device);
}
