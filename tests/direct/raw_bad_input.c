/* SPDX-License-Identifier: MIT
 *
 * What a guest can say wrong: each ends its own context, with a reason that the guest can read, and
 * nothing else. A good context is open all the while; it computes after each test, and so does a
 * new one. At the end the device holds what it held in the beginning.
 */
#include <fcntl.h>
#include <ggml.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw_scene.h"

/* ---- The first message ---- */

static void test_open_without_magic(void **state)
{
    struct raw_client *c = bad_client(state);

    raw_send_open(c, 0x12345678, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_hangs_up(c);
}

static void test_open_with_too_few_descriptors(void **state)
{
    struct raw_client *c = bad_client(state);

    raw_send_open(c, VGR_MAGIC, RAW_ARENA, 1);
    raw_assert_hangs_up(c);
}

static void test_open_without_descriptors(void **state)
{
    struct raw_client *c = bad_client(state);

    raw_send_open(c, VGR_MAGIC, RAW_ARENA, 0);
    raw_assert_hangs_up(c);
}

static void test_open_of_wrong_length(void **state)
{
    struct raw_client *c = bad_client(state);
    char text[] = "GET / HTTP/1.0";

    assert_int_equal(send(c->socket, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
    raw_assert_hangs_up(c);
}

static void test_line_that_is_no_socket(void **state)
{
    struct raw_client *c = bad_client(state);

    close(c->fds[1]);
    c->fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_hangs_up(c);
}

static void test_arena_that_could_shrink(void **state)
{
    struct raw_client *c = bad_client(state);

    /* A worker that maps it would die when the guest truncates it. */
    close(c->fds[0]);
    c->fds[0] = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(c->fds[0], RAW_ARENA), 0);
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_hangs_up(c);
}

static void test_arena_larger_than_its_file(void **state)
{
    struct raw_client *c = bad_client(state);

    raw_send_open(c, VGR_MAGIC, 2 * RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_hangs_up(c);
}

static void test_arena_over_the_limit(void **state)
{
    struct raw_client *c = bad_client(state);
    uint64_t size = c->capset.arena_max + 4096;

    /* A sparse file: it costs nothing. */
    assert_int_equal(ftruncate(c->fds[0], (off_t)size), 0);
    raw_send_open(c, VGR_MAGIC, size, VGR_DIRECT_NFDS);
    raw_assert_fails(c, VGR_ERROR_ARENA, "the host takes");
}

static void test_arena_of_an_odd_size(void **state)
{
    struct raw_client *c = bad_client(state);

    raw_send_open(c, VGR_MAGIC, RAW_ARENA - 1, VGR_DIRECT_NFDS);
    raw_assert_fails(c, VGR_ERROR_ARENA, "multiples of 4096");
}

/* Nobody takes it, or its descriptors, and the context ends because of it later (test_device_direct). */
static void test_second_message(void **state)
{
    struct raw_client *c = bad_context(state);

    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_computes(c);
}

static void test_client_that_says_nothing(void **state)
{
    /* It connected in setup and never speaks: teardown shows that others are served meanwhile. */
    (void)state;
}

/* ---- The hello ---- */

static void test_hello_of_another_version(void **state)
{
    struct raw_client *c = bad_client(state);

    c->ctl->hello.version = 99;
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_fails(c, VGR_ERROR_VERSION, "version 99");
}

static void test_hello_without_magic(void **state)
{
    struct raw_client *c = bad_client(state);

    c->ctl->hello.magic = 0;
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_fails(c, VGR_ERROR_HELLO, "magic");
}

static void test_hello_with_a_ring_outside_the_arena(void **state)
{
    struct raw_client *c = bad_client(state);

    c->ctl->hello.ring_off = RAW_ARENA - 4096;
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_fails(c, VGR_ERROR_HELLO, "ring");
}

static void test_hello_with_a_garbled_dictionary(void **state)
{
    struct raw_client *c = bad_client(state);

    memset(c->arena + RAW_HEAP, 0xff, 4096);
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    raw_assert_fails(c, VGR_ERROR_HELLO, "dictionary");
}

/* ---- The ring ---- */

static void test_tail_beyond_the_ring(void **state)
{
    struct raw_client *c = bad_context(state);

    __atomic_store_n(&c->ctl->tail, 2 * RAW_RING, __ATOMIC_SEQ_CST);
    raw_doorbell(c);
    raw_assert_fails(c, VGR_ERROR_RING, "corrupt");
}

static void test_record_sizes(void **state)
{
    static const uint32_t sizes[] = {0, 4, 12, 4096, RAW_RING / 2, 0xfffffff8};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct raw_client c;
        struct vgr_cmd h = {.op = VGR_CMD_SYNC, .size = sizes[i]};

        raw_open(&c);
        memcpy(c.arena + VGR_CONTROL_SIZE, &h, sizeof(h));
        __atomic_store_n(&c.ctl->tail, 8, __ATOMIC_SEQ_CST);
        raw_doorbell(&c);
        raw_assert_fails(&c, VGR_ERROR_RING, "corrupt");
        raw_close(&c);
    }
    (void)state;
}

static void test_doorbells_for_nothing(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd sync;

    for (int i = 0; i < 10000; i++)
        raw_doorbell(c);
    assert_true(raw_done(c, raw_push(c, &sync, VGR_CMD_SYNC, sizeof(sync))));
}

/* ---- Commands ---- */

static void test_unknown_command(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd cmd;
    uint64_t seq;

    assert_true(raw_done(c, raw_push(c, &cmd, VGR_CMD_SYNC, sizeof(cmd))));
    seq = raw_push(c, &cmd, 999, sizeof(cmd));
    raw_assert_fails(c, VGR_ERROR_COMMAND, "999");
    assert_int_equal(c->ctl->error_seq, seq);
    assert_true(c->ctl->done < seq);
}

static void test_command_of_wrong_length(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd cmd;

    raw_push(c, &cmd, VGR_CMD_BUFFER_ALLOC, sizeof(cmd));
    raw_assert_fails(c, VGR_ERROR_COMMAND, "8 bytes");
}

static void test_buffer_that_does_not_exist(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_data get = {.buffer = 77, .len = 8, .data_off = RAW_DATA};

    raw_push(c, &get, VGR_CMD_GET, sizeof(get));
    raw_assert_fails(c, VGR_ERROR_HANDLE, "77");
}

static void test_read_beyond_a_buffer(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_data get = {.buffer = 1, .offset = ~0ull - 3, .len = 8, .data_off = RAW_DATA};

    raw_buffer(c, 1, 4096);
    raw_push(c, &get, VGR_CMD_GET, sizeof(get));
    raw_assert_fails(c, VGR_ERROR_RANGE, "outside buffer 1");
}

static void test_reply_outside_the_heap(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_alloc alloc = {.buffer = 1, .size = 4096, .reply_off = 0};

    raw_push(c, &alloc, VGR_CMD_BUFFER_ALLOC, sizeof(alloc));
    raw_assert_fails(c, VGR_ERROR_RANGE, "heap");
}

/* ---- Graphs ---- */

static void test_graph_of_an_unknown_op(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();

    s.t[0].op = 250;
    define(c, &s, sizeof(s));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "op");
}

static void test_graph_of_an_unknown_type(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();

    s.t[1].type = 200;
    define(c, &s, sizeof(s));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "type");
}

static void test_tensor_that_leaves_its_buffer(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();

    s.t[1].offset = 4096 - 60;
    define(c, &s, sizeof(s));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "outside");
}

/* Views of views may be too long, but for what is read in the end. */
static void test_view_that_leaves_its_buffer(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};
    struct square s = square();
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[4];
    } d = {.g = {.n_nodes = 3, .n_tensors = 4}};
    struct vgr_cmd_graph define_views = {
        .graph = 1, .data_off = RAW_DATA + 4096, .data_len = sizeof(d)};

    for (int i = 0; i < 3; i++) {
        d.t[i] = s.t[1];
        d.t[i].op = GGML_OP_VIEW;
        d.t[i].src[0] = i ? (uint32_t)i : 4;
        d.t[i].view_src = 4;
        d.t[i].nb[1] = 1 << 20;
    }
    d.t[0].ne[1] = 16;
    d.t[2] = s.t[0];
    d.t[2].src[0] = 2;
    d.t[3] = s.t[1];
    raw_buffer(c, 1, 4096);
    memcpy(c->arena + define_views.data_off, &d, sizeof(d));
    raw_push(c, &define_views, VGR_CMD_GRAPH_DEFINE, sizeof(define_views));
    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    assert_true(raw_done(c, raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run))));

    d.t[1].ne[1] = 2;
    d.t[2].ne[1] = 2;
    d.t[2].nb[2] = d.t[2].nb[3] = 128;
    memcpy(c->arena + define_views.data_off, &d, sizeof(d));
    raw_push(c, &define_views, VGR_CMD_GRAPH_DEFINE, sizeof(define_views));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "outside");
}

static void test_patch_that_gives_a_node_elements(void **state)
{
    struct raw_client *c = bad_context(state);
    /* Elsewhere: the graph may not have been read yet. */
    struct vgr_cmd_graph patch = {
        .graph = 1, .data_off = RAW_DATA + 2048, .data_len = sizeof(struct vgr_graph_patch)};
    struct square s = square();
    struct vgr_graph_patch p = {.tensor = s.t[0]};

    s.t[0].ne[0] = s.t[1].ne[0] = 0;
    define(c, &s, sizeof(s));
    memcpy(c->arena + patch.data_off, &p, sizeof(p));
    raw_push(c, &patch, VGR_CMD_GRAPH_PATCH, sizeof(patch));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "structure");
}

static void test_tensor_whose_extent_overflows(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();

    s.t[1].ne[1] = 1ll << 40;
    s.t[1].nb[1] = 1ull << 40;
    define(c, &s, sizeof(s));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "");
}

static void test_tensor_of_a_freed_buffer(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_handle free_buffer = {.handle = 1};
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};
    struct square s = square();

    define(c, &s, sizeof(s));
    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    assert_true(raw_done(c, raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run))));
    raw_push(c, &free_buffer, VGR_CMD_BUFFER_FREE, sizeof(free_buffer));
    raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
    raw_assert_fails(c, VGR_ERROR_HANDLE, "freed");
}

static void test_graph_cut_short(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();

    define(c, &s, sizeof(s) - 8);
    raw_assert_fails(c, VGR_ERROR_GRAPH, "graph 1");
}

static void test_graph_that_refers_to_itself(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();

    s.t[0].src[0] = 1;
    define(c, &s, sizeof(s));
    raw_assert_fails(c, VGR_ERROR_GRAPH, "");
}

static void test_order_with_more_wishes_than_the_heap_holds(void **state)
{
    struct raw_client *c = bad_context(state);
    struct square s = square();
    struct vgr_cmd_query_order order = {.data_off = RAW_DATA + 4096,
                                        .data_len = sizeof(s),
                                        .reply_off = RAW_DATA,
                                        .max_deps = UINT32_MAX};

    memcpy(c->arena + order.data_off, &s, sizeof(s));
    raw_push(c, &order, VGR_CMD_QUERY_ORDER, sizeof(order));
    raw_assert_fails(c, VGR_ERROR_RANGE, "heap");
}

static void test_run_of_an_undefined_graph(void **state)
{
    struct raw_client *c = bad_context(state);
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_run run = {.graph = 5, .stream = 1};

    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
    raw_assert_fails(c, VGR_ERROR_HANDLE, "graph 5");
}

/* ---- A worker that dies, as by a crash in a GPU driver ---- */

static void test_worker_that_dies(void **state)
{
    struct raw_client *c = bad_context(state);

    assert_int_equal(kill(raw_device_newest_worker(), SIGKILL), 0);
    raw_assert_fails(c, VGR_ERROR_WORKER_DIED, "signal 9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_without_magic),
        TEST(test_open_with_too_few_descriptors),
        TEST(test_open_without_descriptors),
        TEST(test_open_of_wrong_length),
        TEST(test_line_that_is_no_socket),
        TEST(test_arena_that_could_shrink),
        TEST(test_arena_larger_than_its_file),
        TEST(test_arena_over_the_limit),
        TEST(test_arena_of_an_odd_size),
        TEST(test_second_message),
        TEST(test_client_that_says_nothing),
        TEST(test_hello_of_another_version),
        TEST(test_hello_without_magic),
        TEST(test_hello_with_a_ring_outside_the_arena),
        TEST(test_hello_with_a_garbled_dictionary),
        TEST(test_tail_beyond_the_ring),
        TEST(test_record_sizes),
        TEST(test_doorbells_for_nothing),
        TEST(test_unknown_command),
        TEST(test_command_of_wrong_length),
        TEST(test_buffer_that_does_not_exist),
        TEST(test_read_beyond_a_buffer),
        TEST(test_reply_outside_the_heap),
        TEST(test_graph_of_an_unknown_op),
        TEST(test_graph_of_an_unknown_type),
        TEST(test_tensor_that_leaves_its_buffer),
        TEST(test_view_that_leaves_its_buffer),
        TEST(test_patch_that_gives_a_node_elements),
        TEST(test_tensor_whose_extent_overflows),
        TEST(test_tensor_of_a_freed_buffer),
        TEST(test_graph_cut_short),
        TEST(test_graph_that_refers_to_itself),
        TEST(test_order_with_more_wishes_than_the_heap_holds),
        TEST(test_run_of_an_undefined_graph),
        TEST(test_worker_that_dies),
    };

    return cmocka_run_group_tests(tests, setup_device, teardown_device);
}
