/* SPDX-License-Identifier: MIT */
#include "worker/backends.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

static const char *const type_names[] = {"CPU", "GPU", "IGPU", "ACCEL", "META"};

/* GGML logs in pieces and with newlines; its errors are ours, its chatter is for debugging. */
static void ggml_to_log(enum ggml_log_level level, const char *text, void *user)
{
    size_t len = strlen(text);
    enum vgr_log_level to = level == GGML_LOG_LEVEL_ERROR  ? VGR_LOG_ERROR
                            : level == GGML_LOG_LEVEL_WARN ? VGR_LOG_WARN
                                                           : VGR_LOG_DEBUG;

    (void)user;
    while (len && (text[len - 1] == '\n' || text[len - 1] == '.'))
        len--;
    if (len)
        vgr_log(to, "ggml: %.*s", (int)len, text);
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
    if (!d->buft)
        return -ENODEV;
    b->n++;
    return 0;
}

static void log_choice(void)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++)
        vgr_error("this host has device %s", ggml_backend_dev_name(ggml_backend_dev_get(i)));
}

static int pick_named(struct vgr_backends *b, const char (*names)[64], uint32_t n_names)
{
    for (uint32_t i = 0; i < n_names; i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_by_name(names[i]);

        if (!dev) {
            vgr_error("no device named %s", names[i]);
            log_choice();
            return -ENOENT;
        }
        if (add(b, dev)) {
            vgr_error("device %s cannot be used", names[i]);
            return -ENOENT;
        }
    }
    return 0;
}

static void pick_type(struct vgr_backends *b, enum ggml_backend_dev_type type)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);

        if (ggml_backend_dev_type(dev) == type)
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
    info->alignment = ggml_backend_buft_get_alignment(d->buft);
    info->max_size = ggml_backend_buft_get_max_size(d->buft);
    ggml_backend_dev_memory(d->dev, &free, &total);
    info->memory_free = free;
    info->memory_total = total;
}

ggml_backend_t vgr_backends_stream(const struct vgr_backends *b, uint32_t i)
{
    ggml_backend_dev_t dev = b->device[i].dev;
    ggml_backend_t backend = ggml_backend_dev_init(dev, NULL);
    ggml_backend_set_n_threads_t set_n_threads;
    cpu_set_t cpus;

    if (!backend)
        return NULL;
    /* GGML's own default of four threads is wrong on most machines. */
    set_n_threads = (ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(dev), "ggml_backend_set_n_threads");
    if (set_n_threads && !sched_getaffinity(0, sizeof(cpus), &cpus))
        set_n_threads(backend, CPU_COUNT(&cpus));
    return backend;
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
