/* SPDX-License-Identifier: MIT
 *
 * The registry entry: the library's only way in.
 *
 * Loading the library opens nothing. Counting its devices, which GGML does at once, opens the
 * connections. Where there is nothing to connect to there are no devices, and the program never
 * notices that the library exists.
 */
#include <stdio.h>
#include <string.h>

#include "ggml-virtgpu.h"
#include "guest/device.h"
#include "guest/log.h"

static struct vgr_device devices[VGR_MAX_HOSTS * VGR_MAX_DEVICES];
static uint32_t n_devices;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool fits;

__attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init(void);

static const char *reg_get_name(ggml_backend_reg_t reg)
{
    return "VirtGPU";
}

static struct ggml_backend_reg the_reg;

/* Is the GGML that loaded us the one that we were built for? Layouts change between minor
 * versions, so these must be equal. */
static bool same_version(void)
{
    int major = -1, minor = -1, built_major = -2, built_minor = -2;

    sscanf(ggml_version(), "%d.%d", &major, &minor);
    sscanf(VGR_GGML_VERSION, "%d.%d", &built_major, &built_minor);
    return major == built_major && minor == built_minor;
}

static void in_child(void)
{
    for (uint32_t i = 0; i < n_devices; i++)
        vgr_device_forked(&devices[i]);
}

/* The child of a fork() in the middle of this begins anew. */
static void find_devices(void)
{
    unsigned n;

    n_devices = 0;
    pthread_atfork(NULL, NULL, in_child);
    n = vgr_hosts_find();
    for (unsigned h = 0; h < n; h++) {
        struct vgr_conn *c = vgr_conn_hold(vgr_host_at(h));

        for (uint32_t i = 0; i < c->reply.n_devices; i++, n_devices++)
            vgr_device_init(&devices[n_devices], c, i, n_devices, &the_reg);
        vgr_conn_release(c);
    }
}

static size_t reg_get_device_count(ggml_backend_reg_t reg)
{
    if (!fits)
        return 0;
    pthread_once(&once, find_devices);
    return n_devices;
}

static ggml_backend_dev_t reg_get_device(ggml_backend_reg_t reg, size_t index)
{
    return index < reg_get_device_count(reg) ? &devices[index].dev : NULL;
}

static void *reg_get_proc_address(ggml_backend_reg_t reg, const char *name)
{
    return !strcmp(name, "ggml_backend_virtgpu_stats") ? (void *)ggml_backend_virtgpu_stats : NULL;
}

static struct ggml_backend_reg the_reg = {
    .api_version = VGR_GGML_API,
    .iface =
        {
            .get_name = reg_get_name,
            .get_device_count = reg_get_device_count,
            .get_device = reg_get_device,
            .get_proc_address = reg_get_proc_address,
        },
};

ggml_backend_reg_t ggml_backend_virtgpu_reg(void)
{
    static bool said;

    fits = same_version();
    if (!fits && !__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
        vgr_say_warn("built for ggml %s, this is ggml %s: not used", VGR_GGML_VERSION,
                     ggml_version());
    return &the_reg;
}

size_t ggml_backend_virtgpu_stats(char *text, size_t size)
{
    size_t n = 0;

    if (!size || !reg_get_device_count(&the_reg))
        return 0;
    for (unsigned i = 0; vgr_host_at(i); i++) {
        struct vgr_conn *c = vgr_conn_hold(vgr_host_at(i));

        n += vgr_counters_print(&c->counters, text + n, size - n);
        vgr_conn_release(c);
    }
    return n;
}

/* What GGML's loader looks for in a backend library. */
ggml_backend_reg_t ggml_backend_init(void)
{
    return ggml_backend_virtgpu_reg();
}
