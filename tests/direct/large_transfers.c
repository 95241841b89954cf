/* SPDX-License-Identifier: MIT
 *
 * Large transfers keep every bit and their place in the order of a stream: pieces of all sizes, of any
 * bit pattern, between graphs that write what is read and read what was written.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "vgr_test.h"

#define WORDS  (5u << 20)
#define PIECES 40
#define ROUNDS 100

static ggml_backend_t gpu;
static struct ggml_context *ctx;
static ggml_backend_buffer_t buffer;
static struct ggml_tensor *bits, *x, *y;
static struct ggml_cgraph *twice;
static uint32_t *in, *out;
static int transfers;

static int setup(void **state)
{
    ggml_backend_dev_t dev;

    ggml_backend_load_all();
    dev = ggml_backend_dev_by_name("VirtGPU0");
    assert_non_null(dev);
    gpu = ggml_backend_dev_init(dev, NULL);
    ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    assert_true(gpu && ctx);
    bits = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, WORDS);
    x = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 128 << 10);
    y = ggml_scale(ctx, x, 2.0f);
    twice = ggml_new_graph(ctx);
    ggml_build_forward_expand(twice, y);
    buffer = ggml_backend_alloc_ctx_tensors(ctx, gpu);
    in = malloc(WORDS * 4ul);
    out = malloc(WORDS * 4ul);
    assert_true(buffer && in && out);
    return 0;
}

static int teardown(void **state)
{
    free(out);
    free(in);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    ggml_backend_free(gpu);
    printf("%d transfers\n", transfers);
    return transfers ? 0 : -1;
}

/* Small integers (denormal as floats), numbers that are none, and everything else. */
static void scramble(uint32_t seed)
{
    uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;

    for (uint32_t i = 0; i < WORDS; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        in[i] = (uint32_t)(s >> 32);
        if (i % 3 == 1)
            in[i] &= 0xffff;
        else if (i % 3 == 2)
            in[i] |= 0x7f800000;
    }
}

static void sizes_and_patterns(void **state)
{
    static const uint32_t words[] = {1, 4095, 4096, 4097, 20000, 128257, 262145, WORDS};
    static const uint32_t at[] = {0, 1, 63, 4096};

    for (size_t w = 0; w < sizeof(words) / sizeof(*words); w++) {
        for (size_t a = 0; a < sizeof(at) / sizeof(*at); a++) {
            size_t n = words[w] + at[a] > WORDS ? WORDS - at[a] : words[w];

            scramble((uint32_t)(w * 16 + a));
            memset(out, 0, n * 4);
            ggml_backend_tensor_set_async(gpu, bits, in, at[a] * 4, n * 4);
            ggml_backend_tensor_get_async(gpu, bits, out, at[a] * 4, n * 4);
            ggml_backend_synchronize(gpu);
            assert_memory_equal(in, out, n * 4);
            /* without a stream */
            in[0] ^= 0xffffffff;
            ggml_backend_tensor_set(bits, in, at[a] * 4, n * 4);
            ggml_backend_tensor_get(bits, out, at[a] * 4, n * 4);
            assert_memory_equal(in, out, n * 4);
            transfers += 4;
        }
    }
}

static void many_pieces_in_flight(void **state)
{
    size_t piece = 20000;

    scramble(1000);
    memset(out, 0, PIECES * piece);
    for (size_t i = 0; i < PIECES; i++)
        ggml_backend_tensor_set_async(gpu, bits, in + i * piece / 4, i * piece, piece);
    for (size_t i = PIECES; i-- > 0;)
        ggml_backend_tensor_get_async(gpu, bits, out + i * piece / 4, i * piece, piece);
    ggml_backend_synchronize(gpu);
    assert_memory_equal(in, out, PIECES * piece);
    transfers += 2 * PIECES;
}

static void in_order_with_graphs(void **state)
{
    size_t n = (size_t)x->ne[0];
    float *values = (float *)in, *first = (float *)out, *second = first + n;

    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < n; i++)
            values[i] = (float)(i % 1000) + (float)round;
        ggml_backend_tensor_set_async(gpu, x, values, 0, n * 4);
        ggml_backend_graph_compute_async(gpu, twice);
        ggml_backend_tensor_get_async(gpu, y, first, 0, n * 4);
        /* The input is changed behind the first graph, the result read again behind the second. */
        for (size_t i = 0; i < n; i++)
            values[n + i] = -(float)(i % 500) - (float)round;
        ggml_backend_tensor_set_async(gpu, x, values + n, 0, n * 4);
        ggml_backend_graph_compute_async(gpu, twice);
        ggml_backend_tensor_get_async(gpu, y, second, 0, n * 4);
        ggml_backend_synchronize(gpu);
        for (size_t i = 0; i < n; i++) {
            if (first[i] != 2 * values[i] || second[i] != 2 * values[n + i])
                fail_msg("round %d, word %zu: %g and %g, then %g and %g", round, i,
                         (double)values[i], (double)first[i], (double)values[n + i],
                         (double)second[i]);
        }
        transfers += 4;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_patterns),
        cmocka_unit_test(many_pieces_in_flight),
        cmocka_unit_test(in_order_with_graphs),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
