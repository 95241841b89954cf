/* SPDX-License-Identifier: MIT
 *
 * backends.h - the host's GGML devices that a context may use.
 */
#ifndef VGR_WORKER_BACKENDS_H
#define VGR_WORKER_BACKENDS_H

#include <ggml-backend.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/ggml_abi.h"
#include "protocol/wire.h"
#include "worker/arena.h"

struct vgr_dma; /* dma.h */

/* Small uploads wait here for an asynchronous stream that reads them later. */
#define VGR_STAGING_SIZE (256u << 10)

struct vgr_host_device {
    ggml_backend_dev_t dev;
    ggml_backend_buffer_type_t buft;
    char id[64];    /* GGML's device_id; "": it has none */
    bool async;     /* its streams run behind: completion needs a synchronize */
    bool own_queue; /* may be used by a thread while another thread uses other devices */
    /* Async devices: memory that the device reads by itself where it offers such (pinned). Only
     * from there an upload is truly asynchronous. Made with the first stream. NULL: uploads wait. */
    bool pinned;
    ggml_backend_buffer_t staging;
    uint8_t *staging_base;
    uint32_t staging_used;
    /* Devices with staging memory: lets the device write results into the arena by itself, NULL if it
     * cannot. Made with the staging memory. */
    struct vgr_dma *dma;
    /* A backend that is only asked for the order of graphs: what it may note down about them must
     * not reach those that compute. Made with the first question; NULL: it has no opinion. */
    bool order_asked;
    ggml_backend_t orderer;
};

struct vgr_backends {
    uint32_t n;
    struct vgr_host_device device[VGR_MAX_DEVICES];
};

/* Loads GGML's backends and picks devices: those named, in that order, or with n_names == 0 every
 * GPU once, or the CPU where there is none. Logs what is wrong. Returns 0, -ENOENT for an unknown name or
 * no device at all. Call once per process. */
int vgr_backends_load(struct vgr_backends *b, const char (*names)[64], uint32_t n_names);

/* Fills the wire's description of device `i`. */
void vgr_backends_describe(const struct vgr_backends *b, uint32_t i, struct vgr_device_info *info);

/* The same of its id. */
void vgr_backends_id(const struct vgr_backends *b, uint32_t i, struct vgr_device_id *id);

/* A new stream of device `i` with the thread count of this machine; NULL on failure. The device may write
 * results into `arena` from then on. */
ggml_backend_t vgr_backends_stream(struct vgr_backends *b, uint32_t i,
                                   const struct vgr_arena *arena);

/* Copies `len` bytes to the device's staging memory and returns where, or NULL if there is none or no
 * room left (then synchronize and set staging_used to 0). */
const void *vgr_backends_stage(struct vgr_host_device *d, const void *data, uint32_t len);

/* Lets device `i` reorder the nodes of `graph` in place and state its wishes to `params`
 * (graph_optimize). False if the device never does such a thing. */
bool vgr_backends_reorder(struct vgr_backends *b, uint32_t i, struct ggml_cgraph *graph,
                          struct ggml_backend_graph_optimize_params *params);

/* Prints a table of the devices to stdout. */
void vgr_backends_list(const struct vgr_backends *b);

#endif
