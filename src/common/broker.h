/* SPDX-License-Identifier: MIT
 *
 * broker.h - what a virtual machine's bridge (src/virgl) says to `vgr-device --broker`.
 *
 * The bridge is in the monitor's process; workers must not be its children, for a monitor in its
 * sandbox cannot fork. So it connects to a broker, which serves it as it serves direct clients: one
 * connection for each context, a SOCK_STREAM unix socket (crosvm's sandbox allows no other kind).
 *
 *   broker   struct vgr_broker_hello, at once, with the bridge's end of the worker's line (common/line.h): a
 *            monitor in its sandbox may not make one
 *   bridge   struct vgr_broker_open with 1 + n_files descriptors: a memfd with n_runs x struct
 *            vgr_boot_run, the files that hold the arena's pages
 *   broker   struct vgr_notice (protocol/wire.h) of VGR_BROKER_MAGIC, with a pidfd: the worker. Only
 *            by its end is it known to be gone if the broker itself should end
 *   broker   struct vgr_notice, if the context ends without its worker's word
 *   bridge   closes its direction (SHUT_WR): the context has ended
 *   broker   closes the connection: the worker is gone, and with it its mapping of the arena
 *
 * A bridge that only wants to know the capset closes the connection after the hello.
 */
#ifndef VGR_COMMON_BROKER_H
#define VGR_COMMON_BROKER_H

#include "protocol/wire.h"
#include "worker/boot.h"

#define VGR_BROKER_MAGIC   0x4b524256u /* "VBRK" */
#define VGR_BROKER_VERSION 3u
#define VGR_BROKER_NFDS    1u /* before the files */
#define VGR_BROKER_MAX_FDS (VGR_BROKER_NFDS + VGR_BOOT_MAX_FILES)

struct vgr_broker_hello {
    uint32_t magic;
    uint32_t version;
    struct vgr_capset capset;
};
static_assert(sizeof(struct vgr_broker_hello) == 72, "both ends are built from this");

struct vgr_broker_open {
    uint32_t magic;
    uint32_t version;
    uint32_t n_runs;
    uint32_t n_files;
    uint64_t size; /* of the arena: the sum of the runs */
};
static_assert(sizeof(struct vgr_broker_open) == 24, "both ends are built from this");

#endif
