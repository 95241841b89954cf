/* SPDX-License-Identifier: MIT */
#include "worker/memory.h"

#include <unistd.h>

int vgr_memory_init(struct vgr_memory *m, const struct vgr_boot *boot)
{
    int err;

    *m = (struct vgr_memory){.limit = boot->context_memory_limit};
    pthread_mutex_init(&m->lock, NULL);
    err = vgr_account_join(&m->account, VGR_BOOT_ACCOUNT_FD, VGR_BOOT_SLOT_FD, boot->account_slot,
                           boot->memory_limit, boot->context_memory_limit);
    close(VGR_BOOT_ACCOUNT_FD);
    close(VGR_BOOT_SLOT_FD);
    return err;
}

static bool take_locked(struct vgr_memory *m, uint64_t bytes, const char **why)
{
    if (m->limit && bytes > m->limit - m->held) {
        *why = "over --context-memory-limit";
        return false;
    }
    if (m->account.all && !vgr_account_take(&m->account, bytes)) {
        *why = "over --memory-limit";
        return false;
    }
    m->held += bytes;
    return true;
}

static bool take(struct vgr_memory *m, uint64_t bytes, const char **why)
{
    bool ok;

    pthread_mutex_lock(&m->lock);
    ok = take_locked(m, bytes, why);
    pthread_mutex_unlock(&m->lock);
    return ok;
}

static void give(struct vgr_memory *m, uint64_t bytes)
{
    pthread_mutex_lock(&m->lock);
    if (m->account.all)
        vgr_account_give(&m->account, bytes);
    m->held -= bytes;
    pthread_mutex_unlock(&m->lock);
}

/* More than the device has at all is refused before GGML tries: on a CPU the allocation would
 * succeed, and zeroing it would take the host down. */
static bool fits_device(const struct vgr_host_device *dev, uint64_t size)
{
    size_t free = 0, total = 0;

    ggml_backend_dev_memory(dev->dev, &free, &total);
    return size <= ggml_backend_buft_get_max_size(dev->buft) && (!total || size <= total);
}

ggml_backend_buffer_t vgr_memory_alloc(struct vgr_memory *m, const struct vgr_host_device *dev,
                                       uint64_t size, const char **why)
{
    ggml_backend_buffer_t buffer;
    uint64_t got;

    *why = "more than the device has";
    if (!fits_device(dev, size) || !take(m, size, why))
        return NULL;
    *why = "the device has no more";
    buffer = ggml_backend_buft_alloc_buffer(dev->buft, size);
    got = buffer ? ggml_backend_buffer_get_size(buffer) : 0;
    if (got > size && !take(m, got - size, why)) {
        ggml_backend_buffer_free(buffer);
        buffer = NULL;
        got = 0;
    }
    if (got < size)
        give(m, size - got);
    return buffer;
}

void vgr_memory_free(struct vgr_memory *m, ggml_backend_buffer_t buffer)
{
    uint64_t size = ggml_backend_buffer_get_size(buffer);

    ggml_backend_buffer_free(buffer);
    give(m, size);
}

static void clamp(uint64_t limit, uint64_t held, uint64_t *free, uint64_t *total)
{
    uint64_t left = held < limit ? limit - held : 0;

    if (!limit)
        return;
    if (*free > left)
        *free = left;
    if (*total > limit)
        *total = limit;
}

void vgr_memory_clamp(struct vgr_memory *m, uint64_t *free, uint64_t *total)
{
    pthread_mutex_lock(&m->lock);
    clamp(m->limit, m->held, free, total);
    pthread_mutex_unlock(&m->lock);
    if (m->account.all && m->account.limit)
        clamp(m->account.limit, vgr_account_sum(&m->account), free, total);
}
