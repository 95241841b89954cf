/* SPDX-License-Identifier: MIT
 *
 * The encoder and its decisions, on graphs that GGML's own builders make, in buffers that look like
 * ours. There is no host: what matters is what would be sent to one.
 */
#include <errno.h>
#include <string.h>

#include "guest/cgraph.h"
#include "guest/device.h"
#include "guest/dict.h"
#include "guest/graph.h"
#include "guest/tensor.h"
#include "protocol/codec.h"
#include "vgr_test.h"

#define MAX_TENSORS 4096u
#define SLOTS       4u
#define KEPT        8192u
#define HANDLES     64u
#define BASE        0x10000u

static struct vgr_graphs graphs;
static uint32_t epochs[HANDLES + 1];
static struct ggml_context *ctx;
static struct vgr_buffer buffer = {.handle = 1, .base = BASE, .size = 1u << 30};
static struct ggml_backend_buffer_i no_iface;
static struct ggml_backend_buffer ggml_buffer, foreign_buffer;
static uint64_t next_address;

static int setup(void **state)
{
    struct ggml_init_params params = {.mem_size = 8u << 20, .no_alloc = true};
    static struct vgr_names names;

    vgr_dict_fill(&names);
    memset(epochs, 0, sizeof(epochs));
    ctx = ggml_init(params);
    buffer.handle = 1;
    ggml_buffer.iface = no_iface;
    ggml_buffer.iface.free_buffer = vgr_buffer_free;
    ggml_buffer.context = &buffer;
    next_address = BASE;
    return vgr_graphs_init(&graphs, 0, MAX_TENSORS, SLOTS, KEPT, NULL, epochs);
}

static int teardown(void **state)
{
    vgr_graphs_free(&graphs);
    ggml_free(ctx);
    return 0;
}

/* Gives a tensor memory in the buffer; views have their source's. */
static struct ggml_tensor *place(struct ggml_tensor *t)
{
    if (t->view_src) {
        t->buffer = t->view_src->buffer;
        t->data = (char *)t->view_src->data + t->view_offs;
        return t;
    }
    t->buffer = &ggml_buffer;
    t->data = (void *)(uintptr_t)next_address;
    next_address += 4096;
    return t;
}

static struct ggml_tensor *leaf(int64_t ne0)
{
    return place(ggml_new_tensor_1d(ctx, GGML_TYPE_F32, ne0));
}

/* A small model of a decoding step: out = scale(a + view(cache)) + a. */
struct step {
    struct ggml_tensor *a, *cache, *view, *sum, *scaled, *out;
    struct ggml_cgraph *graph;
};

static struct step make_step(float factor)
{
    struct step s;

    s.a = leaf(16);
    s.cache = leaf(64);
    s.view = place(ggml_view_1d(ctx, s.cache, 16, 64));
    s.sum = place(ggml_add(ctx, s.a, s.view));
    s.scaled = place(ggml_scale(ctx, s.sum, factor));
    s.out = place(ggml_add(ctx, s.scaled, s.a));
    s.graph = ggml_new_graph_custom(ctx, 32, false);
    ggml_build_forward_expand(s.graph, s.out);
    return s;
}

/* What would be sent for this graph, as stream.c does it. */
static enum vgr_graph_action compute_one(struct ggml_cgraph *g)
{
    const struct ggml_tensor *culprit;
    struct vgr_graph_slot *slot, *surplus;
    enum vgr_graph_action action;

    if (vgr_graphs_same(&graphs, g, vgr_cgraph_trusted()))
        return VGR_GRAPH_RUN;
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, vgr_cgraph_trusted(), &culprit), 0);
    action = vgr_graphs_choose(&graphs, &slot);
    assert_non_null(slot);
    if (action == VGR_GRAPH_DEFINE) {
        while ((surplus = vgr_graphs_surplus(&graphs, slot))) {
            assert_ptr_not_equal(surplus, slot);
            vgr_graphs_forget(&graphs, surplus);
        }
    }
    vgr_graphs_commit(&graphs, slot);
    return action;
}

static const struct vgr_tensor *records(void)
{
    return vgr_graph_records(&graphs.slot[graphs.last].body);
}

static void this_ggml_is_laid_out_as_stated(void **state)
{
    assert_true(vgr_cgraph_trusted());
}

static void an_encoded_graph_passes_the_codec(void **state)
{
    struct step s = make_step(2.0f);
    const struct vgr_graph *graph;
    const struct vgr_tensor *t;
    const char *why;

    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    assert_int_equal(vgr_codec_graph(graphs.slot[graphs.last].body.payload,
                                     vgr_graph_len(&graphs.slot[graphs.last].body), MAX_TENSORS,
                                     &graph, &t, &why),
                     0);
    assert_int_equal(graph->n_nodes, 4);
    assert_int_equal(graph->n_tensors, 6);
    /* nodes: view, sum, scaled, out; leafs: cache, a */
    assert_int_equal(t[0].op, GGML_OP_VIEW);
    assert_int_equal(t[0].view_src, 5);
    assert_int_equal(t[0].view_offs, 64);
    assert_int_equal(t[0].offset, t[4].offset + 64);
    assert_int_equal(t[1].src[0], 6);
    assert_int_equal(t[1].src[1], 1);
    assert_int_equal(t[5].op, GGML_OP_NONE);
    assert_int_equal(t[5].buffer, 1);
}

static void the_same_graph_is_only_run(void **state)
{
    struct step s = make_step(2.0f);

    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    assert_non_null(vgr_graphs_same(&graphs, s.graph, vgr_cgraph_trusted()));
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_RUN);
}

/* Programs build their graphs anew for each token: other tensors, the same content. */
static void a_rebuilt_graph_is_only_run(void **state)
{
    struct step s = make_step(2.0f), t;

    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    next_address = BASE;
    t = make_step(2.0f);
    assert_int_equal(compute_one(t.graph), VGR_GRAPH_RUN);
    assert_non_null(vgr_graphs_same(&graphs, t.graph, vgr_cgraph_trusted()));
}

static void a_changed_parameter_is_patched(void **state)
{
    struct step s = make_step(2.0f);
    float factor = 3.0f;

    compute_one(s.graph);
    memcpy(s.scaled->op_params, &factor, sizeof(factor));
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    assert_int_equal(graphs.n_diff, 1);
    assert_int_equal(graphs.diff[0], 2);
    assert_memory_equal(records()[2].op_params, &factor, sizeof(factor));
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_RUN);
}

static void a_moved_view_is_patched(void **state)
{
    struct step s = make_step(2.0f);

    compute_one(s.graph);
    s.view->view_offs = 128;
    place(s.view);
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    assert_int_equal(graphs.n_diff, 1);
    assert_int_equal(records()[0].view_offs, 128);
    assert_int_equal(records()[0].offset, records()[4].offset + 128);
}

/* Everything that the host uses is looked at, one by one, in the place where the program may have
 * changed it behind our back. */
static void every_change_is_seen(void **state)
{
    struct step s = make_step(2.0f);

    compute_one(s.graph);
    s.a->data = (char *)s.a->data + 4096 * 100;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.sum->ne[0] = 8;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.sum->nb[1] = 4096;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.out->flags |= GGML_TENSOR_FLAG_OUTPUT;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.a->flags |= GGML_TENSOR_FLAG_INPUT;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.scaled->op_params[15] = 1;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.cache->nb[3] = 1 << 20;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_RUN);

    /* Changes of structure cannot be patched. */
    s.out->src[1] = s.sum;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    s.out->op = GGML_OP_SUB;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    s.a->type = GGML_TYPE_I32;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
}

static void two_graphs_in_turn_are_only_run(void **state)
{
    struct step s = make_step(2.0f);
    struct ggml_tensor *x = leaf(8), *y = place(ggml_sqr(ctx, x));
    struct ggml_cgraph *other = ggml_new_graph_custom(ctx, 8, false);

    ggml_build_forward_expand(other, y);
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    assert_int_equal(compute_one(other), VGR_GRAPH_DEFINE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(compute_one(s.graph), VGR_GRAPH_RUN);
        assert_int_equal(compute_one(other), VGR_GRAPH_RUN);
    }
}

/* A layer of a model: it computes where the others do, and has a cache of its own. */
static struct step make_layer(int i)
{
    struct step s;

    next_address = BASE;
    s = make_step(2.0f);
    s.cache->data = (void *)(uintptr_t)(BASE + 4096u * (1000u + (unsigned)i));
    place(s.view);
    return s;
}

/* Computes the graphs in turn. Returns how many were sent, whole or in part. */
static int round_of(const struct step *steps, int n, enum vgr_graph_action sent_as)
{
    int sent = 0;

    for (int i = 0; i < n; i++) {
        enum vgr_graph_action action = compute_one(steps[i].graph);

        if (action == VGR_GRAPH_RUN)
            continue;
        assert_int_equal(action, sent_as);
        sent++;
    }
    return sent;
}

/* The layers of a model whose K/V cache is elsewhere (-nkvo): each is another graph, and they differ in
 * addresses only. Each is sent once, and then found at the first look. */
static void the_layers_of_a_model_are_only_run(void **state)
{
    struct step layer[17];
    uint64_t looks;

    graphs.max_slots = 512;
    for (int i = 0; i < 17; i++)
        layer[i] = make_layer(i);
    /* Each could be patched into the next. */
    assert_int_equal(round_of(layer, 17, VGR_GRAPH_DEFINE), 17);
    assert_int_equal(round_of(layer, 17, VGR_GRAPH_RUN), 0);
    looks = graphs.looks;
    for (int i = 0; i < 10; i++)
        assert_int_equal(round_of(layer, 17, VGR_GRAPH_RUN), 0);
    assert_int_equal(graphs.looks - looks, 170);

    /* The cache has grown: each is patched in its own place, once. */
    for (int i = 0; i < 17; i++) {
        layer[i].view->ne[0] = 8;
        layer[i].sum->ne[0] = 8;
    }
    assert_int_equal(round_of(layer, 17, VGR_GRAPH_PATCH), 17);
    assert_int_equal(round_of(layer, 17, VGR_GRAPH_RUN), 0);
    assert_int_equal(graphs.n_slots, 17);
}

/* More than the first window sees: some take the place of others, and get their own when they come
 * back. */
static void many_layers_are_only_run_in_the_end(void **state)
{
    static struct step layer[300];
    int sent = 0;

    graphs.max_slots = 512;
    for (int i = 0; i < 300; i++)
        layer[i] = make_layer(i);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++)
            sent += compute_one(layer[i].graph) != VGR_GRAPH_RUN;
    }
    assert_true(sent >= 300 && sent <= 600);
    for (int round = 0; round < 3; round++)
        assert_int_equal(round_of(layer, 300, VGR_GRAPH_RUN), 0);
}

/* As with a draft and its verification in one context, or with several copies of the inputs. */
static void graphs_in_the_same_memory_are_only_run_in_the_end(void **state)
{
    struct step s = make_step(2.0f);
    int sent = 0;

    graphs.max_slots = 16;
    for (int i = 0; i < 40; i++) {
        s.scaled->op_params[1] = i % 4;
        sent += compute_one(s.graph) != VGR_GRAPH_RUN;
    }
    assert_true(sent >= 4 && sent <= 8);
    assert_true(graphs.n_slots >= 4 && graphs.n_slots <= 8);
}

/* A program that builds every graph in other memory, and never the same twice, does not fill all slots. */
static void passing_graphs_take_few_slots(void **state)
{
    int defined = 0;

    graphs.max_slots = 512;
    for (int i = 0; i < 600; i++)
        defined += compute_one(make_layer(i).graph) == VGR_GRAPH_DEFINE;
    assert_int_equal(defined, graphs.n_slots);
    assert_true(graphs.n_slots >= 1 && graphs.n_slots <= 300);
}

static void slots_hold_no_more_than_they_may(void **state)
{
    struct step s[8];

    graphs.max_slots = 512;
    graphs.max_kept = 3 * 6 + 1;
    for (int i = 0; i < 8; i++) {
        s[i] = make_layer(i);
        compute_one(s[i].graph);
        assert_true(graphs.kept >= 6 && graphs.kept <= graphs.max_kept);
    }
    assert_int_equal(graphs.n_slots, 3);
    /* Those used last are there. */
    assert_int_equal(round_of(s + 5, 3, VGR_GRAPH_RUN), 0);
    /* One that has more than that may be there alone. */
    graphs.max_kept = 2;
    s[1].out->op = GGML_OP_SUB;
    assert_int_equal(compute_one(s[1].graph), VGR_GRAPH_DEFINE);
    assert_int_equal(graphs.kept, 6);
    assert_int_equal(compute_one(s[1].graph), VGR_GRAPH_RUN);
}

/* The memory of a large graph is not handed on to small ones. */
static void small_graphs_take_little_memory(void **state)
{
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 2048, false);
    struct ggml_tensor *x = leaf(8);

    for (int i = 0; i < 1000; i++)
        x = place(ggml_sqr(ctx, x));
    ggml_build_forward_expand(g, x);
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    for (int i = 0; i < 8; i++) {
        compute_one(make_step(2.0f).graph);
        assert_true(graphs.slot[graphs.last].body.cap >= 6 &&
                    graphs.slot[graphs.last].body.cap <= 64);
    }
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(compute_one(g), VGR_GRAPH_RUN);
}

static void a_graph_across_a_freed_buffer_is_defined_anew(void **state)
{
    struct step s = make_step(2.0f);

    compute_one(s.graph);
    epochs[1]++; /* freed, and the handle was taken again */
    assert_null(vgr_graphs_same(&graphs, s.graph, vgr_cgraph_trusted()));
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_RUN);
    epochs[2]++; /* not ours */
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_RUN);
}

static void another_buffer_at_the_same_address_is_seen(void **state)
{
    struct step s = make_step(2.0f);

    compute_one(s.graph);
    epochs[1]++;
    buffer.handle = 2;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    assert_int_equal(records()[5].buffer, 2);
}

static void old_graphs_make_room(void **state)
{
    struct step s = make_step(2.0f);

    compute_one(s.graph);
    for (int i = 1; i <= 4; i++) {
        struct ggml_tensor *x = leaf(8);
        struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 32, false);

        for (int k = 0; k < i; k++)
            x = place(ggml_sqr(ctx, x));
        ggml_build_forward_expand(g, x);
        assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    }
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
}

/* GGML hands out parts of a graph that share the whole's use counts. */
static void a_result_used_outside_of_the_split_escapes(void **state)
{
    struct step s = make_step(2.0f);
    struct ggml_cgraph split = *s.graph;

    compute_one(s.graph);
    for (int i = 0; i < 4; i++)
        assert_false(records()[i].flags & VGR_TENSOR_ESCAPES);
    split.n_nodes = 3; /* view, sum, scaled; out is elsewhere */
    assert_int_equal(compute_one(&split), VGR_GRAPH_DEFINE);
    assert_false(records()[0].flags & VGR_TENSOR_ESCAPES);
    assert_false(records()[1].flags & VGR_TENSOR_ESCAPES);
    assert_true(records()[2].flags & VGR_TENSOR_ESCAPES);
    assert_int_equal(compute_one(&split), VGR_GRAPH_RUN);
}

static void without_use_counts_every_node_escapes(void **state)
{
    struct step s = make_step(2.0f);
    const struct ggml_tensor *culprit;

    assert_int_equal(vgr_graphs_encode(&graphs, s.graph, true, false, &culprit), 0);
    for (int i = 0; i < 4; i++)
        assert_true(vgr_graph_records(&graphs.scratch)[i].flags & VGR_TENSOR_ESCAPES);
}

static void a_tensor_in_host_memory_is_refused(void **state)
{
    struct step s = make_step(2.0f);
    const struct ggml_tensor *culprit;

    s.a->buffer = &foreign_buffer;
    assert_int_equal(vgr_graphs_encode(&graphs, s.graph, true, true, &culprit), -EFAULT);
    assert_ptr_equal(culprit, s.a);
    s.a->buffer = NULL;
    assert_int_equal(vgr_graphs_encode(&graphs, s.graph, true, true, &culprit), -EFAULT);
}

/* The scheduler leaves such views in a split. */
static void a_view_of_host_memory_has_nothing_to_do(void **state)
{
    struct ggml_tensor *x = leaf(16), *mine = leaf(4), *view, *shape, *sum;
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);
    const struct ggml_tensor *culprit;

    x->buffer = &foreign_buffer;
    view = place(ggml_view_1d(ctx, x, 4, 16));
    shape = place(ggml_reshape_2d(ctx, view, 2, 2));
    sum = place(ggml_sqr(ctx, mine));
    ggml_build_forward_expand(g, shape);
    ggml_build_forward_expand(g, sum);
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(records()[i].ne[0], 0);
        assert_int_equal(records()[i].buffer, 0);
        assert_int_equal(records()[i].src[0], 0);
        assert_int_equal(records()[i].view_src, 0);
    }
    assert_int_equal(records()[2].src[0], 4);
    assert_int_equal(compute_one(g), VGR_GRAPH_RUN);

    /* So has one that says it were ours: GGML looks at the root. */
    view->buffer = &ggml_buffer;
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), 0);
    assert_int_equal(vgr_graph_records(&graphs.scratch)[0].buffer, 0);
    assert_int_equal(vgr_graph_records(&graphs.scratch)[0].view_src, 0);

    /* Who computes from one does so from what is not there. */
    sum->src[0] = view;
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -EFAULT);
    assert_ptr_equal(culprit, view);
    sum->src[0] = place(ggml_view_1d(ctx, x, 4, 0)); /* a leaf */
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -EFAULT);
}

static void an_empty_view_may_be_of_anything(void **state)
{
    struct ggml_tensor *x = leaf(16), *mine = leaf(4), *node, *sum;
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);

    x->buffer = &foreign_buffer;
    node = place(ggml_view_1d(ctx, x, 0, 0));
    sum = place(ggml_concat(ctx, mine, node, 0));
    ggml_build_forward_expand(g, node);
    ggml_build_forward_expand(g, sum);
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(records()[1].src[1], 1);
    assert_int_equal(records()[0].buffer, 1);         /* backends look at the buffer first */
    sum->src[1] = place(ggml_view_1d(ctx, x, 0, 32)); /* the same as a leaf */
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(records()[1].src[1], 4);
    assert_int_equal(records()[3].view_src, 0);
}

/* whisper.cpp's parakeet makes a strided view that is too long, and narrows it by another one. */
static void a_view_may_extend_past_its_buffer(void **state)
{
    struct ggml_tensor *x = leaf(64), *wide, *narrow, *y;
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);
    const struct ggml_tensor *culprit;

    buffer.size = (uint64_t)(uintptr_t)x->data - BASE + 256;
    y = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 1);
    y->buffer = &ggml_buffer;
    y->data = (void *)(uintptr_t)BASE;
    wide = place(ggml_view_2d(ctx, x, 8, 8, 4096, 0));
    narrow = place(ggml_view_2d(ctx, wide, 8, 1, 4096, 32));
    y = ggml_sum_rows(ctx, narrow);
    y->buffer = &ggml_buffer;
    y->data = (void *)(uintptr_t)BASE;
    ggml_build_forward_expand(g, y);
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(records()[0].ne[1], 8); /* the host looks at what is read */
    assert_int_equal(records()[0].view_src, 4);
    assert_int_equal(records()[1].src[0], 1);
    assert_int_equal(records()[2].src[0], 2);

    /* The same where the first view is in another split, and its source a node of this one. */
    wide->src[0] = wide->view_src = narrow->view_src = place(ggml_sqr_inplace(ctx, x));
    x = wide->view_src;
    ggml_graph_clear(g);
    ggml_build_forward_expand(g, y);
    g->nodes[1] = narrow;
    g->nodes[2] = y;
    g->n_nodes = 3;
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_ptr_equal(graphs.slot[graphs.last].body.tensor[4], wide);
    assert_int_equal(records()[4].ne[1], 0);
    assert_int_equal(records()[4].view_src, 0);

    /* But nothing may be read or written there. */
    y->src[0] = wide;
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -ERANGE);
    assert_ptr_equal(culprit, wide);
    y->src[0] = narrow;
    y->data = (void *)(uintptr_t)(BASE + buffer.size - 3);
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -ERANGE);
    assert_ptr_equal(culprit, y);
    y->data = (void *)(uintptr_t)(BASE + buffer.size + 64);
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -EFAULT);
    y->data = (void *)(uintptr_t)BASE;
    narrow->ne[1] = 8; /* rows on top of each other, for which there would be no room */
    narrow->nb[1] = 0;
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -ERANGE);
    assert_ptr_equal(culprit, narrow);
    narrow->ne[1] = 1;
    narrow->data = (char *)narrow->data + 256;
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -EFAULT);
    buffer.size = 1u << 30;
}

/* llama.cpp's tensor split: a device without a part of the heads has no elements there, and is told so by marks;
 * what it has no part of may lie in no buffer at all. */
static void what_is_not_marked_is_not_computed(void **state)
{
    struct ggml_tensor *x = leaf(16), *w = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 0, 16);
    struct ggml_tensor *none = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 0, 1);
    struct ggml_tensor *sum = leaf(16), *y = place(ggml_add(ctx, sum, x));
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);

    assert_true(vgr_cgraph_marks());
    sum->op = GGML_OP_MUL_MAT;
    sum->src[0] = w;
    sum->src[1] = none;
    ggml_build_forward_expand(g, y);
    assert_ptr_equal(ggml_graph_node(g, 0), sum);
    sum->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(graphs.slot[graphs.last].body.n_tensors, 3);
    assert_int_equal(records()[0].op, GGML_OP_NONE);
    assert_int_equal(records()[0].src[0], 0);
    assert_int_equal(records()[0].ne[0], 16);
    assert_int_equal(records()[0].buffer, 1);
    assert_int_equal(records()[1].src[0], 1);
    assert_int_equal(compute_one(g), VGR_GRAPH_RUN);
    assert_int_equal(graphs.work, 1);

    y->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(graphs.work, 0);
}

/* A patch cannot give an op something to do. */
static void elements_that_come_or_go_are_defined_anew(void **state)
{
    struct step s = make_step(2.0f);

    compute_one(s.graph);
    s.out->ne[0] = 8;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH);
    s.out->ne[0] = 0;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_DEFINE);
    s.out->ne[0] = 4;
    s.out->op_params[0] = 1;
    assert_int_equal(compute_one(s.graph), VGR_GRAPH_PATCH); /* of the first one */
}

static void an_empty_tensor_needs_no_memory(void **state)
{
    struct ggml_tensor *x = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 0), *y = ggml_sqr(ctx, x);
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);

    ggml_build_forward_expand(g, y);
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(records()[0].buffer, 0);
    assert_int_equal(compute_one(g), VGR_GRAPH_RUN);
}

static void twice(struct ggml_tensor *dst, const struct ggml_tensor *a, int ith, int nth, void *p)
{
}

static void function_pointers_are_never_sent(void **state)
{
    struct ggml_tensor *y = place(ggml_map_custom1(ctx, leaf(8), twice, 1, NULL));
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);
    const struct ggml_tensor *culprit;
    struct vgr_question q;

    ggml_build_forward_expand(g, y);
    assert_int_equal(vgr_graphs_encode(&graphs, g, true, true, &culprit), -ENOTSUP);
    assert_false(vgr_tensor_question(&q, 0, y, false));
}

static void too_many_tensors_are_refused(void **state)
{
    struct step s = make_step(2.0f);
    const struct ggml_tensor *culprit;

    graphs.max_tensors = 5;
    assert_int_equal(vgr_graphs_encode(&graphs, s.graph, true, true, &culprit), -E2BIG);
    graphs.max_tensors = 6;
    assert_int_equal(vgr_graphs_encode(&graphs, s.graph, true, true, &culprit), 0);
}

/* A leaf that is a view of a node has its own place and needs no reference. */
static void a_leaf_may_be_a_view_of_a_node(void **state)
{
    struct ggml_tensor *x = place(ggml_sqr(ctx, leaf(16)));
    struct ggml_tensor *part = place(ggml_view_1d(ctx, x, 8, 32));
    struct ggml_tensor *y = place(ggml_sqrt(ctx, part));
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 8, false);
    struct ggml_cgraph *whole = ggml_new_graph_custom(ctx, 8, false);

    ggml_build_forward_expand(whole, y); /* which marks what is to be computed */
    ggml_graph_add_node(g, x);
    ggml_graph_add_node(g, y); /* the view itself is in another split */
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(graphs.slot[graphs.last].body.n_tensors, 4);
    assert_int_equal(records()[3].view_src, 0);
    assert_int_equal(records()[3].offset, records()[0].offset + 32);
    assert_int_equal(compute_one(g), VGR_GRAPH_RUN);
}

/* More leafs than the first guess has room for. */
static void a_graph_of_many_leafs_is_encoded(void **state)
{
    struct ggml_cgraph *g = ggml_new_graph_custom(ctx, 1024, false);

    for (int i = 0; i < 300; i++) {
        struct ggml_tensor *t = place(ggml_flash_attn_ext(
            ctx, place(ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 4, 2, 1)),
            place(ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 4, 2, 1)),
            place(ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 4, 2, 1)), NULL, 1.0f, 0.0f, 0.0f));

        ggml_build_forward_expand(g, t);
    }
    assert_int_equal(compute_one(g), VGR_GRAPH_DEFINE);
    assert_int_equal(graphs.slot[graphs.last].body.n_tensors, 1200);
    assert_int_equal(compute_one(g), VGR_GRAPH_RUN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(this_ggml_is_laid_out_as_stated, setup, teardown),
        cmocka_unit_test_setup_teardown(an_encoded_graph_passes_the_codec, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_graph_is_only_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rebuilt_graph_is_only_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_parameter_is_patched, setup, teardown),
        cmocka_unit_test_setup_teardown(a_moved_view_is_patched, setup, teardown),
        cmocka_unit_test_setup_teardown(every_change_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(two_graphs_in_turn_are_only_run, setup, teardown),
        cmocka_unit_test_setup_teardown(the_layers_of_a_model_are_only_run, setup, teardown),
        cmocka_unit_test_setup_teardown(many_layers_are_only_run_in_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(graphs_in_the_same_memory_are_only_run_in_the_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(passing_graphs_take_few_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(slots_hold_no_more_than_they_may, setup, teardown),
        cmocka_unit_test_setup_teardown(small_graphs_take_little_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(a_graph_across_a_freed_buffer_is_defined_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_buffer_at_the_same_address_is_seen, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(old_graphs_make_room, setup, teardown),
        cmocka_unit_test_setup_teardown(a_result_used_outside_of_the_split_escapes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_use_counts_every_node_escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tensor_in_host_memory_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_of_host_memory_has_nothing_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_view_may_be_of_anything, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_may_extend_past_its_buffer, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_marked_is_not_computed, setup, teardown),
        cmocka_unit_test_setup_teardown(elements_that_come_or_go_are_defined_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_tensor_needs_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(function_pointers_are_never_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_tensors_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_leaf_may_be_a_view_of_a_node, setup, teardown),
        cmocka_unit_test_setup_teardown(a_graph_of_many_leafs_is_encoded, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
