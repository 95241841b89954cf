/* SPDX-License-Identifier: MIT */
#include "worker/backends.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "worker/dma.h"

/* Behind the staging memory: what vgr_dma_new() wants. */
#define FENCE_SIZE 64

static const char *const type_names[] = {"CPU", "GPU", "IGPU", "ACCEL", "META"};

/* GGML logs in pieces and with newlines, several in a message at times; its errors are ours, its chatter is
 * for debugging. */
static void ggml_to_log(enum ggml_log_level level, const char *text, void *user)
{
    enum vgr_log_level to = level == GGML_LOG_LEVEL_ERROR  ? VGR_LOG_ERROR
                            : level == GGML_LOG_LEVEL_WARN ? VGR_LOG_WARN
                                                           : VGR_LOG_DEBUG;

    (void)user;
    while (*text) {
        size_t line = strcspn(text, "\n"), len = line;

        while (len && text[len - 1] == '.')
            len--;
        if (len)
            vgr_log(to, "ggml: %.*s", (int)len, text);
        text += line + (text[line] == '\n');
    }
}

static int add(struct vgr_backends *b, ggml_backend_dev_t dev)
{
    struct ggml_backend_dev_props props;
    struct vgr_host_device *d;

    if (b->n == VGR_MAX_DEVICES)
        return -ENOSPC;
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->device[i].dev == dev)
            return 0;
    }
    d = &b->device[b->n];
    ggml_backend_dev_get_props(dev, &props);
    d->dev = dev;
    d->buft = ggml_backend_dev_buffer_type(dev);
    d->async = props.caps.async;
    snprintf(d->id, sizeof(d->id), "%s", props.device_id ? props.device_id : "");
    /* The devices of an RPC server share a connection to it, which knows no threads. */
    d->own_queue = strcmp(ggml_backend_reg_name(ggml_backend_dev_backend_reg(dev)), "RPC") != 0;
    if (!d->buft)
        return -ENODEV;
    d->pinned = d->async && props.caps.host_buffer;
    b->n++;
    return 0;
}

/* The names of this host's devices, as "A, B, C". */
static void list_choice(char *buf, size_t cap)
{
    size_t n = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < ggml_backend_dev_count() && n < cap; i++)
        n += (size_t)snprintf(buf + n, cap - n, "%s%s", i ? ", " : "",
                              ggml_backend_dev_name(ggml_backend_dev_get(i)));
}

static int pick_named(struct vgr_backends *b, const char (*names)[64], uint32_t n_names)
{
    for (uint32_t i = 0; i < n_names; i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_by_name(names[i]);

        if (!dev) {
            char choice[256];

            list_choice(choice, sizeof(choice));
            vgr_error("no device named %s; this host has %s", names[i], choice);
            return -ENOENT;
        }
        if (add(b, dev)) {
            vgr_error("device %s cannot be used", names[i]);
            return -ENOENT;
        }
    }
    return 0;
}

/* The device that is this GPU through another backend, or NULL. */
static const struct vgr_host_device *find_same(const struct vgr_backends *b, ggml_backend_dev_t dev)
{
    struct ggml_backend_dev_props props;

    ggml_backend_dev_get_props(dev, &props);
    for (uint32_t i = 0; props.device_id && props.device_id[0] && i < b->n; i++) {
        if (!strcmp(b->device[i].id, props.device_id))
            return &b->device[i];
    }
    return NULL;
}

/* One GPU is offered once, through the backend that GGML loads first, as programs use it natively. */
static void pick_type(struct vgr_backends *b, enum ggml_backend_dev_type type)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        const struct vgr_host_device *same;

        if (ggml_backend_dev_type(dev) != type)
            continue;
        same = find_same(b, dev);
        if (same)
            vgr_info("%s is the same GPU as %s (%s): not offered, unless it is named",
                     ggml_backend_dev_name(dev), ggml_backend_dev_name(same->dev), same->id);
        else
            add(b, dev);
    }
}

int vgr_backends_load(struct vgr_backends *b, const char (*names)[64], uint32_t n_names)
{
    memset(b, 0, sizeof(*b));
    ggml_log_set(ggml_to_log, NULL);
    ggml_backend_load_all();
    if (!ggml_backend_dev_count()) {
        vgr_error("GGML found no backend: is its backend folder (ggml/backends*) installed?");
        return -ENOENT;
    }

    if (n_names)
        return pick_named(b, names, n_names);

    pick_type(b, GGML_BACKEND_DEVICE_TYPE_GPU);
    if (!b->n)
        pick_type(b, GGML_BACKEND_DEVICE_TYPE_IGPU);
    if (!b->n)
        pick_type(b, GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!b->n) {
        vgr_error("no usable device");
        return -ENOENT;
    }
    return 0;
}

void vgr_backends_describe(const struct vgr_backends *b, uint32_t i, struct vgr_device_info *info)
{
    const struct vgr_host_device *d = &b->device[i];
    size_t free = 0, total = 0;

    memset(info, 0, sizeof(*info));
    snprintf(info->name, sizeof(info->name), "%s", ggml_backend_dev_name(d->dev));
    snprintf(info->description, sizeof(info->description), "%s",
             ggml_backend_dev_description(d->dev));
    info->type = (uint32_t)ggml_backend_dev_type(d->dev);
    info->flags = d->own_queue ? VGR_DEVICE_OWN_QUEUE : 0;
    info->alignment = ggml_backend_buft_get_alignment(d->buft);
    info->max_size = ggml_backend_buft_get_max_size(d->buft);
    ggml_backend_dev_memory(d->dev, &free, &total);
    info->memory_free = free;
    info->memory_total = total;
}

void vgr_backends_id(const struct vgr_backends *b, uint32_t i, struct vgr_device_id *id)
{
    memset(id, 0, sizeof(*id));
    snprintf(id->id, sizeof(id->id), "%s", b->device[i].id);
}

static void make_staging(struct vgr_host_device *d, const struct vgr_arena *arena)
{
    ggml_backend_buffer_type_t host = ggml_backend_dev_host_buffer_type(d->dev);

    d->pinned = false; /* one try */
    d->staging = host ? ggml_backend_buft_alloc_buffer(host, VGR_STAGING_SIZE + FENCE_SIZE) : NULL;
    d->staging_base = d->staging ? ggml_backend_buffer_get_base(d->staging) : NULL;
    if (d->staging_base)
        d->dma = vgr_dma_new(d->dev, arena, d->staging_base + VGR_STAGING_SIZE);
}

ggml_backend_t vgr_backends_stream(struct vgr_backends *b, uint32_t i,
                                   const struct vgr_arena *arena)
{
    ggml_backend_dev_t dev = b->device[i].dev;
    ggml_backend_t backend = ggml_backend_dev_init(dev, NULL);
    ggml_backend_set_n_threads_t set_n_threads;
    cpu_set_t cpus;

    if (!backend)
        return NULL;
    if (b->device[i].pinned)
        make_staging(&b->device[i], arena);
    /* GGML's own default of four threads is wrong on most machines. */
    set_n_threads = (ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(dev), "ggml_backend_set_n_threads");
    if (set_n_threads && !sched_getaffinity(0, sizeof(cpus), &cpus))
        set_n_threads(backend, CPU_COUNT(&cpus));
    return backend;
}

const void *vgr_backends_stage(struct vgr_host_device *d, const void *data, uint32_t len)
{
    uint8_t *at;

    if (!d->staging_base || len > VGR_STAGING_SIZE - d->staging_used)
        return NULL;
    at = d->staging_base + d->staging_used;
    memcpy(at, data, len);
    d->staging_used += (len + 63) & ~63u; /* the size is a multiple of 64, too */
    return at;
}

/* GGML has no public call for graph_optimize: it is read from the backend, if the backend is laid out
 * as we know it. */
static void make_orderer(struct vgr_host_device *d)
{
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(d->dev);

    d->order_asked = true;
    if (!reg || reg->api_version != VGR_GGML_API)
        return;
    d->orderer = ggml_backend_dev_init(d->dev, NULL);
    if (d->orderer && !d->orderer->iface.graph_optimize) {
        ggml_backend_free(d->orderer);
        d->orderer = NULL;
    }
}

bool vgr_backends_reorder(struct vgr_backends *b, uint32_t i, struct ggml_cgraph *graph,
                          struct ggml_backend_graph_optimize_params *params)
{
    struct vgr_host_device *d = &b->device[i];

    if (!d->order_asked)
        make_orderer(d);
    if (!d->orderer)
        return false;
    d->orderer->iface.graph_optimize(d->orderer, graph, params);
    return true;
}

void vgr_backends_list(const struct vgr_backends *b)
{
    printf("%-12s %-6s %12s %12s  %s\n", "NAME", "TYPE", "FREE MiB", "TOTAL MiB", "DESCRIPTION");
    for (uint32_t i = 0; i < b->n; i++) {
        struct vgr_device_info info;

        vgr_backends_describe(b, i, &info);
        printf("%-12s %-6s %12" PRIu64 " %12" PRIu64 "  %s\n", info.name,
               info.type < 5 ? type_names[info.type] : "?", info.memory_free >> 20,
               info.memory_total >> 20, info.description);
    }
}
