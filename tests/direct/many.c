/* SPDX-License-Identifier: MIT
 *
 * A GGML backend of several devices, Many0 and so on, that say they are GPUs and compute on the CPU. Each has
 * memory that no other backend may touch. MANY_DEVICES in the environment is their number, 3 without it.
 * GGML_BACKEND_PATH has GGML load it, in a program or in a worker.
 */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/ggml_abi.h"

#define MOST 8

static struct ggml_backend_device devices[MOST];
static struct ggml_backend_buffer_type bufts[MOST];
static char names[MOST][16];
static size_t n_devices = 3;

static size_t number(ggml_backend_dev_t dev)
{
    return (size_t)(dev - devices);
}

static ggml_backend_dev_t cpu(void)
{
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
}

/* ---- Memory ---- */

static const char *buft_name(ggml_backend_buffer_type_t buft)
{
    return names[number(buft->device)];
}

static ggml_backend_buffer_t buft_alloc(ggml_backend_buffer_type_t buft, size_t size)
{
    ggml_backend_buffer_t buffer =
        ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);

    if (buffer)
        buffer->buft = buft;
    return buffer;
}

static size_t buft_alignment(ggml_backend_buffer_type_t buft)
{
    (void)buft;
    return 64;
}

static bool buft_is_host(ggml_backend_buffer_type_t buft)
{
    (void)buft;
    return false;
}

/* ---- Devices ---- */

static const char *dev_name(ggml_backend_dev_t dev)
{
    return names[number(dev)];
}

static void dev_memory(ggml_backend_dev_t dev, size_t *free, size_t *total)
{
    (void)dev;
    *free = *total = (size_t)8 << 30;
}

static enum ggml_backend_dev_type dev_type(ggml_backend_dev_t dev)
{
    (void)dev;
    return GGML_BACKEND_DEVICE_TYPE_GPU;
}

static void dev_props(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props)
{
    *props = (struct ggml_backend_dev_props){
        .name = dev_name(dev), .description = "one of many", .type = dev_type(dev)};
    dev_memory(dev, &props->memory_free, &props->memory_total);
}

static const char *dev_description(ggml_backend_dev_t dev)
{
    (void)dev;
    return "one of many";
}

static ggml_backend_t dev_init(ggml_backend_dev_t dev, const char *params)
{
    ggml_backend_t backend = ggml_backend_dev_init(cpu(), params);

    if (backend)
        backend->device = dev;
    return backend;
}

static ggml_backend_buffer_type_t dev_buft(ggml_backend_dev_t dev)
{
    return &bufts[number(dev)];
}

static bool dev_supports_op(ggml_backend_dev_t dev, const struct ggml_tensor *op)
{
    (void)dev;
    return ggml_backend_dev_supports_op(cpu(), op);
}

static bool dev_supports_buft(ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft)
{
    return buft == dev_buft(dev);
}

/* ---- Registry ---- */

static const char *reg_name(ggml_backend_reg_t reg)
{
    (void)reg;
    return "Many";
}

static size_t reg_count(ggml_backend_reg_t reg)
{
    (void)reg;
    return n_devices;
}

static ggml_backend_dev_t reg_device(ggml_backend_reg_t reg, size_t index)
{
    (void)reg;
    return &devices[index];
}

__attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init(void);

ggml_backend_reg_t ggml_backend_init(void)
{
    static struct ggml_backend_reg reg = {
        .api_version = VGR_GGML_API,
        .iface = {.get_name = reg_name, .get_device_count = reg_count, .get_device = reg_device},
    };
    const char *n = getenv("MANY_DEVICES");

    if (n && atoi(n) > 0 && atoi(n) <= MOST)
        n_devices = (size_t)atoi(n);
    for (size_t i = 0; i < n_devices; i++) {
        snprintf(names[i], sizeof(names[i]), "Many%zu", i);
        devices[i].reg = &reg;
        devices[i].iface.get_name = dev_name;
        devices[i].iface.get_description = dev_description;
        devices[i].iface.get_memory = dev_memory;
        devices[i].iface.get_type = dev_type;
        devices[i].iface.get_props = dev_props;
        devices[i].iface.init_backend = dev_init;
        devices[i].iface.get_buffer_type = dev_buft;
        devices[i].iface.supports_op = dev_supports_op;
        devices[i].iface.supports_buft = dev_supports_buft;
        bufts[i].device = &devices[i];
        bufts[i].iface.get_name = buft_name;
        bufts[i].iface.alloc_buffer = buft_alloc;
        bufts[i].iface.get_alignment = buft_alignment;
        bufts[i].iface.is_host = buft_is_host;
    }
    return &reg;
}
