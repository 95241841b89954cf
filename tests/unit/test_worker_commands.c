/* SPDX-License-Identifier: MIT
 *
 * The handshake and the commands on buffers: what works, and that each bad command ends the context
 * with the right code.
 */
#include "test_worker.h"

/* ---- Handshake ---- */

static void test_handshake_describes_the_host(void **state)
{
    struct rig *r = *state;
    struct vgr_reply reply;

    assert_int_equal(vgr_ctx_handshake(r->c), 0);
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
    memcpy(&reply, r->c->arena.base + HEAP + 65536, sizeof(reply));
    assert_int_equal(reply.magic, VGR_MAGIC);
    assert_int_equal(reply.n_devices, 1);
    assert_string_equal(reply.devices[0].name, "CPU");
    assert_true(reply.devices[0].alignment >= 1);
}

static void test_other_protocol_version_is_told(void **state)
{
    struct rig *r = *state;

    r->ctl->hello.version = 99;
    assert_failed(r, vgr_ctx_handshake(r->c), VGR_ERROR_VERSION);
    assert_non_null(strstr(r->ctl->error_text, "version 99"));
}

static void test_bad_hellos_are_refused(void **state)
{
    struct rig *r = *state;
    struct vgr_hello good = r->ctl->hello, h;
    struct {
        size_t at;
        uint32_t value;
    } bad[] = {
        {offsetof(struct vgr_hello, magic), 1},
        {offsetof(struct vgr_hello, ring_off), 0},
        {offsetof(struct vgr_hello, ring_off), 4097},
        {offsetof(struct vgr_hello, ring_off), ARENA},
        {offsetof(struct vgr_hello, ring_size), 3u << 14},
        {offsetof(struct vgr_hello, ring_size), 4096},
        {offsetof(struct vgr_hello, ring_size), 1u << 31},
        {offsetof(struct vgr_hello, heap_off), 4096},
        {offsetof(struct vgr_hello, heap_off), ARENA},
        {offsetof(struct vgr_hello, dict_off), ARENA - 8},
        {offsetof(struct vgr_hello, dict_off), 0},
        {offsetof(struct vgr_hello, dict_len), 0xfffffff0},
        {offsetof(struct vgr_hello, dict_len), 3},
        {offsetof(struct vgr_hello, reply_off), ARENA},
        {offsetof(struct vgr_hello, reply_off), 8},
        {offsetof(struct vgr_hello, reply_cap), 100},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        h = good;
        memcpy((uint8_t *)&h + bad[i].at, &bad[i].value, sizeof(bad[i].value));
        r->ctl->hello = h;
        r->ctl->state = VGR_STATE_STARTING;
        r->shared.failed = VGR_CTX_ALIVE;
        if (vgr_ctx_handshake(r->c) != -1)
            fail_msg("hello %zu was accepted", i);
        assert_int_equal(r->ctl->state, VGR_STATE_FAILED);
    }
}

static void test_an_empty_dictionary_is_refused_aloud(void **state)
{
    struct rig *r = *state;

    r->ctl->hello.dict_len = 0;
    assert_failed(r, vgr_ctx_handshake(r->c), VGR_ERROR_HELLO);
}

/* ---- Buffers and data ---- */

static void test_data_goes_and_comes_back(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_data set = {.buffer = 7, .offset = 100, .len = 1000, .data_off = DATA};
    struct vgr_cmd_data get = {.buffer = 7, .offset = 100, .len = 1000, .data_off = DATA + 4096};
    uint8_t *p = r->c->arena.base;

    alloc(r, 7, 5000);
    for (int i = 0; i < 1000; i++)
        p[DATA + i] = (uint8_t)(i * 7);
    assert_int_equal(RUN(r, set, VGR_CMD_SET), 0);
    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    assert_memory_equal(p + DATA, p + DATA + 4096, 1000);
}

static void test_fresh_buffers_are_zero(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_memset fill = {.buffer = 1, .value = 0xaa, .len = 60000};
    struct vgr_cmd_handle free_it = {.handle = 1};
    struct vgr_cmd_data get = {.buffer = 1, .len = 60000, .data_off = DATA + 4096};

    alloc(r, 1, 60000);
    assert_int_equal(RUN(r, fill, VGR_CMD_MEMSET), 0);
    assert_int_equal(RUN(r, free_it, VGR_CMD_BUFFER_FREE), 0);
    alloc(r, 1, 60000);
    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    for (int i = 0; i < 60000; i++)
        assert_int_equal(r->c->arena.base[DATA + 4096 + i], 0);
}

static void test_inline_data_and_copy(void **state)
{
    struct rig *r = *state;
    struct {
        struct vgr_cmd_data d;
        uint8_t bytes[24];
    } set = {.d = {.buffer = 1, .offset = 8, .len = 20}};
    struct vgr_cmd_copy copy = {.dst = 2, .src = 1, .dst_offset = 64, .src_offset = 8, .len = 20};
    struct vgr_cmd_data get = {.buffer = 2, .offset = 64, .len = 20, .data_off = DATA};

    memset(set.bytes, 0x5a, sizeof(set.bytes));
    alloc(r, 1, 4096);
    alloc(r, 2, 4096);
    assert_int_equal(RUN(r, set, VGR_CMD_SET_INLINE), 0);
    assert_int_equal(RUN(r, copy, VGR_CMD_COPY), 0);
    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    assert_memory_equal(r->c->arena.base + DATA, set.bytes, 20);
}

static void test_too_large_a_buffer_is_an_answer_not_a_failure(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_alloc a = {.buffer = 1, .size = 1ull << 60, .reply_off = DATA};
    struct vgr_alloc_reply reply = {.ok = 1};

    memcpy(r->c->arena.base + DATA, &reply, sizeof(reply));
    assert_int_equal(RUN(r, a, VGR_CMD_BUFFER_ALLOC), 0);
    memcpy(&reply, r->c->arena.base + DATA, sizeof(reply));
    assert_int_equal(reply.ok, 0);
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
    alloc(r, 1, 4096); /* the handle stayed free */
}

static void test_data_outside_the_buffer_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_data set = {.buffer = 1, .offset = 4000, .len = 200, .data_off = DATA};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, set, VGR_CMD_SET), VGR_ERROR_RANGE);
}

static void test_offset_overflow_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_memset m = {.buffer = 1, .offset = UINT64_MAX - 3, .len = 8};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, m, VGR_CMD_MEMSET), VGR_ERROR_RANGE);
}

static void test_data_outside_the_heap_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_data get = {.buffer = 1, .len = 64, .data_off = 0}; /* the control page */

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, get, VGR_CMD_GET), VGR_ERROR_RANGE);
}

static void test_inline_data_longer_than_its_record_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct {
        struct vgr_cmd_data d;
        uint8_t bytes[8];
    } set = {.d = {.buffer = 1, .len = 9}};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, set, VGR_CMD_SET_INLINE), VGR_ERROR_COMMAND);
}

static void test_overlapping_copy_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_copy copy = {.dst = 1, .src = 1, .dst_offset = 8, .src_offset = 0, .len = 16};

    alloc(r, 1, 4096);
    assert_failed(r, RUN(r, copy, VGR_CMD_COPY), VGR_ERROR_RANGE);
}

static void test_unknown_handles_end_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_handle h = {.handle = 0xffffffff};

    assert_failed(r, RUN(r, h, VGR_CMD_BUFFER_FREE), VGR_ERROR_HANDLE);
}

static void test_double_free_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_handle h = {.handle = 1};

    alloc(r, 1, 4096);
    assert_int_equal(RUN(r, h, VGR_CMD_BUFFER_FREE), 0);
    assert_failed(r, RUN(r, h, VGR_CMD_BUFFER_FREE), VGR_ERROR_HANDLE);
}

static void test_unknown_commands_end_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd h;

    assert_failed(r, RUN(r, h, VGR_CMD_COUNT), VGR_ERROR_COMMAND);
}

static void test_records_of_wrong_size_end_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_run m = {0};

    assert_failed(r, run(r, &m, VGR_CMD_GRAPH_RUN, 8), VGR_ERROR_COMMAND);
}

#define R(f) cmocka_unit_test_setup_teardown(f, setup_ready, teardown)
#define H(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        H(test_handshake_describes_the_host),
        H(test_other_protocol_version_is_told),
        H(test_bad_hellos_are_refused),
        H(test_an_empty_dictionary_is_refused_aloud),
        R(test_data_goes_and_comes_back),
        R(test_fresh_buffers_are_zero),
        R(test_inline_data_and_copy),
        R(test_too_large_a_buffer_is_an_answer_not_a_failure),
        R(test_data_outside_the_buffer_ends_the_context),
        R(test_offset_overflow_ends_the_context),
        R(test_data_outside_the_heap_ends_the_context),
        R(test_inline_data_longer_than_its_record_ends_the_context),
        R(test_overlapping_copy_ends_the_context),
        R(test_unknown_handles_end_the_context),
        R(test_double_free_ends_the_context),
        R(test_unknown_commands_end_the_context),
        R(test_records_of_wrong_size_end_the_context),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
