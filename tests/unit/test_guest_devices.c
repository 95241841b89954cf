/* SPDX-License-Identifier: MIT
 *
 * Two devices of one host, each with a queue of its own: a stream that waits for an event of the other device's
 * is done when the download before that event is there.
 */
#define FAKE_DEVICES 2
#include <ggml-alloc.h>

#include "fake_host.h"
#include "ggml-virtgpu.h"
#include "protocol/ggml_abi.h"

#define SIZE 4096

static int setup(void **state)
{
    setenv("VGR_DIRECT", "played by the test", 1);
    assert_int_equal(ggml_backend_reg_dev_count(ggml_backend_virtgpu_reg()), 2);
    return 0;
}

/* Device `from` downloads, the other one waits. */
static void download(size_t from)
{
    ggml_backend_dev_t dev = ggml_backend_reg_dev_get(ggml_backend_virtgpu_reg(), from);
    ggml_backend_dev_t other = ggml_backend_reg_dev_get(ggml_backend_virtgpu_reg(), !from);
    ggml_backend_t a = ggml_backend_dev_init(dev, NULL), b = ggml_backend_dev_init(other, NULL);
    ggml_backend_event_t event = ggml_backend_event_new(dev), later = ggml_backend_event_new(other);
    struct ggml_context *ctx =
        ggml_init((struct ggml_init_params){.mem_size = 1u << 20, .no_alloc = true});
    struct ggml_tensor *t = ggml_new_tensor_1d(ctx, GGML_TYPE_I8, SIZE);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, a);
    static uint8_t got[SIZE];

    assert_true(a && b && event && later && buffer);
    memset(got, 0, SIZE);
    ggml_backend_tensor_get_async(a, t, got, 0, SIZE);
    ggml_backend_event_record(event, a);
    ggml_backend_event_wait(b, event);
    ggml_backend_event_record(later, b);
    ggml_backend_event_synchronize(later);
    ggml_backend_synchronize(b);
    assert_int_equal(got[0], FAKE_DATA);
    assert_int_equal(got[SIZE - 1], FAKE_DATA);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    ggml_backend_event_free(event);
    ggml_backend_event_free(later);
    ggml_backend_free(a);
    ggml_backend_free(b);
}

static void the_second_waits_for_the_first(void **state)
{
    download(0);
}

static void the_first_waits_for_the_second(void **state)
{
    download(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_waits_for_the_first),
        cmocka_unit_test(the_first_waits_for_the_second),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
