/* SPDX-License-Identifier: MIT
 *
 * peer_worker.h - what peer_worker sends to the process that started it: its pid, with these descriptors.
 */
#ifndef VGR_PEER_WORKER_H
#define VGR_PEER_WORKER_H

/* Of the abstract SOCK_DGRAM socket of process %d. */
#define PEER_ADDRESS "vgr-fuzz-peer-%d"

enum { PEER_LINE, PEER_LOG, PEER_COUNTS, PEER_ACCOUNT, PEER_FDS };

#endif
