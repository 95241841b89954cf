/* SPDX-License-Identifier: MIT
 *
 * device.h - what GGML sees of us: registry, devices, buffer types, buffers, streams.
 *
 * reg.c makes one vgr_device for each device that the host offers. The GGML structs are embedded in
 * ours and live as long as the process. device.c answers questions about a device, buffer.c manages
 * its memory, stream.c its backends ("streams" here) and events.
 */
#ifndef VGR_GUEST_DEVICE_H
#define VGR_GUEST_DEVICE_H

#include <pthread.h>

#include "guest/conn.h"
#include "guest/opcache.h"
#include "protocol/ggml_abi.h"

struct vgr_device {
    struct vgr_host *host;
    uint32_t index;              /* on the host */
    char name[32];               /* "VirtGPU0" */
    struct vgr_device_info info; /* as first told; GGML holds on to the texts */
    char id[72];                 /* GGML's device_id; "": not known */
    struct ggml_backend_device dev;
    char host_name[40]; /* "VirtGPU0_Host" */
    struct ggml_backend_buffer_type buft, host_buft;
    pthread_mutex_t cache_lock; /* held while a question is asked, so that it is asked once */
    struct vgr_opcache cache;
    uint64_t cache_of; /* serial of the connection that gave the answers */
};

/* Fills in a device: `index` on the host to which `c` is a connection, `number` in our names. */
void vgr_device_init(struct vgr_device *d, const struct vgr_conn *c, uint32_t index,
                     uint32_t number, ggml_backend_reg_t reg);

/* For the child of a fork(): another thread may have been asking. */
void vgr_device_forked(struct vgr_device *d);

/* The host's answer about an op, or about a tensor's memory alone (`as_leaf`). False if the host
 * cannot have an answer (it lacks an op or a type) or cannot be reached. */
bool vgr_device_ask(struct vgr_device *d, const struct ggml_tensor *op, bool as_leaf,
                    struct vgr_query_reply *answer);

/* Bytes that a tensor takes in a buffer of the device. */
size_t vgr_device_alloc_size(struct vgr_device *d, const struct ggml_tensor *t);

/* The slots of the buffer type (buffer.c). */
void vgr_buft_init(struct vgr_device *d);

/* The same for the host buffer type (hostbuf.c). */
void vgr_host_buft_init(struct vgr_device *d);

/* ggml_backend_buffer_i.free_buffer of our buffers; also how they are recognized. */
void vgr_buffer_free(ggml_backend_buffer_t buffer);

/* ggml_backend_device_i.init_backend, and the events of a device (stream.c). */
ggml_backend_t vgr_stream_new(ggml_backend_dev_t dev, const char *params);
ggml_backend_event_t vgr_event_new(ggml_backend_dev_t dev);
void vgr_event_free(ggml_backend_dev_t dev, ggml_backend_event_t event);
void vgr_event_synchronize(ggml_backend_dev_t dev, ggml_backend_event_t event);

#endif
