/* SPDX-License-Identifier: MIT
 *
 * Is GGML laid out as ggml_abi.h says? Each of its public calls is made on structs of ours and must
 * reach the slot that ggml_abi.h names so; then a live backend is read by our layout.
 */
#include <string.h>

#include "protocol/ggml_abi.h"
#include "vgr_test.h"

#define SLOTS 16
#define ROW   16u

/* A function for each slot, whatever its arguments: it notes its number and returns `answer`. */
static int hit;
static uintptr_t answer;
#define STUB(i)                                                                                    \
    static uintptr_t stub_##i(void)                                                                \
    {                                                                                              \
        hit = i;                                                                                   \
        return answer;                                                                             \
    }
STUB(0)
STUB(1)
STUB(2)
STUB(3)
STUB(4)
STUB(5)
STUB(6)
STUB(7)
STUB(8)
STUB(9)
STUB(10)
STUB(11)
STUB(12)
STUB(13)
STUB(14)
STUB(15)
static uintptr_t (*const stubs[SLOTS])(void) = {
    stub_0, stub_1, stub_2,  stub_3,  stub_4,  stub_5,  stub_6,  stub_7,
    stub_8, stub_9, stub_10, stub_11, stub_12, stub_13, stub_14, stub_15,
};
static_assert(sizeof(struct ggml_backend_i) == sizeof(stubs), "no struct has more slots");

static struct ggml_backend_reg reg;
static struct ggml_backend_device dev;
static struct ggml_backend_buffer_type buft;
static struct ggml_backend backend;
static struct ggml_backend_event event;
static struct ggml_backend_buffer *buffer;
static struct ggml_tensor *tensor, *other;
static struct ggml_context *ctx;
static uint8_t data[4 * ROW], id[16];
static int calls;

/* `call` must reach `slot` of `type`, which answers `value`. */
#define REACHES(type, slot, value, call)                                                           \
    do {                                                                                           \
        hit = -1;                                                                                  \
        answer = (uintptr_t)(value);                                                               \
        (void)(call);                                                                              \
        assert_int_equal(hit, (int)(offsetof(struct type, slot) / sizeof(void *)));                \
        calls++;                                                                                   \
    } while (0)

static struct ggml_backend_buffer_i stub_buffer(void)
{
    struct ggml_backend_buffer_i iface;

    memcpy(&iface, stubs, sizeof(iface));
    iface.init_tensor = NULL; /* wants an answer of its own */
    return iface;
}

static int setup(void **state)
{
    memcpy(&reg.iface, stubs, sizeof(reg.iface));
    memcpy(&dev.iface, stubs, sizeof(dev.iface));
    memcpy(&buft.iface, stubs, sizeof(buft.iface));
    memcpy(&backend.iface, stubs, sizeof(backend.iface));
    reg.api_version = VGR_GGML_API;
    dev.reg = &reg;
    buft.device = &dev;
    backend.device = &dev;
    backend.guid = &id;
    event.device = &dev;
    buffer = ggml_backend_buffer_init(&buft, stub_buffer(), data, sizeof(data));
    ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    tensor = ggml_new_tensor_2d(ctx, GGML_TYPE_I8, ROW, 4);
    other = ggml_new_tensor_2d(ctx, GGML_TYPE_I8, ROW, 4);
    tensor->buffer = other->buffer = buffer;
    tensor->data = other->data = data;
    return 0;
}

static int teardown(void **state)
{
    ggml_free(ctx);
    return 0;
}

static void calls_on_a_registry_reach_its_slots(void **state)
{
    REACHES(ggml_backend_reg_i, get_name, 0, ggml_backend_reg_name(&reg));
    REACHES(ggml_backend_reg_i, get_device_count, 1, ggml_backend_reg_dev_count(&reg));
    REACHES(ggml_backend_reg_i, get_device, &dev, ggml_backend_reg_dev_get(&reg, 0));
    REACHES(ggml_backend_reg_i, get_proc_address, 0, ggml_backend_reg_get_proc_address(&reg, "x"));
}

static void calls_on_a_device_reach_its_slots(void **state)
{
    struct ggml_backend_dev_props props;
    size_t a, b;

    REACHES(ggml_backend_device_i, get_name, 0, ggml_backend_dev_name(&dev));
    REACHES(ggml_backend_device_i, get_description, 0, ggml_backend_dev_description(&dev));
    REACHES(ggml_backend_device_i, get_memory, 0, (ggml_backend_dev_memory(&dev, &a, &b), 0));
    REACHES(ggml_backend_device_i, get_type, 0, ggml_backend_dev_type(&dev));
    REACHES(ggml_backend_device_i, get_props, 0, (ggml_backend_dev_get_props(&dev, &props), 0));
    REACHES(ggml_backend_device_i, init_backend, 0, ggml_backend_dev_init(&dev, NULL));
    REACHES(ggml_backend_device_i, get_buffer_type, 0, ggml_backend_dev_buffer_type(&dev));
    REACHES(ggml_backend_device_i, get_host_buffer_type, 0,
            ggml_backend_dev_host_buffer_type(&dev));
    REACHES(ggml_backend_device_i, buffer_from_host_ptr, 0,
            ggml_backend_dev_buffer_from_host_ptr(&dev, data, sizeof(data), sizeof(data)));
    REACHES(ggml_backend_device_i, supports_op, 0, ggml_backend_dev_supports_op(&dev, tensor));
    REACHES(ggml_backend_device_i, supports_buft, 0, ggml_backend_dev_supports_buft(&dev, &buft));
    REACHES(ggml_backend_device_i, offload_op, 0, ggml_backend_dev_offload_op(&dev, tensor));
    REACHES(ggml_backend_device_i, event_new, 0, ggml_backend_event_new(&dev));
    REACHES(ggml_backend_device_i, event_free, 0, (ggml_backend_event_free(&event), 0));
    REACHES(ggml_backend_device_i, event_synchronize, 0,
            (ggml_backend_event_synchronize(&event), 0));
    assert_ptr_equal(ggml_backend_dev_backend_reg(&dev), &reg);
}

static void calls_on_a_buffer_type_reach_its_slots(void **state)
{
    REACHES(ggml_backend_buffer_type_i, get_name, 0, ggml_backend_buft_name(&buft));
    REACHES(ggml_backend_buffer_type_i, alloc_buffer, 0, ggml_backend_buft_alloc_buffer(&buft, 1));
    REACHES(ggml_backend_buffer_type_i, get_alignment, ROW, ggml_backend_buft_get_alignment(&buft));
    REACHES(ggml_backend_buffer_type_i, get_max_size, ROW, ggml_backend_buft_get_max_size(&buft));
    REACHES(ggml_backend_buffer_type_i, get_alloc_size, sizeof(data),
            ggml_backend_buft_get_alloc_size(&buft, tensor));
    REACHES(ggml_backend_buffer_type_i, is_host, 0, ggml_backend_buft_is_host(&buft));
#if VGR_GGML_API >= 3
    REACHES(ggml_backend_buffer_type_i, alloc_buffer_n, 0,
            ggml_backend_buft_alloc_buffer_n(&buft, &tensor, 1));
    REACHES(ggml_backend_buffer_type_i, get_alloc_size_n, sizeof(data),
            ggml_backend_buft_get_alloc_size_n(&buft, &tensor, 1));
#endif
    assert_ptr_equal(ggml_backend_buft_get_device(&buft), &dev);
}

static void calls_on_a_buffer_reach_its_slots(void **state)
{
    struct ggml_backend_buffer_i whole = stub_buffer();
    struct ggml_backend_buffer *b;

    buft.iface.is_host = NULL; /* or a copy would not ask */
    memcpy(&whole, stubs, sizeof(whole));
    b = ggml_backend_buffer_init(&buft, whole, data, sizeof(data));
    REACHES(ggml_backend_buffer_i, init_tensor, 0, ggml_backend_buffer_init_tensor(b, tensor));
    REACHES(ggml_backend_buffer_i, free_buffer, 0, (ggml_backend_buffer_free(b), 0));

    REACHES(ggml_backend_buffer_i, get_base, data, ggml_backend_buffer_get_base(buffer));
    REACHES(ggml_backend_buffer_i, memset_tensor, 0,
            (ggml_backend_tensor_memset(tensor, 1, 0, ROW), 0));
    REACHES(ggml_backend_buffer_i, set_tensor, 0,
            (ggml_backend_tensor_set(tensor, data, 0, ROW), 0));
    REACHES(ggml_backend_buffer_i, get_tensor, 0,
            (ggml_backend_tensor_get(tensor, data, 0, ROW), 0));
    REACHES(ggml_backend_buffer_i, set_tensor_2d, 0,
            (ggml_backend_tensor_set_2d(tensor, data, 0, 1, 2, ROW, 1), 0));
    REACHES(ggml_backend_buffer_i, get_tensor_2d, 0,
            (ggml_backend_tensor_get_2d(tensor, data, 0, 1, 2, ROW, 1), 0));
    REACHES(ggml_backend_buffer_i, cpy_tensor, 1, (ggml_backend_tensor_copy(tensor, other), 0));
    REACHES(ggml_backend_buffer_i, clear, 0, (ggml_backend_buffer_clear(buffer, 0), 0));
    REACHES(ggml_backend_buffer_i, reset, 0, (ggml_backend_buffer_reset(buffer), 0));

    assert_ptr_equal(ggml_backend_buffer_get_type(buffer), &buft);
    assert_int_equal(ggml_backend_buffer_get_size(buffer), sizeof(data));
    assert_ptr_equal(buffer->context, data);
    ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    assert_int_equal(buffer->usage, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    ggml_backend_buffer_free(buffer);
}

static void calls_on_a_backend_reach_its_slots(void **state)
{
    struct ggml_cgraph *graph = ggml_new_graph(ctx);

    REACHES(ggml_backend_i, get_name, 0, ggml_backend_name(&backend));
    REACHES(ggml_backend_i, set_tensor_async, 0,
            (ggml_backend_tensor_set_async(&backend, tensor, data, 0, ROW), 0));
    REACHES(ggml_backend_i, get_tensor_async, 0,
            (ggml_backend_tensor_get_async(&backend, tensor, data, 0, ROW), 0));
    REACHES(ggml_backend_i, set_tensor_2d_async, 0,
            (ggml_backend_tensor_set_2d_async(&backend, tensor, data, 0, 1, 2, ROW, 1), 0));
    REACHES(ggml_backend_i, get_tensor_2d_async, 0,
            (ggml_backend_tensor_get_2d_async(&backend, tensor, data, 0, 1, 2, ROW, 1), 0));
    REACHES(ggml_backend_i, cpy_tensor_async, 1,
            (ggml_backend_tensor_copy_async(&backend, &backend, tensor, other), 0));
    REACHES(ggml_backend_i, synchronize, 0, (ggml_backend_synchronize(&backend), 0));
    REACHES(ggml_backend_i, graph_plan_create, 0, ggml_backend_graph_plan_create(&backend, graph));
    REACHES(ggml_backend_i, graph_plan_free, 0, (ggml_backend_graph_plan_free(&backend, data), 0));
    REACHES(ggml_backend_i, graph_plan_compute, 0, ggml_backend_graph_plan_compute(&backend, data));
    REACHES(ggml_backend_i, graph_compute, 0, ggml_backend_graph_compute_async(&backend, graph));
    REACHES(ggml_backend_i, event_record, 0, (ggml_backend_event_record(&event, &backend), 0));
    REACHES(ggml_backend_i, event_wait, 0, (ggml_backend_event_wait(&backend, &event), 0));
    REACHES(ggml_backend_i, free, 0, (ggml_backend_free(&backend), 0));
    assert_ptr_equal(ggml_backend_get_device(&backend), &dev);
    assert_ptr_equal(ggml_backend_guid(&backend), &id);
}

/* The scheduler is the only one to call graph_optimize. */
static struct ggml_backend_graph_optimize_params *optimize_params;
static int optimized;

static void note_optimize(ggml_backend_t b, struct ggml_cgraph *graph,
                          struct ggml_backend_graph_optimize_params *params)
{
    optimized++;
    optimize_params = params;
#ifdef VGR_GGML_HAS_ALLOC_DEPS
    params->add_alloc_dep(params->user_data, ggml_graph_node(graph, 0), ggml_graph_node(graph, 1));
#endif
}

static void a_live_backend_is_laid_out_so(void **state)
{
    ggml_backend_dev_t cpu;
    ggml_backend_t b;
    ggml_backend_sched_t sched;
    struct ggml_tensor *x, *y;
    struct ggml_cgraph *graph;
    const float minus_two = -2;
    float result = 0;

    ggml_backend_load_all();
    cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    assert_non_null(cpu);
    assert_int_equal(cpu->reg->api_version, VGR_GGML_API);
    b = ggml_backend_dev_init(cpu, NULL);
    assert_ptr_equal(b->device, cpu);
    assert_null(b->iface.graph_optimize); /* the last slot; the CPU's is empty */

    b->iface.graph_optimize = note_optimize;
    sched = ggml_backend_sched_new(&b, NULL, 1, GGML_DEFAULT_GRAPH_SIZE, false, false);
    graph = ggml_new_graph(ctx);
    x = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 1);
    y = ggml_sqr(ctx, ggml_abs(ctx, x));
    ggml_set_input(x);
    ggml_set_output(y);
    ggml_build_forward_expand(graph, y);
    assert_true(ggml_backend_sched_alloc_graph(sched, graph));
    ggml_backend_tensor_set(x, &minus_two, 0, sizeof(minus_two));
    assert_int_equal(ggml_backend_sched_graph_compute(sched, graph), GGML_STATUS_SUCCESS);
    ggml_backend_tensor_get(y, &result, 0, sizeof(result));
    assert_true(result == 4);
    assert_true(optimized > 0);
#ifdef VGR_GGML_HAS_ALLOC_DEPS
    assert_non_null(optimize_params);
#endif
    ggml_backend_sched_free(sched);
    ggml_backend_free(b);
}

static void all_was_tried(void **state)
{
    assert_int_equal(calls, 4 + 15 + (VGR_GGML_API >= 3 ? 8 : 6) + 11 + 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_on_a_registry_reach_its_slots),
        cmocka_unit_test(calls_on_a_device_reach_its_slots),
        cmocka_unit_test(calls_on_a_buffer_type_reach_its_slots),
        cmocka_unit_test(calls_on_a_buffer_reach_its_slots),
        cmocka_unit_test(calls_on_a_backend_reach_its_slots),
        cmocka_unit_test(a_live_backend_is_laid_out_so),
        cmocka_unit_test(all_was_tried),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
