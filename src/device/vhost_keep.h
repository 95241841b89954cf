/* SPDX-License-Identifier: MIT
 *
 * vhost_keep.h - what of a VM outlives its front, and how the next front takes it over.
 *
 * Theory of operation
 * -------------------
 *
 * What QEMU said is sent to the keeper whenever it has changed: the connection itself, the display
 * socket, memory, queues. What the guest does all the time, chains taken and contexts opened, stands
 * in a record, a file that front and successor map one after the other. Both are about one connection.
 *
 * A front that takes over tells the guest's programs that their contexts are gone, starts the queues
 * where they were left, and answers what the former one had not. QEMU takes no part in this. It waits
 * for an answer only while a request of its own is served, which the record tells: then nobody knows
 * what it was about, and the connection must be given up.
 */
#ifndef VGR_DEVICE_VHOST_KEEP_H
#define VGR_DEVICE_VHOST_KEEP_H

#include "device/vhost.h"

/* A fresh record for a connection that begins; without one, after a line in the log, it goes on too. */
void vgr_vhost_record_open(struct vgr_vhost *v);
void vgr_vhost_record_close(struct vgr_vhost *v);

/* QEMU waits, or may be waiting, for the answer to a request. */
void vgr_vhost_busy(struct vgr_vhost *v, bool busy);

/* Has the keeper keep the connection as it is now. */
void vgr_vhost_keep(struct vgr_vhost *v);

/* Takes over what was kept, but for the watch of the connection: v->fd is set, and all else as it was.
 * Returns 0; -ECONNRESET: the connection was given up; -EPROTO: kept by another version of this program,
 * nothing is touched; other -errno. Closes all of kept->fds that it has no use for. */
int vgr_vhost_restore(struct vgr_vhost *v, struct vgr_kept *kept);

#endif
