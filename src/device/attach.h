/* SPDX-License-Identifier: MIT
 *
 * attach.h - which resources are attached to which contexts.
 *
 * A context in the table has a place of its own, and each resource a bit for each place. So whether the
 * two belong together is one look, whatever the guest has attached; a resource that goes looks at
 * VGR_GPU_MAX_CONTEXTS bits, and a context that goes at one bit of each resource. The event loop is
 * charged with both.
 */
#ifndef VGR_DEVICE_ATTACH_H
#define VGR_DEVICE_ATTACH_H

#include "device/gpu.h"

/* Gives a context that is in the table its place; nothing is attached to it. */
void vgr_attach_begin(struct vgr_gpu *gpu, struct vgr_context *c);

/* Detaches everything from a context, which goes out of the table. */
void vgr_attach_end(struct vgr_gpu *gpu, struct vgr_context *c);

/* 0; -ENOSPC: too many. Attaching twice is fine. */
int vgr_attach(struct vgr_context *c, struct vgr_resource *res);

/* No-op if it is not attached. */
void vgr_detach(struct vgr_context *c, struct vgr_resource *res);

/* Detaches a resource, which goes, from all contexts. */
void vgr_detach_all(struct vgr_gpu *gpu, struct vgr_resource *res);

bool vgr_attached(const struct vgr_context *c, const struct vgr_resource *res);

#endif
