/* SPDX-License-Identifier: MIT
 *
 * The host buffer type: the program's own memory that the device reads and writes in place.
 *
 * Theory of operation
 * -------------------
 *
 * GGML programs put what they send to a device and get from it into memory of the device's host
 * buffer type. Ours lies in the arena, where the worker sees it: a download goes straight there, an
 * asynchronous upload is read from there, and neither is copied in the guest (xfer.c looks where a
 * pointer points). To everybody else it is ordinary memory.
 *
 * The arena is small. A buffer that does not fit, or would take more than half of the pool, is
 * ordinary memory in fact, and its transfers are copied as any other's.
 */
#include "guest/device.h"
#include "guest/log.h"

static const char *host_get_name(ggml_backend_buffer_type_t buft)
{
    return ((struct vgr_device *)buft->context)->host_name;
}

static void free_block(struct vgr_conn *c, uint64_t off)
{
    if (!c->inherited) {
        pthread_mutex_lock(&c->pool_lock);
        vgr_pool_free(&c->pool, off);
        pthread_mutex_unlock(&c->pool_lock);
    }
    vgr_conn_release(c);
}

static void host_free_buffer(ggml_backend_buffer_t buffer)
{
    struct vgr_conn *c = vgr_conn_hold_at(buffer->context);

    if (!c)
        return;
    /* The worker may still be at it. */
    for (uint32_t i = 0; i < c->reply.n_devices; i++)
        vgr_queue_wait(c->queue[i], __atomic_load_n(&c->queue[i]->pool_seq, __ATOMIC_RELAXED));
    free_block(c, (uint64_t)((uint8_t *)buffer->context - c->transport.arena));
    vgr_conn_release(c);
}

static ggml_backend_buffer_t host_alloc_buffer(ggml_backend_buffer_type_t buft, size_t size)
{
    struct vgr_conn *c = vgr_conn_hold_working(((struct vgr_device *)buft->context)->host);
    ggml_backend_buffer_t buffer;
    uint64_t off = 0;

    if (c && size <= c->pool.size / 2) {
        pthread_mutex_lock(&c->pool_lock);
        off = vgr_pool_alloc(&c->pool, size);
        pthread_mutex_unlock(&c->pool_lock);
    }
    if (!off) {
        if (c)
            vgr_conn_release(c);
        vgr_say_debug("a host buffer of %zu bytes does not fit the arena: plain memory", size);
        return ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    }
    buffer = ggml_backend_cpu_buffer_from_ptr(c->transport.arena + off, size);
    if (!buffer) {
        free_block(c, off);
        return NULL;
    }
    /* GGML's buffer of somebody else's memory, but for whose it is. It holds the connection. */
    buffer->buft = buft;
    buffer->iface.free_buffer = host_free_buffer;
    vgr_count(c->counters.host_buffers, 1);
    return buffer;
}

static size_t host_get_alignment(ggml_backend_buffer_type_t buft)
{
    return ggml_backend_buft_get_alignment(ggml_backend_cpu_buffer_type());
}

static bool host_is_host(ggml_backend_buffer_type_t buft)
{
    return true;
}

void vgr_host_buft_init(struct vgr_device *d)
{
    d->host_buft = (struct ggml_backend_buffer_type){
        .iface =
            {
                .get_name = host_get_name,
                .alloc_buffer = host_alloc_buffer,
                .get_alignment = host_get_alignment,
                .is_host = host_is_host,
            },
        .device = &d->dev,
        .context = d,
    };
}
