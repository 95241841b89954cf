/* SPDX-License-Identifier: MIT
 *
 * vhost_request.h - what the requests of QEMU do (vhost.h).
 */
#ifndef VGR_DEVICE_VHOST_REQUEST_H
#define VGR_DEVICE_VHOST_REQUEST_H

#include "device/vhost.h"

/* Serves a message and answers it. 0, or -errno: the connection is to be closed. With v->stopping set
 * the answer waits for workers to end: then call the second one. */
int vgr_vhost_serve(struct vgr_vhost *v, struct vgr_vhost_msg *m);
int vgr_vhost_serve_rest(struct vgr_vhost *v, struct vgr_vhost_msg *m);

/* Starts or stops a queue as its fields say. */
void vgr_vhost_update(struct vgr_vhost *v, struct vgr_vhost_queue *q);

/* Says once in the log that the guest's memory is not shared. */
void vgr_vhost_not_shared(struct vgr_vhost *v);

#endif
