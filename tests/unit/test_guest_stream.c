/* SPDX-License-Identifier: MIT
 *
 * What a stream is given after an event runs after all that the other stream was given before it, uploads
 * included; and where nothing is outstanding, nothing is sent.
 */
#include <ggml-alloc.h>

#include "fake_host.h"
#include "ggml-virtgpu.h"
#include "protocol/ggml_abi.h"

#define SIZE 4096

static ggml_backend_dev_t dev;
static ggml_backend_t a, b, c;
static ggml_backend_event_t event, event2;
static struct ggml_context *ctx;
static struct ggml_tensor *t;
static ggml_backend_buffer_t buffer;
static uint8_t data[SIZE];

static int setup(void **state)
{
    ggml_backend_reg_t reg;

    setenv("VGR_DIRECT", "played by the test", 1);
    reg = ggml_backend_virtgpu_reg();
    assert_int_equal(ggml_backend_reg_dev_count(reg), 1);
    dev = ggml_backend_reg_dev_get(reg, 0);
    a = ggml_backend_dev_init(dev, NULL);
    b = ggml_backend_dev_init(dev, NULL);
    c = ggml_backend_dev_init(dev, NULL);
    event = ggml_backend_event_new(dev);
    event2 = ggml_backend_event_new(dev);
    ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    assert_true(a && b && c && event && event2 && ctx);
    t = ggml_new_tensor_1d(ctx, GGML_TYPE_I8, SIZE);
    buffer = ggml_backend_alloc_ctx_tensors(ctx, a);
    assert_non_null(buffer);
    return 0;
}

static int teardown(void **state)
{
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    ggml_backend_event_free(event2);
    ggml_backend_event_free(event);
    ggml_backend_free(c);
    ggml_backend_free(b);
    ggml_backend_free(a);
    return 0;
}

/* Waits for all that was sent. How many STREAM_WAITs the host has had since the last call. */
static uint32_t stream_waits(void)
{
    static uint32_t before;
    uint32_t now;

    ggml_backend_tensor_get(t, data, 0, 1);
    now = host.ran[VGR_CMD_STREAM_WAIT] - before;
    before = host.ran[VGR_CMD_STREAM_WAIT];
    return now;
}

static void an_upload_is_waited_for(void **state)
{
    static const size_t sizes[] = {16, SIZE}; /* in the ring itself, and in the heap */

    assert_int_equal(stream_waits(), 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        ggml_backend_tensor_set_async(a, t, data, 0, sizes[i]);
        ggml_backend_event_record(event, a);
        ggml_backend_event_wait(b, event);
        assert_int_equal(stream_waits(), 1);
    }
}

static void an_upload_from_the_cpu_is_waited_for(void **state)
{
    static struct ggml_backend cpu; /* the library only waits for it */
    struct ggml_context *here =
        ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    struct ggml_tensor *from = ggml_new_tensor_1d(here, GGML_TYPE_I8, SIZE);
    ggml_backend_buffer_t from_buffer =
        ggml_backend_alloc_ctx_tensors_from_buft(here, ggml_backend_cpu_buffer_type());

    assert_non_null(from_buffer);
    ggml_backend_tensor_copy_async(&cpu, a, from, t);
    ggml_backend_event_record(event, a);
    ggml_backend_event_wait(b, event);
    assert_int_equal(stream_waits(), 1);
    ggml_backend_buffer_free(from_buffer);
    ggml_free(here);
}

static void nothing_outstanding_is_not_waited_for(void **state)
{
    ggml_backend_tensor_set_async(a, t, data, 0, SIZE);
    ggml_backend_tensor_get(t, data, 0, 1);
    ggml_backend_event_record(event, a);
    ggml_backend_event_wait(b, event);
    assert_int_equal(stream_waits(), 0);
}

static void a_stream_does_not_wait_for_itself(void **state)
{
    ggml_backend_tensor_set_async(a, t, data, 0, SIZE);
    ggml_backend_event_record(event, a);
    ggml_backend_event_wait(a, event);
    assert_int_equal(stream_waits(), 0);
}

/* The host does not know its number any more, or has given it to another. */
static void a_closed_stream_is_not_waited_for(void **state)
{
    ggml_backend_t closed = ggml_backend_dev_init(dev, NULL);

    assert_non_null(closed);
    ggml_backend_tensor_set_async(closed, t, data, 0, SIZE);
    ggml_backend_event_record(event, closed);
    ggml_backend_free(closed);
    ggml_backend_event_wait(b, event);
    assert_int_equal(stream_waits(), 0);
}

/* A stream that waits is done when what it waits for is. */
static void waits_are_waited_for(void **state)
{
    uint32_t before = host.ran[VGR_CMD_STREAM_WAIT];

    ggml_backend_tensor_set_async(a, t, data, 0, SIZE);
    ggml_backend_event_record(event, a);
    ggml_backend_event_wait(b, event);
    ggml_backend_event_record(event2, b);
    ggml_backend_event_wait(c, event2);
    ggml_backend_synchronize(b);
    assert_true(host.ran[VGR_CMD_STREAM_WAIT] > before);
    assert_int_equal(stream_waits(), 2);
}

/* It is there when the other stream is done, also where the host has done it before anybody waits. */
static void a_download_is_there(void **state)
{
    static uint8_t got[SIZE];

    for (int uploads = 0; uploads <= 200; uploads += 200) {
        memset(got, 0, SIZE);
        ggml_backend_tensor_get_async(a, t, got, 0, SIZE);
        ggml_backend_event_record(event, a);
        for (int i = 0; i < uploads; i++) /* the ring is full, and the guest waits for room in it */
            ggml_backend_tensor_set(t, data, 0, 512);
        ggml_backend_event_wait(b, event);
        ggml_backend_synchronize(b);
        assert_int_equal(got[0], FAKE_DATA);
        assert_int_equal(got[SIZE - 1], FAKE_DATA);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upload_is_waited_for),
        cmocka_unit_test(an_upload_from_the_cpu_is_waited_for),
        cmocka_unit_test(nothing_outstanding_is_not_waited_for),
        cmocka_unit_test(a_stream_does_not_wait_for_itself),
        cmocka_unit_test(a_closed_stream_is_not_waited_for),
        cmocka_unit_test(waits_are_waited_for),
        cmocka_unit_test(a_download_is_there),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
