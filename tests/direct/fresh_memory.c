/* SPDX-License-Identifier: MIT
 *
 * Memory that a guest gets for the first time is zero, to the last byte: a context fills whatever it
 * can have with a random pattern, ends in some way, and another one, or itself, gets new memory and
 * reads it before it writes. Zero, and not just free of the pattern: what the host's backend made of
 * the pattern in its own scratch memory would be told as well.
 *
 * And what the worker itself writes for a guest is what it means to write: where it fills a struct or
 * a text in the arena, nothing of its own memory comes along.
 */
#include <ggml.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "raw_client.h"
#include "vgr_test.h"

#define MIB   (1u << 20)
#define CHUNK (2 * MIB) /* where in the arena a mebibyte is passed */
#define LARGE (16 * MIB)
#define SMALL 64 /* buffers */

static uint8_t secret[16];

/* Odd ones too: who clears by words of four bytes leaves the last three. */
static uint64_t small_size(uint32_t i)
{
    return 1021 + 977 * (uint64_t)i;
}

/* ---- Planting ---- */

/* Buffer `b` is filled with the secret, `size` bytes of it. */
static void fill(struct raw_client *c, uint32_t b, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += MIB) {
        struct vgr_cmd_data set = {.buffer = b, .offset = at, .data_off = CHUNK};

        set.len = (uint32_t)(size - at < MIB ? size - at : MIB);
        assert_true(raw_done(c, raw_push(c, &set, VGR_CMD_SET, sizeof(set))));
    }
}

/* A matrix times a vector of another type: a backend converts one of them, in memory of its own. Both
 * are the secret, in buffer 1, and the result is there too. (A vector, because lavapipe takes minutes
 * to compile its shaders for more.) */
static void compute(struct raw_client *c)
{
    enum { SIDE = 256 };
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[3];
    } graph = {.g = {.n_nodes = 1, .n_tensors = 3}};
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_graph define = {.graph = 1, .data_off = RAW_DATA, .data_len = sizeof(graph)};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};

    for (int i = 0; i < 3; i++) {
        int64_t rows = i == 1 ? SIDE : 1;
        uint64_t element = i == 1 ? 2 : 4, row = SIDE * element, all = (uint64_t)rows * row;

        graph.t[i] = (struct vgr_tensor){
            .op = i ? GGML_OP_NONE : GGML_OP_MUL_MAT,
            .type = i == 1 ? GGML_TYPE_F16 : GGML_TYPE_F32,
            .buffer = 1,
            .offset = (uint64_t)i * MIB,
            .ne = {SIDE, rows, 1, 1},
            .nb = {element, row, all, all},
            .src = {i ? 0 : 2, i ? 0 : 3},
        };
    }
    memcpy(c->arena + RAW_DATA, &graph, sizeof(graph));
    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    raw_push(c, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
    assert_true(raw_done(c, raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run))));
}

/* A context that has nothing but the secret: the heap of its arena, a large buffer, many small ones,
 * scratch memory. Handles 1 to 1 + SMALL. */
static void plant(struct raw_client *c)
{
    raw_open(c);
    for (uint32_t at = RAW_DATA; at < RAW_ARENA; at += sizeof(secret))
        memcpy(c->arena + at, secret, sizeof(secret));
    raw_buffer(c, 1, LARGE);
    fill(c, 1, LARGE);
    for (uint32_t i = 0; i < SMALL; i++) {
        raw_buffer(c, 2 + i, small_size(i));
        fill(c, 2 + i, small_size(i));
    }
    compute(c);
}

static void release(struct raw_client *c)
{
    for (uint32_t b = 1; b <= 1 + SMALL; b++) {
        struct vgr_cmd_handle h = {.handle = b};

        assert_true(raw_done(c, raw_push(c, &h, VGR_CMD_BUFFER_FREE, sizeof(h))));
    }
}

/* ---- Looking ---- */

static uint64_t looked_at;

static void assert_zero(struct raw_client *c, uint32_t b, uint64_t size)
{
    static const uint8_t zero[MIB];

    for (uint64_t at = 0; at < size; at += MIB) {
        struct vgr_cmd_data get = {.buffer = b, .offset = at, .data_off = CHUNK};

        get.len = (uint32_t)(size - at < MIB ? size - at : MIB);
        memset(c->arena + CHUNK, 0xa5, MIB);
        assert_true(raw_done(c, raw_push(c, &get, VGR_CMD_GET, sizeof(get))));
        if (memcmp(c->arena + CHUNK, zero, get.len))
            fail_msg("buffer %u of %llu bytes is not zero", b, (unsigned long long)size);
        looked_at += get.len;
    }
}

/* New buffers of the sizes that were planted, none of which is written to; handles from 101. */
static void look(struct raw_client *c)
{
    raw_buffer(c, 101, LARGE);
    assert_zero(c, 101, LARGE);
    for (uint32_t i = 0; i < SMALL; i++) {
        raw_buffer(c, 102 + i, small_size(i));
        assert_zero(c, 102 + i, small_size(i));
    }
}

static void look_anew(void)
{
    struct raw_client c;

    raw_open(&c);
    look(&c);
    raw_close(&c);
}

/* ---- Cases ---- */

static void test_after_a_context_that_ended(void **state)
{
    struct raw_holdings before = raw_device_holdings();
    struct raw_client c;

    (void)state;
    plant(&c);
    raw_close(&c);
    raw_device_settles(before);
    look_anew();
}

static void test_after_a_worker_that_was_killed(void **state)
{
    struct raw_client c;

    (void)state;
    plant(&c);
    assert_int_equal(kill(raw_device_newest_worker(), SIGKILL), 0);
    raw_assert_fails(&c, VGR_ERROR_WORKER_DIED, "signal 9");
    look_anew();
    raw_close(&c);
}

static void test_after_a_context_that_failed(void **state)
{
    struct vgr_cmd bad;
    struct raw_client c;

    (void)state;
    plant(&c);
    raw_push(&c, &bad, 999, sizeof(bad));
    raw_assert_fails(&c, VGR_ERROR_COMMAND, "999");
    look_anew();
    raw_close(&c);
}

static void test_beside_a_living_context(void **state)
{
    struct raw_client c;

    (void)state;
    plant(&c);
    look_anew();
    raw_close(&c);
}

/* The allocator of the very process has the old bytes at hand: here the worker's clearing counts, and
 * nobody else's. */
static void test_freed_and_allocated_again(void **state)
{
    struct raw_client c;

    (void)state;
    plant(&c);
    release(&c);
    look(&c);
    raw_close(&c);
}

/* The same clearing at a guest's wish: to the byte, and no further. */
static void test_memset_of_any_range(void **state)
{
    static const struct {
        uint32_t offset, len;
    } ranges[] = {{0, 1021}, {0, 1}, {0, 1020}, {1, 2},     {1, 3},    {2, 1},
                  {3, 8},    {4, 9}, {7, 64},   {511, 510}, {0, 1018}, {1020, 1}};
    static const uint8_t values[] = {0, 0x5a, 0xff};
    uint8_t want[1021];
    struct raw_client c;

    (void)state;
    raw_open(&c);
    raw_buffer(&c, 1, sizeof(want));
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        for (size_t v = 0; v < sizeof(values); v++) {
            struct vgr_cmd_data set = {.buffer = 1, .len = sizeof(want), .data_off = CHUNK};
            struct vgr_cmd_data get = {.buffer = 1, .len = sizeof(want), .data_off = CHUNK + 4096};
            struct vgr_cmd_memset fill = {
                .buffer = 1, .value = values[v], .offset = ranges[i].offset, .len = ranges[i].len};

            for (size_t k = 0; k < sizeof(want); k++)
                want[k] = c.arena[CHUNK + k] = (uint8_t)(17 * k + 3);
            memset(want + ranges[i].offset, values[v], ranges[i].len);
            raw_push(&c, &set, VGR_CMD_SET, sizeof(set));
            raw_push(&c, &fill, VGR_CMD_MEMSET, sizeof(fill));
            assert_true(raw_done(&c, raw_push(&c, &get, VGR_CMD_GET, sizeof(get))));
            assert_memory_equal(c.arena + CHUNK + 4096, want, sizeof(want));
        }
    }
    raw_close(&c);
}

/* A quantized tensor's allocation is longer than its data. */
static void test_padding(void **state)
{
    struct vgr_cmd_init_tensor init = {.tensor = {
                                           .op = GGML_OP_NONE,
                                           .type = GGML_TYPE_Q4_0,
                                           .buffer = 101,
                                           .ne = {32, 3, 1, 1},
                                           .nb = {18, 18, 54, 54},
                                       }};
    struct raw_client c;

    (void)state;
    plant(&c);
    release(&c);
    raw_buffer(&c, 101, 4096);
    assert_true(raw_done(&c, raw_push(&c, &init, VGR_CMD_INIT_TENSOR, sizeof(init))));
    assert_zero(&c, 101, 4096);
    raw_close(&c);
}

/* What the worker writes into an arena of zeros: its words, its reply, its text, and zeros. */
static void test_what_the_worker_writes(void **state)
{
    struct vgr_cmd bad;
    struct vgr_reply *reply;
    struct raw_client c;
    size_t end;

    (void)state;
    raw_open(&c);
    reply = (struct vgr_reply *)(c.arena + c.ctl->hello.reply_off);
    end = c.ctl->hello.reply_off + reply->dict_off + reply->dict_len;
    for (uint32_t i = 0; i < VGR_MAX_DEVICES; i++) {
        static const struct vgr_device_info none;
        const struct vgr_device_info *d = &reply->devices[i];

        if (i >= reply->n_devices)
            assert_memory_equal(d, &none, sizeof(none));
        for (size_t k = strlen(d->name); k < sizeof(d->name); k++)
            assert_int_equal(d->name[k], 0);
        for (size_t k = strlen(d->description); k < sizeof(d->description); k++)
            assert_int_equal(d->description[k], 0);
    }
    for (size_t at = end; at < RAW_ARENA; at++)
        assert_int_equal(c.arena[at], 0);

    raw_push(&c, &bad, 999, sizeof(bad));
    raw_assert_fails(&c, VGR_ERROR_COMMAND, "999");
    for (size_t i = strlen(c.ctl->error_text); i < sizeof(c.ctl->error_text); i++)
        assert_int_equal(c.ctl->error_text[i], 0);
    for (size_t at = sizeof(*c.ctl); at < VGR_CONTROL_SIZE; at++)
        assert_int_equal(c.arena[at], 0);
    raw_close(&c);
}

static int setup_device(void **state)
{
    (void)state;
    assert_int_equal(getrandom(secret, sizeof(secret), 0), sizeof(secret));
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] |= 1; /* no byte of it is zero */
    raw_device_start();
    return 0;
}

static int teardown_device(void **state)
{
    (void)state;
    raw_device_stop();
    printf("%llu bytes of fresh memory, all zero\n", (unsigned long long)looked_at);
    return looked_at ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_after_a_context_that_ended),
        cmocka_unit_test(test_after_a_worker_that_was_killed),
        cmocka_unit_test(test_after_a_context_that_failed),
        cmocka_unit_test(test_beside_a_living_context),
        cmocka_unit_test(test_freed_and_allocated_again),
        cmocka_unit_test(test_memset_of_any_range),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_what_the_worker_writes),
    };

    return cmocka_run_group_tests(tests, setup_device, teardown_device);
}
