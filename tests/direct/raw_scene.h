/* SPDX-License-Identifier: MIT
 *
 * raw_scene.h - a good client, which computes after each test, and a bad one, which is the test's; a
 * device that holds in the end what it held in the beginning; and a graph to spoil.
 */
#ifndef VGR_TEST_RAW_SCENE_H
#define VGR_TEST_RAW_SCENE_H

#include <ggml.h>
#include <string.h>

#include "raw_client.h"
#include "vgr_test.h"

struct scene {
    struct raw_client good, bad;
    struct raw_holdings before;
};

static inline int setup_device(void **state)
{
    (void)state;
    raw_device_start();
    return 0;
}

static inline int teardown_device(void **state)
{
    (void)state;
    raw_device_stop();
    return 0;
}

static inline int setup(void **state)
{
    static struct scene scene;

    memset(&scene, 0, sizeof(scene));
    scene.before = raw_device_holdings();
    raw_open(&scene.good);
    raw_connect(&scene.bad);
    *state = &scene;
    return 0;
}

static inline int teardown(void **state)
{
    struct scene *s = *state;
    struct raw_client other;

    raw_assert_computes(&s->good);
    raw_open(&other);
    raw_assert_computes(&other);
    raw_close(&other);
    raw_close(&s->bad);
    raw_close(&s->good);
    raw_device_settles(s->before);
    return 0;
}

static inline struct raw_client *bad_client(void **state)
{
    return &((struct scene *)*state)->bad;
}

static inline struct raw_client *bad_context(void **state)
{
    struct raw_client *c = bad_client(state);

    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    assert_int_equal(raw_settled(c), VGR_STATE_READY);
    return c;
}

struct square {
    struct vgr_graph g;
    struct vgr_tensor t[2];
};

/* t[0] = sqr(t[1]), both of 16 floats in buffer 1 of 4096 bytes. */
static inline struct square square(void)
{
    struct square s = {.g = {.n_nodes = 1, .n_tensors = 2}};

    for (int i = 0; i < 2; i++) {
        s.t[i] = (struct vgr_tensor){
            .op = i ? GGML_OP_NONE : GGML_OP_SQR,
            .type = GGML_TYPE_F32,
            .buffer = 1,
            .offset = (uint64_t)i * 1024,
            .ne = {16, 1, 1, 1},
            .nb = {4, 64, 64, 64},
            .src = {i ? 0 : 2},
        };
    }
    return s;
}

static inline void define(struct raw_client *c, const struct square *s, size_t len)
{
    struct vgr_cmd_graph define = {
        .graph = 1, .data_off = RAW_DATA + 4096, .data_len = (uint32_t)len};

    raw_buffer(c, 1, 4096);
    memcpy(c->arena + RAW_DATA + 4096, s, sizeof(*s));
    raw_push(c, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
