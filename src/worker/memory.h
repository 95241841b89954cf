/* SPDX-License-Identifier: MIT
 *
 * memory.h - how much device memory a context may have.
 *
 * Two limits, each 0 for none: that of this context, and that of all contexts of the front together,
 * whose account (common/account.h) the workers share. Both count buffers that the guest asked for, on
 * all devices together, by the size that the backend made them. What a backend takes for itself,
 * scratch memory and compiled programs, nobody tells us.
 *
 * Thread-safe: all queues of a context count in one vgr_memory.
 */
#ifndef VGR_WORKER_MEMORY_H
#define VGR_WORKER_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/account.h"
#include "worker/backends.h"
#include "worker/boot.h"

struct vgr_memory {
    pthread_mutex_t lock; /* of held, and of our part of the account */
    uint64_t limit;       /* of this context */
    uint64_t held;        /* at most limit, if there is one */
    struct vgr_account_share account;
    bool told; /* atomic; a refusal is in the log */
};

/* As the front says; maps the account at its descriptors of boot.h and closes them. 0 or -errno. */
int vgr_memory_init(struct vgr_memory *m, const struct vgr_boot *boot);

/* A buffer of `size` bytes on `dev`, or what the backend makes of that, counted. NULL: there is none,
 * for the reason in *why, half a sentence. */
ggml_backend_buffer_t vgr_memory_alloc(struct vgr_memory *m, const struct vgr_host_device *dev,
                                       uint64_t size, const char **why);

/* Frees one that vgr_memory_alloc() made. */
void vgr_memory_free(struct vgr_memory *m, ggml_backend_buffer_t buffer);

/* Lowers a device's figures to what the limits leave. */
void vgr_memory_clamp(struct vgr_memory *m, uint64_t *free, uint64_t *total);

#endif
