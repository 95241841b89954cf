/* SPDX-License-Identifier: MIT
 *
 * What lies outside of a tensor is nobody else's: a context looks up rows that a matrix does not have,
 * far behind it and before it, while another context and one that has ended have filled their memory,
 * and their backends' scratch memory, with a secret. It may read zeros, or bytes of its own; it may end
 * (GGML's CPU backend aborts, a GPU's driver may find no memory there). The secret it does not see.
 *
 * RAW_DEVICE names the device, for a GPU: RAW_DEVICE=CUDA0 VGR_DEVICE=... wrong_indices
 */
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "raw_client.h"
#include "vgr_test.h"

#define MIB    (1u << 20)
#define CHUNK  (2 * MIB) /* where in the arena a mebibyte is passed */
#define LARGE  (64 * MIB)
#define ROW    4096u /* elements: 16 KiB */
#define ROWS   64u   /* looked up at once: a mebibyte */
#define MATRIX 16u   /* rows that there are */
#define STEPS  64    /* mebibytes in each direction */
#define ENDS   4     /* contexts that may end in one direction: then all will */

static uint8_t secret[16];

struct outcome {
    unsigned zero, other, ended; /* mebibytes, contexts */
};

static void fill(struct raw_client *c, uint32_t b, uint64_t size)
{
    for (uint32_t at = 0; at < MIB; at += sizeof(secret))
        memcpy(c->arena + CHUNK + at, secret, sizeof(secret));
    for (uint64_t at = 0; at < size; at += MIB) {
        struct vgr_cmd_data set = {.buffer = b, .offset = at, .len = MIB, .data_off = CHUNK};

        assert_true(raw_done(c, raw_push(c, &set, VGR_CMD_SET, sizeof(set))));
    }
}

static void tensor(struct vgr_tensor *t, uint32_t type, uint64_t offset, int64_t n0, int64_t n1)
{
    uint64_t element = type == GGML_TYPE_F16 ? 2 : 4, all = (uint64_t)(n0 * n1) * element;

    *t = (struct vgr_tensor){.type = type,
                             .buffer = 1,
                             .offset = offset,
                             .ne = {n0, n1, 1, 1},
                             .nb = {element, (uint64_t)n0 * element, all, all}};
}

/* A graph of one op with two sources, in buffer 1, on stream 1. */
static void define(struct raw_client *c, const struct vgr_tensor t[3], uint32_t op)
{
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[3];
    } graph = {.g = {.n_nodes = 1, .n_tensors = 3}};
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_graph m = {.graph = 1, .data_off = RAW_DATA, .data_len = sizeof(graph)};

    memcpy(graph.t, t, sizeof(graph.t));
    graph.t[0].op = op;
    graph.t[0].flags = GGML_TENSOR_FLAG_COMPUTE;
    graph.t[0].src[0] = 2;
    graph.t[0].src[1] = 3;
    memcpy(c->arena + RAW_DATA, &graph, sizeof(graph));
    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    assert_true(raw_done(c, raw_push(c, &m, VGR_CMD_GRAPH_DEFINE, sizeof(m))));
}

static bool run(struct raw_client *c)
{
    struct vgr_cmd_run m = {.graph = 1, .stream = 1};

    return raw_done(c, raw_push(c, &m, VGR_CMD_GRAPH_RUN, sizeof(m)));
}

/* Memory full of the secret, and scratch memory of what becomes of it: a backend converts a factor. */
static void plant(struct raw_client *c)
{
    struct vgr_tensor t[3];

    raw_open(c);
    raw_buffer(c, 1, LARGE);
    fill(c, 1, LARGE);
    tensor(&t[0], GGML_TYPE_F32, 0, 256, 1);
    tensor(&t[1], GGML_TYPE_F16, MIB, 256, 256);
    tensor(&t[2], GGML_TYPE_F32, 2 * MIB, 256, 1);
    define(c, t, GGML_OP_MUL_MAT);
    assert_true(run(c));
}

/* A context that is about to look up: matrix, indices, result. */
static void ready_to_look(struct raw_client *c)
{
    struct vgr_tensor t[3];

    raw_open(c);
    raw_buffer(c, 1, 4 * MIB);
    tensor(&t[0], GGML_TYPE_F32, 2 * MIB, ROW, ROWS);
    tensor(&t[1], GGML_TYPE_F32, 0, ROW, MATRIX);
    tensor(&t[2], GGML_TYPE_I32, MIB, ROWS, 1);
    define(c, t, GGML_OP_GET_ROWS);
}

/* Looks up `n` rows from `first` on, as often as makes ROWS. False if the context ends. */
static bool look_up(struct raw_client *c, int32_t first, int32_t n)
{
    struct vgr_cmd_data set = {.buffer = 1, .offset = MIB, .len = ROWS * 4, .data_off = CHUNK};
    struct vgr_cmd_data get = {.buffer = 1, .offset = 2 * MIB, .len = MIB, .data_off = CHUNK};

    for (int32_t i = 0; i < (int32_t)ROWS; i++) {
        int32_t index = first + i % n;

        memcpy(c->arena + CHUNK + 4 * i, &index, sizeof(index));
    }
    return raw_done(c, raw_push(c, &set, VGR_CMD_SET, sizeof(set))) && run(c) &&
           raw_done(c, raw_push(c, &get, VGR_CMD_GET, sizeof(get)));
}

static void sweep(int direction, struct outcome *o)
{
    static const uint8_t zero[MIB];
    struct raw_client c;

    ready_to_look(&c);
    for (int step = 0; step < STEPS && o->ended < ENDS; step++) {
        int32_t first =
            direction > 0 ? (int32_t)MATRIX + step * (int32_t)ROWS : -(step + 1) * (int32_t)ROWS;

        if (!look_up(&c, first, ROWS)) {
            o->ended++;
            raw_close(&c);
            ready_to_look(&c);
            continue;
        }
        if (memmem(c.arena + CHUNK, MIB, secret, sizeof(secret)))
            fail_msg("rows from %d on have another context's bytes", first);
        if (memcmp(c.arena + CHUNK, zero, MIB))
            o->other++;
        else
            o->zero++;
    }
    raw_close(&c);
}

/* What is found is found: else the tests below say nothing. */
static void test_rows_that_there_are(void **state)
{
    struct raw_client c;

    (void)state;
    ready_to_look(&c);
    fill(&c, 1, MIB);
    memset(c.arena + CHUNK, 0, MIB);
    assert_true(look_up(&c, 0, MATRIX));
    assert_non_null(memmem(c.arena + CHUNK, MIB, secret, sizeof(secret)));
    raw_close(&c);
}

static void test_rows_that_there_are_not(void **state)
{
    struct raw_holdings before = raw_device_holdings();
    struct outcome behind = {0}, ahead = {0};
    struct raw_client living, gone;

    (void)state;
    plant(&gone);
    raw_close(&gone);
    raw_device_settles(before);
    plant(&living);
    sweep(1, &behind);
    sweep(-1, &ahead);
    printf(
        "MiB behind: %u zero, %u other, %u contexts ended; before: %u zero, %u other, %u ended\n",
        behind.zero, behind.other, behind.ended, ahead.zero, ahead.other, ahead.ended);
    assert_true(behind.zero + behind.other + behind.ended);
    assert_true(ahead.zero + ahead.other + ahead.ended);
    raw_close(&living);
}

static int setup_device(void **state)
{
    (void)state;
    assert_int_equal(getrandom(secret, sizeof(secret), 0), sizeof(secret));
    for (size_t i = 3; i < sizeof(secret); i += 4)
        secret[i] = 0x41; /* ordinary floats, which any shader copies as they are */
    raw_device_start();
    return 0;
}

static int teardown_device(void **state)
{
    (void)state;
    raw_device_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_that_there_are),
        cmocka_unit_test(test_rows_that_there_are_not),
    };

    return cmocka_run_group_tests(tests, setup_device, teardown_device);
}
