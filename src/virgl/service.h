/* SPDX-License-Identifier: MIT
 *
 * service.h - the bridge's own thread, and where the broker is.
 *
 * It runs an event loop (device/loop.h) that only it touches: connections, wake-ups, a deadline. The
 * monitor's thread leaves its wishes in links (link.h) and kicks it.
 */
#ifndef VGR_VIRGL_SERVICE_H
#define VGR_VIRGL_SERVICE_H

#include "device/loop.h"
#include "protocol/wire.h"

/* Asks the broker of VGR_BROKER what it offers: at the monitor's start, a second at most. 0, or -errno
 * with a log line: there are no tensor devices. */
int vgr_service_ask(struct vgr_capset *capset);

/* Connects to the broker. One whose queue of connections is full is asked again a few times, for a tenth of a
 * second. The descriptor, or -errno. */
int vgr_service_connect(void);

/* Starts the thread if it does not run. 0 or -errno. */
int vgr_service_start(void);

/* With the lock: does it run? Where it could not be started, nobody looks at links. */
bool vgr_service_runs(void);

/* Has the thread look at the links, and at how long they hold fences, and deliver fences. Any thread, with
 * or without the lock. */
void vgr_service_kick(void);

#endif
