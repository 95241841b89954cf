/* SPDX-License-Identifier: MIT
 *
 * many.c - a GGML backend of several devices that compute on the CPU.
 *
 * For tests of hosts with several GPUs, natively or behind a worker: GGML_BACKEND_PATH names the library,
 * and GGML's loader takes it like any other backend. The devices Many0, Many1, ... are GPUs to GGML: each
 * has a buffer type that no other device may touch, and streams of its own. Each stream has GGML's CPU
 * backend inside, so the numbers are those of the CPU.
 *
 *   GGML_MANY_DEVICES  how many, 1 to 16 (3)
 *   GGML_MANY_IDS      their device_id, with commas between; one that is empty or not given: NULL
 *
 * Devices of one id are one GPU that is reached in several ways, as one by CUDA and by Vulkan.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/ggml_abi.h"

#define MAX_DEVICES 16
#define ALIGNMENT   64
#define MEMORY      ((size_t)16 << 30)

struct many {
    char name[16];
    char id[64];
    struct ggml_backend_device dev;
    struct ggml_backend_buffer_type buft;
};

static struct many devices[MAX_DEVICES];
static size_t n_devices;
static struct ggml_backend_reg the_reg;

__attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init(void);

static ggml_backend_dev_t cpu_device(void)
{
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
}

/* ---- Buffers ---- */

static void buffer_free(ggml_backend_buffer_t buffer)
{
    free(buffer->context);
}

static void *buffer_base(ggml_backend_buffer_t buffer)
{
    return buffer->context;
}

static void buffer_memset(ggml_backend_buffer_t buffer, struct ggml_tensor *t, uint8_t value,
                          size_t offset, size_t size)
{
    memset((char *)t->data + offset, value, size);
}

static void buffer_set(ggml_backend_buffer_t buffer, struct ggml_tensor *t, const void *data,
                       size_t offset, size_t size)
{
    memcpy((char *)t->data + offset, data, size);
}

static void buffer_get(ggml_backend_buffer_t buffer, const struct ggml_tensor *t, void *data,
                       size_t offset, size_t size)
{
    memcpy(data, (const char *)t->data + offset, size);
}

static void buffer_clear(ggml_backend_buffer_t buffer, uint8_t value)
{
    memset(buffer->context, value, buffer->size);
}

static const struct ggml_backend_buffer_i buffer_iface = {
    .free_buffer = buffer_free,
    .get_base = buffer_base,
    .memset_tensor = buffer_memset,
    .set_tensor = buffer_set,
    .get_tensor = buffer_get,
    .clear = buffer_clear,
};

static const char *buft_name(ggml_backend_buffer_type_t buft)
{
    return ((struct many *)buft->context)->name;
}

static ggml_backend_buffer_t buft_alloc(ggml_backend_buffer_type_t buft, size_t size)
{
    size_t room = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = room >= size ? aligned_alloc(ALIGNMENT, room ? room : ALIGNMENT) : NULL;

    return memory ? ggml_backend_buffer_init(buft, buffer_iface, memory, size) : NULL;
}

static size_t buft_alignment(ggml_backend_buffer_type_t buft)
{
    return ALIGNMENT;
}

/* ---- Streams ---- */

/* The context of a stream is a backend of the CPU. */
static const char *stream_name(ggml_backend_t backend)
{
    return ggml_backend_dev_name(backend->device);
}

static void stream_free(ggml_backend_t backend)
{
    ggml_backend_free(backend->context);
    free(backend);
}

static enum ggml_status stream_compute(ggml_backend_t backend, struct ggml_cgraph *graph)
{
    return ggml_backend_graph_compute(backend->context, graph);
}

static ggml_backend_t device_stream(ggml_backend_dev_t dev, const char *params)
{
    static uint8_t guid[16] = "vgr-test-many";
    struct ggml_backend *backend = calloc(1, sizeof(*backend));

    if (!backend)
        return NULL;
    backend->guid = &guid;
    backend->iface = (struct ggml_backend_i){
        .get_name = stream_name, .free = stream_free, .graph_compute = stream_compute};
    backend->device = dev;
    backend->context = ggml_backend_dev_init(cpu_device(), NULL);
    if (backend->context)
        return backend;
    free(backend);
    return NULL;
}

/* What programs look for by name, and call with one of our streams. */
static void set_n_threads(ggml_backend_t backend, int n)
{
    ggml_backend_set_n_threads_t set =
        (ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(cpu_device()), "ggml_backend_set_n_threads");

    if (set)
        set(backend->context, n);
}

/* ---- Devices ---- */

static const char *device_name(ggml_backend_dev_t dev)
{
    return ((struct many *)dev->context)->name;
}

static const char *device_description(ggml_backend_dev_t dev)
{
    return "the CPU as one of many GPUs";
}

static void device_memory(ggml_backend_dev_t dev, size_t *free, size_t *total)
{
    *free = *total = MEMORY;
}

static enum ggml_backend_dev_type device_type(ggml_backend_dev_t dev)
{
    return GGML_BACKEND_DEVICE_TYPE_GPU;
}

static void device_props(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props)
{
    const struct many *d = dev->context;

    *props = (struct ggml_backend_dev_props){
        .name = device_name(dev),
        .description = device_description(dev),
        .type = device_type(dev),
        .device_id = d->id[0] ? d->id : NULL,
    };
    device_memory(dev, &props->memory_free, &props->memory_total);
}

static ggml_backend_buffer_type_t device_buft(ggml_backend_dev_t dev)
{
    return &((struct many *)dev->context)->buft;
}

static bool device_supports_op(ggml_backend_dev_t dev, const struct ggml_tensor *op)
{
    return ggml_backend_dev_supports_op(cpu_device(), op);
}

static bool device_supports_buft(ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft)
{
    return buft == device_buft(dev);
}

static void make_device(struct many *d, size_t number, const char *id, size_t id_len)
{
    snprintf(d->name, sizeof(d->name), "Many%zu", number);
    snprintf(d->id, sizeof(d->id), "%.*s", (int)id_len, id);
    d->dev = (struct ggml_backend_device){
        .iface =
            {
                .get_name = device_name,
                .get_description = device_description,
                .get_memory = device_memory,
                .get_type = device_type,
                .get_props = device_props,
                .init_backend = device_stream,
                .get_buffer_type = device_buft,
                .supports_op = device_supports_op,
                .supports_buft = device_supports_buft,
            },
        .reg = &the_reg,
        .context = d,
    };
    d->buft = (struct ggml_backend_buffer_type){
        .iface = {.get_name = buft_name,
                  .alloc_buffer = buft_alloc,
                  .get_alignment = buft_alignment},
        .device = &d->dev,
        .context = d,
    };
}

/* ---- The registry's entry ---- */

static const char *reg_name(ggml_backend_reg_t reg)
{
    return "Many";
}

static size_t reg_count(ggml_backend_reg_t reg)
{
    return n_devices;
}

static ggml_backend_dev_t reg_device(ggml_backend_reg_t reg, size_t i)
{
    return i < n_devices ? &devices[i].dev : NULL;
}

static void *reg_proc_address(ggml_backend_reg_t reg, const char *name)
{
    return !strcmp(name, "ggml_backend_set_n_threads") ? (void *)set_n_threads : NULL;
}

static struct ggml_backend_reg the_reg = {
    .api_version = VGR_GGML_API,
    .iface = {reg_name, reg_count, reg_device, reg_proc_address},
};

ggml_backend_reg_t ggml_backend_init(void)
{
    const char *number = getenv("GGML_MANY_DEVICES"), *id = getenv("GGML_MANY_IDS");
    unsigned long n = number ? strtoul(number, NULL, 10) : 3;

    for (n_devices = 0; n_devices < n && n_devices < MAX_DEVICES; n_devices++) {
        size_t len = id ? strcspn(id, ",") : 0;

        make_device(&devices[n_devices], n_devices, id ? id : "", len);
        id = id && id[len] ? id + len + 1 : NULL;
    }
    return &the_reg;
}
