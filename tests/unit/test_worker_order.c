/* SPDX-License-Identifier: MIT
 *
 * The order in which a device would like to run a graph. The host's device is GGML's CPU backend, which
 * has no wishes, so one that has some stands in for the call that asks: also with wishes that no guest
 * could make sense of, such as tensors of no graph (CUDA's does that).
 */
#include "test_worker.h"

#include <ggml.h>

#include "protocol/ggml_abi.h"

#define NODES   4u
#define LEAFS   2u
#define PAYLOAD (DATA + 8192)
#define REPLY   DATA

struct graph {
    struct vgr_graph g;
    struct vgr_tensor t[NODES + LEAFS];
};

/* Four squares, two of each leaf: each order of them is right. */
static struct graph squares(void)
{
    struct graph d = {.g = {.n_nodes = NODES, .n_tensors = NODES + LEAFS}};

    for (uint32_t i = 0; i < NODES + LEAFS; i++) {
        d.t[i] = (struct vgr_tensor){
            .op = i < NODES ? GGML_OP_SQR : GGML_OP_NONE,
            .type = GGML_TYPE_F32,
            .flags = i < NODES ? GGML_TENSOR_FLAG_COMPUTE : 0,
            .ne = {16, 1, 1, 1},
            .nb = {4, 64, 64, 64},
            .src = {i < NODES ? 1 + NODES + i % LEAFS : 0},
        };
    }
    return d;
}

/* ---- The device's wishes ---- */

static struct {
    bool backwards;
    unsigned deps; /* that make sense */
    bool nonsense; /* and some that make none, before them */
} wish;

static void optimize(ggml_backend_t backend, struct ggml_cgraph *graph,
                     struct ggml_backend_graph_optimize_params *params)
{
    static struct ggml_tensor stranger;
    struct ggml_tensor **node = ggml_graph_nodes(graph);
    int n = ggml_graph_n_nodes(graph);

    (void)backend;
    if (wish.nonsense) {
        params->add_alloc_dep(params->user_data, &stranger, node[0]);
        params->add_alloc_dep(params->user_data, node[0], &stranger);
        params->add_alloc_dep(params->user_data, node[0], node[0]->src[0]); /* no node */
        params->add_alloc_dep(params->user_data, NULL, NULL);
    }
    for (unsigned i = 0; i < wish.deps; i++)
        params->add_alloc_dep(params->user_data, node[0]->src[0], node[i % (unsigned)n]);
    for (int i = 0; wish.backwards && i < n / 2; i++) {
        struct ggml_tensor *t = node[i];

        node[i] = node[n - 1 - i];
        node[n - 1 - i] = t;
    }
}

static int setup_wishes(void **state)
{
    static struct ggml_backend orderer = {.iface = {.graph_optimize = optimize}};
    int err = setup_ready(state);
    struct rig *r = *state;

    memset(&wish, 0, sizeof(wish));
    r->c->backends.device[0].orderer = &orderer;
    r->c->backends.device[0].order_asked = true;
    return err;
}

static int ask(struct rig *r, const struct graph *d, uint32_t max_deps)
{
    struct vgr_cmd_query_order m = {
        .data_off = PAYLOAD, .data_len = sizeof(*d), .reply_off = REPLY, .max_deps = max_deps};

    memcpy(r->c->arena.base + PAYLOAD, d, sizeof(*d));
    memset(r->c->arena.base + REPLY, 0xa5, 4096);
    return RUN(r, m, VGR_CMD_QUERY_ORDER);
}

static const struct vgr_order_reply *reply(const struct rig *r)
{
    return (const struct vgr_order_reply *)(r->c->arena.base + REPLY);
}

static const struct vgr_order_dep *deps(const struct rig *r)
{
    return (const struct vgr_order_dep *)(reply(r)->node + NODES);
}

/* ---- Tests ---- */

static void test_a_device_without_wishes(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    assert_int_equal(ask(r, &d, 4), 0);
    assert_int_equal(reply(r)->answer, VGR_ORDER_NEVER);
    assert_int_equal(reply(r)->n_deps, 0);
}

static void test_the_same_order(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    assert_int_equal(ask(r, &d, 4), 0);
    assert_int_equal(reply(r)->answer, VGR_ORDER_SAME);
    assert_int_equal(reply(r)->n_deps, 0);
}

static void test_another_order(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    wish.backwards = true;
    assert_int_equal(ask(r, &d, 0), 0);
    assert_int_equal(reply(r)->answer, VGR_ORDER_CHANGED);
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(reply(r)->node[i], NODES - 1 - i);
}

static void test_memory_that_is_to_be_kept(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    wish.deps = 3;
    assert_int_equal(ask(r, &d, 8), 0);
    assert_int_equal(reply(r)->n_deps, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(deps(r)[i].tensor, NODES);
        assert_int_equal(deps(r)[i].until, i);
    }
}

static void test_more_wishes_than_were_asked_for(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();
    const uint8_t *behind = (const uint8_t *)(deps(r) + 5);

    wish.deps = 1000;
    assert_int_equal(ask(r, &d, 5), 0);
    assert_int_equal(reply(r)->n_deps, 5);
    for (int i = 0; i < 64; i++)
        assert_int_equal(behind[i], 0xa5);
    wish.deps = 1;
    assert_int_equal(ask(r, &d, 0), 0);
    assert_int_equal(reply(r)->n_deps, 0);
}

static void test_wishes_without_sense(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    wish.nonsense = true;
    wish.deps = 1;
    assert_int_equal(ask(r, &d, 8), 0);
    assert_int_equal(reply(r)->n_deps, 1);
    assert_int_equal(deps(r)[0].tensor, NODES);
}

/* What could not run gets no order: that it cannot is told when it is to run. */
static void test_graphs_that_cannot_run(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    wish.backwards = true;
    d.t[1].type = GGML_TYPE_F16;
    assert_int_equal(ask(r, &d, 8), 0);
    assert_int_equal(reply(r)->answer, VGR_ORDER_SAME);
    d = squares();
    d.t[2].op = 250;
    assert_int_equal(ask(r, &d, 8), 0);
    assert_int_equal(reply(r)->answer, VGR_ORDER_SAME);
    d = squares();
    d.t[3].op = GGML_OP_NONE;
    d.t[3].src[0] = 0;
    assert_int_equal(ask(r, &d, 8), 0);
    assert_int_equal(reply(r)->answer, VGR_ORDER_SAME);
}

static void test_no_such_device(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    d.g.device = 7;
    assert_failed(r, ask(r, &d, 8), VGR_ERROR_HANDLE);
}

static void test_no_graph(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    d.g.n_tensors = 99;
    assert_failed(r, ask(r, &d, 8), VGR_ERROR_GRAPH);
}

static void test_no_room_for_the_answer(void **state)
{
    struct rig *r = *state;
    struct graph d = squares();

    assert_failed(r, ask(r, &d, UINT32_MAX), VGR_ERROR_RANGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_wishes, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_device_without_wishes, setup_ready, teardown),
        TEST(test_the_same_order),
        TEST(test_another_order),
        TEST(test_memory_that_is_to_be_kept),
        TEST(test_more_wishes_than_were_asked_for),
        TEST(test_wishes_without_sense),
        TEST(test_graphs_that_cannot_run),
        TEST(test_no_such_device),
        TEST(test_no_graph),
        TEST(test_no_room_for_the_answer),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
