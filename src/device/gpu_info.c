/* SPDX-License-Identifier: MIT */
#include "device/gpu_info.h"

#include "device/gpu_cmd.h"

static uint32_t display_info(const void **payload, size_t *len)
{
    static const struct vgr_gpu_display none[VGR_GPU_MAX_SCANOUTS];

    *payload = none;
    *len = sizeof(none);
    return VGR_GPU_OK_DISPLAY_INFO;
}

static uint32_t capset_info(struct vgr_chain *c, const void **payload, size_t *len)
{
    static const struct vgr_gpu_capset_info info = {
        .id = VGR_CAPSET_ID,
        .max_version = VGR_CAPSET_VERSION,
        .max_size = sizeof(struct vgr_capset),
    };
    struct vgr_gpu_get_capset_info cmd;

    if (vgr_chain_read(c, &cmd, sizeof(cmd)) != sizeof(cmd) || cmd.index)
        return VGR_GPU_ERR_PARAMETER;
    *payload = &info;
    *len = sizeof(info);
    return VGR_GPU_OK_CAPSET_INFO;
}

static uint32_t capset(const struct vgr_gpu *gpu, struct vgr_chain *c, const void **payload,
                       size_t *len)
{
    struct vgr_gpu_get_capset cmd;

    if (vgr_chain_read(c, &cmd, sizeof(cmd)) != sizeof(cmd) || cmd.id != VGR_CAPSET_ID ||
        cmd.version > VGR_CAPSET_VERSION)
        return VGR_GPU_ERR_PARAMETER;
    *payload = &gpu->capset;
    *len = sizeof(gpu->capset);
    return VGR_GPU_OK_CAPSET;
}

uint32_t vgr_gpu_info(const struct vgr_gpu *gpu, uint32_t type, struct vgr_chain *c,
                      const void **payload, size_t *len)
{
    switch (type) {
    case VGR_GPU_GET_DISPLAY_INFO:
        return display_info(payload, len);
    case VGR_GPU_GET_CAPSET_INFO:
        return capset_info(c, payload, len);
    default:
        return capset(gpu, c, payload, len);
    }
}
