/* SPDX-License-Identifier: MIT
 *
 * resource.h - the table of resources, for bridge.c. All with the bridge's lock.
 */
#ifndef VGR_VIRGL_RESOURCE_H
#define VGR_VIRGL_RESOURCE_H

#include "virgl/bridge.h"

/* One that has backing or is a blob of ours, or NULL. */
struct vgr_bridge_resource *vgr_resource_find(uint32_t id);
struct vgr_bridge_resource *vgr_resource_find_blob(uint32_t id);

/* Writes into the control page at the start of the resource that the context has failed, and why. On
 * the monitor's thread only: goes through its pointers. */
void vgr_resource_tell(const struct vgr_bridge_resource *res, enum vgr_error error,
                       const char *text);

/* All workers are ending: waits for those that have the guest's memory, as vgr_bridge_unbacked() does. */
void vgr_resources_release(void);

/* Drops all, after all contexts are gone. */
void vgr_resources_reset(void);

#endif
