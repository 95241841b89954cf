/* SPDX-License-Identifier: MIT
 *
 * gpu_cmd.h - virtio-gpu as far as a device without a display needs it (Virtual I/O Device 1.3,
 * section 5.7). Little-endian, as all of ours.
 */
#ifndef VGR_DEVICE_GPU_CMD_H
#define VGR_DEVICE_GPU_CMD_H

#include <assert.h>
#include <stdint.h>

enum {                      /* feature bits */
       VGR_GPU_F_VIRGL = 0, /* 3D commands */
       VGR_GPU_F_EDID = 1,
};

enum vgr_gpu_cmd_type {
    VGR_GPU_GET_DISPLAY_INFO = 0x100,
    VGR_GPU_RESOURCE_CREATE_2D,
    VGR_GPU_RESOURCE_UNREF,
    VGR_GPU_SET_SCANOUT,
    VGR_GPU_RESOURCE_FLUSH,
    VGR_GPU_TRANSFER_TO_HOST_2D,
    VGR_GPU_ATTACH_BACKING,
    VGR_GPU_DETACH_BACKING,
    VGR_GPU_GET_CAPSET_INFO,
    VGR_GPU_GET_CAPSET,

    VGR_GPU_CTX_CREATE = 0x200,
    VGR_GPU_CTX_DESTROY,
    VGR_GPU_CTX_ATTACH_RESOURCE,
    VGR_GPU_CTX_DETACH_RESOURCE,
    VGR_GPU_RESOURCE_CREATE_3D,
    VGR_GPU_TRANSFER_TO_HOST_3D,
    VGR_GPU_TRANSFER_FROM_HOST_3D,
    VGR_GPU_SUBMIT_3D,

    VGR_GPU_UPDATE_CURSOR = 0x300,
    VGR_GPU_MOVE_CURSOR,
};

enum vgr_gpu_resp_type {
    VGR_GPU_OK = 0x1100,
    VGR_GPU_OK_DISPLAY_INFO,
    VGR_GPU_OK_CAPSET_INFO,
    VGR_GPU_OK_CAPSET,

    VGR_GPU_ERR_UNSPEC = 0x1200,
    VGR_GPU_ERR_OUT_OF_MEMORY,
    VGR_GPU_ERR_SCANOUT_ID,
    VGR_GPU_ERR_RESOURCE_ID,
    VGR_GPU_ERR_CONTEXT_ID,
    VGR_GPU_ERR_PARAMETER,
};

#define VGR_GPU_FLAG_FENCE 1u

/* Starts each command and each response. */
struct vgr_gpu_hdr {
    uint32_t type;
    uint32_t flags;
    uint64_t fence_id;
    uint32_t ctx_id;
    uint8_t ring_idx;
    uint8_t padding[3];
};
static_assert(sizeof(struct vgr_gpu_hdr) == 24, "spec");

/* What follows the header. CREATE_*, UNREF, DETACH_BACKING, CTX_*_RESOURCE begin with (or are) a
 * resource id; what a texture looks like does not interest us. */
struct vgr_gpu_resource_id {
    uint32_t resource_id;
    uint32_t padding;
};

struct vgr_gpu_attach_backing {
    uint32_t resource_id;
    uint32_t n_entries; /* x struct vgr_gpu_mem_entry */
};

struct vgr_gpu_mem_entry {
    uint64_t addr;
    uint32_t length;
    uint32_t padding;
};
static_assert(sizeof(struct vgr_gpu_mem_entry) == 16, "spec");

struct vgr_gpu_submit {
    uint32_t size; /* of the data that follows */
    uint32_t padding;
};

struct vgr_gpu_get_capset_info {
    uint32_t index;
    uint32_t padding;
};

struct vgr_gpu_capset_info {
    uint32_t id;
    uint32_t max_version;
    uint32_t max_size;
    uint32_t padding;
};

struct vgr_gpu_get_capset {
    uint32_t id;
    uint32_t version;
};

#define VGR_GPU_MAX_SCANOUTS 16

struct vgr_gpu_display {
    uint32_t x, y, width, height;
    uint32_t enabled;
    uint32_t flags;
};

/* Config space. */
struct vgr_gpu_config {
    uint32_t events_read;
    uint32_t events_clear;
    uint32_t num_scanouts; /* QEMU puts max_outputs there */
    uint32_t num_capsets;
    uint32_t blob_alignment;
};
static_assert(sizeof(struct vgr_gpu_config) == 20, "spec");

#endif
