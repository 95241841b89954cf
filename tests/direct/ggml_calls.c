/* SPDX-License-Identifier: MIT
 *
 * GGML's public calls on VirtGPU0 do what they do on the CPU: transfers, copies, events, graphs, and
 * graphs under GGML's scheduler.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "vgr_test.h"

#define ROW  40
#define ROWS 6

/* One more download than the library has on its way at once. */
#define MANY   1025
#define LEN    16
#define ROUNDS 10

static ggml_backend_dev_t dev;
static ggml_backend_t gpu, gpu2, cpu;
static int graphs;

static int setup(void **state)
{
    ggml_backend_load_all();
    dev = ggml_backend_dev_by_name("VirtGPU0");
    assert_non_null(dev);
    gpu = ggml_backend_dev_init(dev, NULL);
    gpu2 = ggml_backend_dev_init(dev, NULL);
    cpu = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
    assert_true(gpu && gpu2 && cpu);
    return 0;
}

static int teardown(void **state)
{
    ggml_backend_free(cpu);
    ggml_backend_free(gpu2);
    ggml_backend_free(gpu);
    printf("%d graphs\n", graphs);
    return graphs ? 0 : -1;
}

static struct ggml_context *new_context(void)
{
    return ggml_init((struct ggml_init_params){.mem_size = 4 << 20, .no_alloc = true});
}

/* ---- Data ---- */

/* Two tensors of ROWS rows of ROW bytes, in buffers of their own. */
struct pair {
    struct ggml_context *ctx;
    struct ggml_tensor *a, *b;
    ggml_backend_buffer_t buf_a, buf_b;
};

static struct pair new_pair(void)
{
    struct pair p = {.ctx = new_context()};

    p.a = ggml_new_tensor_2d(p.ctx, GGML_TYPE_I8, ROW, ROWS);
    p.buf_a = ggml_backend_alloc_ctx_tensors(p.ctx, gpu);
    p.b = ggml_new_tensor_2d(p.ctx, GGML_TYPE_I8, ROW, ROWS);
    p.buf_b = ggml_backend_alloc_ctx_tensors(p.ctx, gpu);
    assert_true(p.buf_a && p.buf_b);
    ggml_backend_buffer_clear(p.buf_a, 0x11);
    ggml_backend_buffer_clear(p.buf_b, 0);
    return p;
}

static void free_pair(struct pair *p)
{
    ggml_backend_buffer_free(p->buf_a);
    ggml_backend_buffer_free(p->buf_b);
    ggml_free(p->ctx);
}

static void holds(const struct ggml_tensor *t, const uint8_t *want)
{
    uint8_t got[ROWS * ROW];

    ggml_backend_tensor_get(t, got, 0, sizeof(got));
    assert_memory_equal(got, want, sizeof(got));
}

static void a_range_is_set_filled_and_read(void **state)
{
    struct pair p = new_pair();
    uint8_t want[ROWS * ROW];

    memset(want, 0x11, sizeof(want));
    holds(p.a, want);
    /* GGML's Vulkan fills whole words only. */
    ggml_backend_tensor_memset(p.a, 0x5a, 8, 100);
    memset(want + 8, 0x5a, 100);
    ggml_backend_tensor_set(p.a, "twelve bytes", 50, 12);
    memcpy(want + 50, "twelve bytes", 12);
    holds(p.a, want);
    memset(want, 0, sizeof(want));
    holds(p.b, want);
    free_pair(&p);
}

static void rows_are_set_and_read(void **state)
{
    struct pair p = new_pair();
    uint8_t in[ROWS * 9], out[ROWS * 5] = {0}, want[ROWS * ROW];

    memset(want, 0x11, sizeof(want));
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 7);
    /* 9 bytes a row, from the fourth on */
    ggml_backend_tensor_set_2d(p.a, in, 3, 9, ROWS, ROW, 9);
    for (int r = 0; r < ROWS; r++)
        memcpy(want + r * ROW + 3, in + r * 9, 9);
    holds(p.a, want);
    ggml_backend_tensor_get_2d(p.a, out, 5, 5, ROWS, ROW, 5);
    for (int r = 0; r < ROWS; r++)
        assert_memory_equal(out + r * 5, want + r * ROW + 5, 5);

    /* the same in a stream */
    memset(out, 0, sizeof(out));
    ggml_backend_tensor_set_2d_async(gpu, p.b, in, 3, 9, ROWS, ROW, 9);
    ggml_backend_tensor_get_2d_async(gpu, p.b, out, 5, 5, ROWS, ROW, 5);
    ggml_backend_synchronize(gpu);
    for (int r = 0; r < ROWS; r++)
        assert_memory_equal(out + r * 5, want + r * ROW + 5, 5);
    free_pair(&p);
}

static void tensors_are_copied(void **state)
{
    struct pair p = new_pair();
    ggml_backend_event_t event = ggml_backend_event_new(dev);
    uint8_t want[ROWS * ROW], late[ROW];

    assert_non_null(event);
    memset(want, 0x11, sizeof(want));
    ggml_backend_tensor_copy(p.a, p.b);
    holds(p.b, want);

    /* from stream to stream, with an event between them */
    memset(want, 0x33, sizeof(want));
    ggml_backend_tensor_set_async(gpu, p.a, want, 0, sizeof(want));
    ggml_backend_tensor_copy_async(gpu, gpu, p.a, p.b);
    ggml_backend_event_record(event, gpu);
    ggml_backend_event_wait(gpu2, event);
    ggml_backend_tensor_get_async(gpu2, p.b, late, ROW, ROW);
    ggml_backend_synchronize(gpu2);
    assert_memory_equal(late, want, ROW);
    ggml_backend_event_record(event, gpu2);
    ggml_backend_event_synchronize(event);
    ggml_backend_event_free(event);
    holds(p.b, want);
    free_pair(&p);
}

static void get_many(const struct ggml_tensor *t, uint8_t *out, bool async)
{
    if (async) {
        for (size_t i = 0; i < MANY; i++)
            ggml_backend_tensor_get_async(gpu, t, out + i * LEN, i * ROW, LEN);
        ggml_backend_synchronize(gpu);
    } else {
        ggml_backend_tensor_get_2d(t, out, 0, LEN, MANY, ROW, LEN);
    }
}

/* What a call or a wait was to bring is there when it has returned, and nothing is written later: the memory may
 * be somebody else's by then. */
static void many_downloads_are_in_time(void **state)
{
    struct ggml_context *ctx = new_context();
    struct ggml_tensor *t = ggml_new_tensor_2d(ctx, GGML_TYPE_I8, ROW, MANY);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, gpu);
    static uint8_t in[MANY * ROW], out[MANY * LEN];
    uint8_t other[LEN];

    assert_non_null(buffer);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        for (size_t i = 0; i < sizeof(in); i++)
            in[i] = (uint8_t)(i / ROW + (size_t)round);
        ggml_backend_tensor_set(t, in, 0, sizeof(in));
        memset(out, 0xff, sizeof(out));
        get_many(t, out, round % 2);
        for (size_t i = 0; i < MANY; i++)
            assert_memory_equal(out + i * LEN, in + i * ROW, LEN);
        memset(out, 0xff, sizeof(out));
        ggml_backend_tensor_get(t, other, 0, LEN); /* whoever waits next */
        for (size_t i = 0; i < sizeof(out); i++)
            assert_int_equal(out[i], 0xff);
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

static void the_device_describes_itself(void **state)
{
    struct ggml_backend_dev_props props;
    ggml_backend_buffer_type_t buft = ggml_backend_dev_buffer_type(dev);

    ggml_backend_dev_get_props(dev, &props);
    assert_string_equal(props.name, "VirtGPU0");
    assert_true(props.memory_total > 0 && props.caps.async && props.caps.events);
    assert_string_equal(ggml_backend_buft_name(buft), "VirtGPU0");
    assert_true(ggml_backend_buft_get_alignment(buft) > 0);
    assert_false(ggml_backend_buft_is_host(buft));
    assert_ptr_equal(ggml_backend_buft_get_device(buft), dev);
    assert_ptr_equal(ggml_backend_get_device(gpu), dev);
    assert_true(ggml_backend_dev_supports_buft(dev, buft));
    assert_string_equal(ggml_backend_reg_name(ggml_backend_dev_backend_reg(dev)), "VirtGPU");
}

/* ---- Graphs ---- */

/* A number for each (seed, i), in -1..1. */
static float noise(uint32_t seed, uint32_t i)
{
    uint32_t x = seed * 2654435761u ^ i * 2246822519u;

    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (float)(x & 0xffff) / 32768.f - 1;
}

static struct ggml_tensor *input(struct ggml_context *ctx, enum ggml_type type, int64_t ne0,
                                 int64_t ne1)
{
    struct ggml_tensor *t = ggml_new_tensor_2d(ctx, type, ne0, ne1);

    ggml_set_input(t);
    return t;
}

/* Fills the inputs, each with its own numbers. Indices are below 8. */
static void fill(struct ggml_context *ctx)
{
    static float f[1 << 14];
    static uint8_t bytes[sizeof(f)];
    uint32_t seed = 0;

    for (struct ggml_tensor *t = ggml_get_first_tensor(ctx); t; t = ggml_get_next_tensor(ctx, t)) {
        uint32_t n = (uint32_t)ggml_nelements(t);
        int32_t *index = (int32_t *)bytes;

        if (!(t->flags & GGML_TENSOR_FLAG_INPUT))
            continue;
        assert_true(n <= sizeof(f) / sizeof(*f));
        seed++;
        for (uint32_t i = 0; i < n; i++)
            f[i] = noise(seed, i);
        if (t->type == GGML_TYPE_I32) {
            for (uint32_t i = 0; i < n; i++)
                index[i] = (int32_t)((f[i] + 1) * 3.99f);
        } else if (t->type == GGML_TYPE_F32) {
            memcpy(bytes, f, n * sizeof(*f));
        } else {
            ggml_quantize_chunk(t->type, f, bytes, 0, ggml_nrows(t), t->ne[0], NULL);
        }
        ggml_backend_tensor_set(t, bytes, 0, ggml_nbytes(t));
    }
}

/* What a layer of an LLM is made of, small. */
static struct ggml_tensor *layer(struct ggml_context *ctx, struct ggml_context *weights)
{
    struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, 64, 8);
    struct ggml_tensor *w = input(weights, GGML_TYPE_Q4_0, 64, 96);
    struct ggml_tensor *bias = input(weights, GGML_TYPE_F32, 96, 1);
    struct ggml_tensor *table = input(weights, GGML_TYPE_F32, 96, 16);
    struct ggml_tensor *ids = input(ctx, GGML_TYPE_I32, 8, 1);
    struct ggml_tensor *y = ggml_mul_mat(ctx, w, x), *half;

    y = ggml_add(ctx, ggml_rms_norm(ctx, y, 1e-5f), bias);
    y = ggml_mul(ctx, ggml_soft_max(ctx, y), ggml_get_rows(ctx, table, ids));
    y = ggml_silu(ctx, ggml_scale(ctx, y, 50));
    y = ggml_cast(ctx, ggml_cast(ctx, y, GGML_TYPE_F16), GGML_TYPE_F32); /* its own source */
    half = ggml_view_2d(ctx, y, 48, 8, y->nb[1], 48 * sizeof(float));
    return ggml_cont(ctx, ggml_permute(ctx, half, 1, 0, 2, 3));
}

/* How a mixture of experts weighs the best 4 of 32, in the very nodes that backends fuse. */
static struct ggml_tensor *experts(struct ggml_context *ctx, struct ggml_context *weights)
{
    struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, 64, 8);
    struct ggml_tensor *gate = input(weights, GGML_TYPE_F32, 64, 32);
    struct ggml_tensor *probs = ggml_soft_max(ctx, ggml_mul_mat(ctx, gate, x));
    struct ggml_tensor *ids = ggml_argsort_top_k(ctx, probs, 4);
    struct ggml_tensor *w = ggml_get_rows(ctx, ggml_reshape_3d(ctx, probs, 1, 32, 8), ids);
    struct ggml_tensor *sum;

    w = ggml_reshape_2d(ctx, w, 4, 8);
    sum = ggml_clamp(ctx, ggml_sum_rows(ctx, w), 6.103515625e-5f, INFINITY);
    w = ggml_reshape_3d(ctx, ggml_div(ctx, w, sum), 1, 4, 8);
    return ggml_scale(ctx, w, 3);
}

/* A view of an input: the scheduler leaves it in the device's split, with the input in the CPU's memory, and
 * gives its user a copy. Mamba and BERT are full of these. */
static struct ggml_tensor *picked(struct ggml_context *ctx, struct ggml_context *weights)
{
    struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, 64, 4);
    struct ggml_tensor *w = input(weights, GGML_TYPE_F32, 64, 96);
    struct ggml_tensor *table = input(weights, GGML_TYPE_F32, 96, 16);
    struct ggml_tensor *ids = input(ctx, GGML_TYPE_I32, 8, 1);
    struct ggml_tensor *y = ggml_mul_mat(ctx, w, x);
    struct ggml_tensor *none = ggml_view_1d(ctx, ids, 0, 0);
    struct ggml_tensor *some = ggml_reshape_1d(ctx, ggml_view_1d(ctx, ids, 4, 8), 4);

    y = ggml_mul(ctx, y, ggml_get_rows(ctx, table, some));
    return ggml_concat(ctx, y, ggml_get_rows(ctx, table, none), 1);
}

/* A view whose rows are further apart than their tensor is long, of which a view has one. whisper.cpp's parakeet
 * shifts its positions so. Nothing else is in the buffer behind the tensor. */
static struct ggml_tensor *shifted(struct ggml_context *ctx, struct ggml_context *weights)
{
    struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, 64, 4);
    struct ggml_tensor *w = input(weights, GGML_TYPE_F32, 64, 4);
    struct ggml_tensor *wide = ggml_view_2d(ctx, w, 32, 8, (size_t)1 << 24, 0);
    struct ggml_tensor *row = ggml_view_1d(ctx, ggml_permute(ctx, wide, 0, 2, 1, 3), 32, 64);

    return ggml_mul(ctx, ggml_view_2d(ctx, x, 32, 4, 256, 128), row);
}

/* No rows are set, and products and sums are taken of what has no elements, as in llama.cpp's tensor split. */
static struct ggml_tensor *of_nothing(struct ggml_context *ctx, struct ggml_context *weights)
{
    struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, 64, 4);
    struct ggml_tensor *w = input(weights, GGML_TYPE_F32, 64, 64);
    struct ggml_tensor *ids = ggml_view_1d(ctx, input(ctx, GGML_TYPE_I32, 8, 1), 0, 0);
    struct ggml_tensor *product =
        ggml_mul_mat(ctx, ggml_view_2d(ctx, w, 0, 64, 256, 0), ggml_view_2d(ctx, x, 0, 4, 256, 0));
    struct ggml_tensor *rows =
        ggml_set_rows(ctx, ggml_dup(ctx, x), ggml_view_2d(ctx, x, 64, 0, 256, 0), ids);
    struct ggml_tensor *sums = ggml_sum_rows(ctx, ggml_view_2d(ctx, x, 0, 4, 256, 0));
    struct ggml_tensor *of_experts = ggml_mul_mat_id(
        ctx, ggml_view_3d(ctx, w, 0, 8, 8, 256, 2048, 0),
        ggml_view_3d(ctx, x, 0, 1, 4, 256, 256, 0), input(ctx, GGML_TYPE_I32, 1, 4));

    sums = ggml_add(ctx, ggml_reshape_2d(ctx, of_experts, 8, 4), sums);
    return ggml_add(ctx, ggml_add(ctx, rows, product), ggml_repeat(ctx, sums, rows));
}

typedef struct ggml_tensor *builder(struct ggml_context *ctx, struct ggml_context *weights);

/* Runs it `times` times, with the scheduler or without, and reads the result of the last. */
static void run(builder *build, ggml_backend_t backend, bool scheduled, int times, float *result,
                size_t size)
{
    ggml_backend_t backends[] = {backend, cpu};
    struct ggml_context *ctx = new_context(), *weights = new_context();
    struct ggml_tensor *out = build(ctx, weights);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_backend_buffer_t weight_buffer = ggml_backend_alloc_ctx_tensors(weights, backend);
    ggml_backend_buffer_t buffer = NULL;
    ggml_backend_sched_t sched = NULL;

    assert_int_equal(ggml_nbytes(out), size);
    assert_non_null(weight_buffer);
    ggml_backend_buffer_set_usage(weight_buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    ggml_set_output(out);
    ggml_build_forward_expand(graph, out);
    if (scheduled) {
        sched = ggml_backend_sched_new(backends, NULL, backend == cpu ? 1 : 2,
                                       GGML_DEFAULT_GRAPH_SIZE, false, true);
        assert_true(ggml_backend_sched_alloc_graph(sched, graph));
        assert_ptr_equal(ggml_backend_sched_get_tensor_backend(sched, out), backend);
    } else {
        buffer = ggml_backend_alloc_ctx_tensors(ctx, backend);
        assert_non_null(buffer);
    }
    for (int i = 0; i < times; i++) {
        enum ggml_status status;

        fill(weights);
        fill(ctx);
        status = scheduled ? ggml_backend_sched_graph_compute(sched, graph)
                           : ggml_backend_graph_compute(backend, graph);
        assert_int_equal(status, GGML_STATUS_SUCCESS);
        graphs += backend != cpu;
    }
    ggml_backend_tensor_get(out, result, 0, size);
    ggml_backend_sched_free(sched);
    ggml_backend_buffer_free(buffer);
    ggml_backend_buffer_free(weight_buffer);
    ggml_free(weights);
    ggml_free(ctx);
}

static void same_result(builder *build, size_t n, bool scheduled)
{
    float want[1024], got[1024];
    double error = 0, size = 0;

    assert_true(n <= 1024);
    run(build, cpu, scheduled, 1, want, n * sizeof(float));
    run(build, gpu, scheduled, 3, got, n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        error += pow(want[i] - got[i], 2);
        size += pow(want[i], 2);
    }
    assert_true(size > 0 && error / size < 1e-4);
}

static void a_layer_is_computed(void **state)
{
    same_result(layer, (size_t)8 * 48, false);
}

static void a_layer_is_scheduled(void **state)
{
    same_result(layer, (size_t)8 * 48, true);
}

static void experts_are_computed(void **state)
{
    same_result(experts, (size_t)4 * 8, false);
}

/* Backends that fuse these nodes ask the scheduler for memory that lives longer. */
static void experts_are_scheduled(void **state)
{
    same_result(experts, (size_t)4 * 8, true);
}

static void views_of_what_lies_elsewhere_are_scheduled(void **state)
{
    same_result(picked, (size_t)4 * 96, true);
}

/* ---- Questions ---- */

/* Asks as llama.cpp does: the weight lies in a buffer of the device, nothing else anywhere. */
static bool would_take(struct ggml_tensor *op, struct ggml_tensor *weight)
{
    bool yes;

    weight->buffer = ggml_backend_buft_alloc_buffer(ggml_backend_dev_buffer_type(dev), 0);
    yes = ggml_backend_dev_supports_op(dev, op);
    ggml_backend_buffer_free(weight->buffer);
    weight->buffer = NULL;
    return yes;
}

/* The ops by which llama.cpp asks where a weight is to be, some of which could not be run. */
static void weights_go_to_the_device(void **state)
{
    enum { HEAD = 64, HEADS = 4, TOKENS = 512 };
    struct ggml_context *ctx = new_context();
    struct ggml_tensor *x = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, HEAD, HEADS, TOKENS);
    struct ggml_tensor *pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, TOKENS);
    struct ggml_tensor *odd = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, HEAD, HEAD, HEAD);
    struct ggml_tensor *states = ggml_new_tensor_4d(ctx, GGML_TYPE_F32, HEAD, HEAD, HEAD, HEAD);

    (void)state;
    for (int half = 1; half <= 2; half++) { /* rotary factors for all of a row, or for a half */
        struct ggml_tensor *factors = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, HEAD / 2 / half);

        assert_true(
            would_take(ggml_rope_ext(ctx, x, pos, factors, 0, 0, 0, 0, 0, 0, 0, 0, 0), factors));
    }
    for (int heads = 1; heads <= HEADS; heads += 3) {
        struct ggml_tensor *first = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, HEAD, heads);

        assert_true(would_take(ggml_rwkv_wkv6(ctx, odd, odd, odd, first, odd, states), first));
    }
    ggml_free(ctx);
}

static void a_view_that_is_too_long_is_narrowed(void **state)
{
    same_result(shifted, (size_t)4 * 32, false);
    same_result(shifted, (size_t)4 * 32, true);
}

static void what_has_no_elements_is_computed(void **state)
{
    same_result(of_nothing, (size_t)4 * 64, false);
    same_result(of_nothing, (size_t)4 * 64, true);
}

static int said;

static void count_lines(enum ggml_log_level level, const char *text, void *user_data)
{
    said += strstr(text, "extends past the end of its buffer") != NULL;
}

/* What is read where nothing is fails one graph, and not what lies on the host. So do transfers. */
static void what_is_outside_of_its_buffer_fails_alone(void **state)
{
    struct ggml_context *ctx = new_context();
    ggml_backend_t other = ggml_backend_dev_init(dev, NULL);
    struct ggml_tensor *x = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 64);
    struct ggml_tensor *wide = ggml_view_2d(ctx, x, 8, 8, (size_t)1 << 24, 0);
    struct ggml_tensor *good = ggml_sqr(ctx, x), *bad = ggml_cont(ctx, wide);
    struct ggml_cgraph *g = ggml_new_graph(ctx);
    ggml_backend_buffer_t buf = ggml_backend_alloc_ctx_tensors(ctx, other);
    float in[64], out[64];

    assert_non_null(buf);
    for (int i = 0; i < 64; i++)
        in[i] = (float)i;
    ggml_backend_tensor_set(x, in, 0, sizeof(in));
    said = 0;
    ggml_log_set(count_lines, NULL);
    ggml_build_forward_expand(g, bad);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ggml_backend_graph_compute(other, g), GGML_STATUS_FAILED);
    assert_int_equal(said, 1);
    memset(out, 1, sizeof(out));
    ggml_backend_tensor_get(wide, out, (size_t)1 << 24, sizeof(out[0]));
    assert_true(out[0] == 0 && out[1] != 0);
    ggml_backend_tensor_set(wide, in, (size_t)1 << 24, sizeof(in));
    ggml_backend_tensor_get_async(other, wide, out, (size_t)1 << 24, sizeof(out));
    ggml_backend_synchronize(other);
    assert_true(out[1] == 0);
    assert_int_equal(said, 2);
    ggml_log_set(NULL, NULL);

    ggml_graph_clear(g);
    ggml_build_forward_expand(g, good);
    assert_int_equal(ggml_backend_graph_compute(other, g), GGML_STATUS_SUCCESS);
    ggml_backend_tensor_get(good, out, 0, sizeof(out));
    for (int i = 0; i < 64; i++)
        assert_true(out[i] == in[i] * in[i]);
    graphs++;
    ggml_backend_buffer_free(buf);
    ggml_backend_free(other);
    ggml_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_set_filled_and_read),
        cmocka_unit_test(rows_are_set_and_read),
        cmocka_unit_test(tensors_are_copied),
        cmocka_unit_test(many_downloads_are_in_time),
        cmocka_unit_test(the_device_describes_itself),
        cmocka_unit_test(a_layer_is_computed),
        cmocka_unit_test(a_layer_is_scheduled),
        cmocka_unit_test(experts_are_computed),
        cmocka_unit_test(experts_are_scheduled),
        cmocka_unit_test(views_of_what_lies_elsewhere_are_scheduled),
        cmocka_unit_test(weights_go_to_the_device),
        cmocka_unit_test(a_view_that_is_too_long_is_narrowed),
        cmocka_unit_test(what_has_no_elements_is_computed),
        cmocka_unit_test(what_is_outside_of_its_buffer_fails_alone),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
