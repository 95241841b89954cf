/* SPDX-License-Identifier: MIT
 *
 * gpu_info.h - what the virtio-gpu device says of itself when it is asked: no display, one capset.
 */
#ifndef VGR_DEVICE_GPU_INFO_H
#define VGR_DEVICE_GPU_INFO_H

#include "device/gpu.h"

/* Answers a command of `type`, GET_DISPLAY_INFO, GET_CAPSET_INFO or GET_CAPSET, the rest of which is read
 * from the chain. Returns the type of the response; sets what goes with it, which is the device's own. */
uint32_t vgr_gpu_info(const struct vgr_gpu *gpu, uint32_t type, struct vgr_chain *c,
                      const void **payload, size_t *len);

#endif
