/* SPDX-License-Identifier: MIT
 *
 * What lives as long as what: graphs end with the buffers that they lie in. And what lies where: all that
 * a device writes for a tensor, its data or not, must lie in the tensor's buffer.
 */
#include "test_worker_add.h"

#include "protocol/ggml_abi.h"

/* ---- Graphs end with their buffers ---- */

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

/* ---- What a device takes besides the data ---- */

#define BESIDES 96u

static struct ggml_backend_buffer_type roomy;
static uint32_t prepared; /* tensors */

/* As with CUDA's FLASH_ATTN_EXT, something as long as a source lies behind the result. */
static size_t roomy_alloc_size(ggml_backend_buffer_type_t buft, const struct ggml_tensor *t)
{
    (void)buft;
    return ggml_nbytes(t) + (t->op == GGML_OP_MUL_MAT ? ggml_nbytes(t->src[1]) : 0) +
           (t->type == GGML_TYPE_Q8_0 ? BESIDES : 0);
}

static enum ggml_status count_prepared(ggml_backend_buffer_t buffer, struct ggml_tensor *t)
{
    (void)buffer;
    (void)t;
    prepared++;
    return GGML_STATUS_SUCCESS;
}

static void length(struct vgr_tensor *t, uint32_t n)
{
    t->ne[0] = n;
    t->nb[1] = t->nb[2] = t->nb[3] = 4 * n;
}

/* The graph of make_add(), but of a scalar product. */
static void ready_on_a_roomy_device(struct rig *r, struct add_graph *d)
{
    ready_to_add(r);
    roomy = *r->c->backends.device[0].buft;
    roomy.iface.get_alloc_size = roomy_alloc_size;
    r->c->backends.device[0].buft = &roomy;
    r->c->buffers[1].buffer->iface.init_tensor = count_prepared;
    prepared = 0;
    make_add(d);
    d->t[0].op = GGML_OP_MUL_MAT;
    length(&d->t[0], 1);
}

static void test_what_an_op_takes_must_lie_in_its_buffer(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_on_a_roomy_device(r, &d);
    d.t[0].offset = 4096 - 4 - 4 * N; /* the result, and as much as the source */
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(prepared, 3);
    d.t[0].offset += 4;
    assert_failed(r, define(r, &d, sizeof(d)), VGR_ERROR_GRAPH);
}

/* The result is also a view of a leaf, as results in place are. */
static void test_what_an_op_takes_must_lie_in_its_buffer_in_place(void **state)
{
    struct rig *r = *state;
    struct add_graph d;

    ready_on_a_roomy_device(r, &d);
    d.t[0].view_src = 2;
    d.t[0].view_offs = 4 * N - 4;
    d.t[1].offset = 4096 - 8 * N;
    d.t[0].offset = d.t[1].offset + d.t[0].view_offs;
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    d.t[1].offset += 4;
    d.t[0].offset += 4;
    assert_failed(r, define(r, &d, sizeof(d)), VGR_ERROR_GRAPH);
}

static void test_a_patch_of_a_source_asks_for_room_again(void **state)
{
    struct rig *r = *state;
    struct vgr_graph_patch p[2] = {{.index = 1}, {.index = 2}};
    struct vgr_cmd_graph m = {.graph = 1, .data_len = sizeof(p), .data_off = DATA + 8192};
    struct add_graph d;

    ready_on_a_roomy_device(r, &d);
    d.t[0].offset = 4096 - 4 - 32;
    length(&d.t[1], 8);
    length(&d.t[2], 8);
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    length(&d.t[1], 9);
    length(&d.t[2], 9);
    p[0].tensor = d.t[1];
    p[1].tensor = d.t[2];
    memcpy(r->c->arena.base + DATA + 8192, p, sizeof(p));
    assert_failed(r, RUN(r, m, VGR_CMD_GRAPH_PATCH), VGR_ERROR_GRAPH);
}

/* CUDA's ends the process for shapes that it would not compute. */
static void test_a_device_is_not_asked_how_much_a_refused_op_takes(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_query_op q = {
        .data_len = 3 * sizeof(struct vgr_tensor), .data_off = DATA, .reply_off = DATA + 8192};
    struct vgr_query_reply reply;
    struct add_graph d;

    ready_on_a_roomy_device(r, &d);
    d.t[0].type = GGML_TYPE_Q8_0;
    d.t[0].ne[0] = 32;
    d.t[0].nb[0] = d.t[0].nb[1] = d.t[0].nb[2] = d.t[0].nb[3] = 34;
    memcpy(r->c->arena.base + DATA, d.t, q.data_len);
    assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
    memcpy(&reply, r->c->arena.base + DATA + 8192, sizeof(reply));
    assert_int_equal(reply.supported, 0);
    assert_int_equal(reply.alloc_size, 34);

    /* Nor how much a view takes. */
    d.t[0].op = GGML_OP_VIEW;
    d.t[0].src[1] = 0;
    d.t[0].view_src = 2;
    d.t[1].type = GGML_TYPE_Q8_0;
    memcpy(d.t[1].ne, d.t[0].ne, sizeof(d.t[0].ne));
    memcpy(d.t[1].nb, d.t[0].nb, sizeof(d.t[0].nb));
    q.data_len = 2 * sizeof(struct vgr_tensor);
    memcpy(r->c->arena.base + DATA, d.t, q.data_len);
    assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
    memcpy(&reply, r->c->arena.base + DATA + 8192, sizeof(reply));
    assert_int_equal(reply.supported, 1);
    assert_int_equal(reply.alloc_size, 34);
}

/* Views of the last bytes of a buffer are in order: they are padded as little as their source. */
static void test_padding_must_lie_in_the_buffer(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_init_tensor m = {
        .tensor = {
            .type = GGML_TYPE_Q8_0, .buffer = 1, .ne = {32, 1, 1, 1}, .nb = {34, 34, 34, 34}}};
    struct {
        struct add_graph add;
        struct vgr_tensor root, view;
    } d = {0};

    ready_on_a_roomy_device(r, &d.add);
    d.add.g.n_tensors = 5;
    d.add.t[0].offset = 1024;
    d.root = d.view = m.tensor;
    d.root.ne[1] = 2;
    d.root.nb[2] = d.root.nb[3] = 68;
    d.root.offset = 4096 - BESIDES - 68;
    d.view.view_src = 4;
    d.view.view_offs = 34;
    d.view.offset = d.root.offset + 34;
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    d.view.ne[1] = 3;
    d.view.nb[1] = 46;
    d.view.offset = 4096 - 2 * 46 - 34;
    assert_int_equal(define(r, &d, sizeof(d)), 0);
    assert_int_equal(prepared, 2 * 4);

    m.tensor.offset = 4096 - 34 - BESIDES;
    assert_int_equal(RUN(r, m, VGR_CMD_INIT_TENSOR), 0);
    assert_int_equal(prepared, 2 * 4 + 1);
    d.root.offset += 2;
    assert_failed(r, define(r, &d, sizeof(d)), VGR_ERROR_GRAPH);
}

static void test_init_of_a_tensor_without_room_for_its_padding(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_init_tensor m = {.tensor = {.type = GGML_TYPE_Q8_0,
                                               .buffer = 1,
                                               .offset = 4096 - 34 - BESIDES + 2,
                                               .ne = {32, 1, 1, 1},
                                               .nb = {34, 34, 34, 34}}};
    struct add_graph d;

    ready_on_a_roomy_device(r, &d);
    assert_failed(r, RUN(r, m, VGR_CMD_INIT_TENSOR), VGR_ERROR_RANGE);
    assert_int_equal(prepared, 0);
}

/* How much an op takes depends on its sources: who asks about one that lacks them gets an answer. */
static void test_the_size_of_an_op_that_breaks_its_rule(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_query_op q = {
        .data_off = DATA, .reply_off = DATA + 8192, .data_len = sizeof(struct vgr_tensor)};
    struct vgr_query_reply reply;
    struct add_graph d;

    ready_on_a_roomy_device(r, &d);
    d.t[0].src[0] = d.t[0].src[1] = 0;
    memcpy(r->c->arena.base + DATA, d.t, sizeof(d.t[0]));
    assert_int_equal(RUN(r, q, VGR_CMD_QUERY_OP), 0);
    memcpy(&reply, r->c->arena.base + DATA + 8192, sizeof(reply));
    assert_int_equal(reply.supported, 0);
    assert_int_equal(reply.alloc_size, 4);
}

#define R(f) cmocka_unit_test_setup_teardown(f, setup_ready, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        R(test_a_graph_on_a_freed_buffer_does_not_run),
        R(test_a_patch_does_not_revive_a_graph_on_a_new_buffer),
        R(test_a_graph_on_a_freed_buffer_is_not_patched),
        R(test_a_graph_ends_with_any_of_its_buffers),
        R(test_a_graph_outlives_a_buffer_that_it_was_patched_out_of),
        R(test_patches_do_not_use_up_the_buffers_of_a_graph),
        R(test_a_patch_that_fails_ends_its_graph),
        R(test_what_an_op_takes_must_lie_in_its_buffer),
        R(test_what_an_op_takes_must_lie_in_its_buffer_in_place),
        R(test_a_patch_of_a_source_asks_for_room_again),
        R(test_a_device_is_not_asked_how_much_a_refused_op_takes),
        R(test_padding_must_lie_in_the_buffer),
        R(test_init_of_a_tensor_without_room_for_its_padding),
        R(test_the_size_of_an_op_that_breaks_its_rule),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
