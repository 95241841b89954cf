/* SPDX-License-Identifier: MIT
 *
 * keeper.h - how vgr-device and vgr-keeper talk.
 *
 * Theory of operation
 * -------------------
 *
 * QEMU never asks again for what it once told a vhost-user device, and it cannot stand the loss of a
 * display socket. So what QEMU gave to vgr-device is lent to a second process that lives as long as
 * the VM and does nothing: a vgr-device that dies is followed by another, which gets it all back and
 * goes on where the first one stood. QEMU and the guest's kernel notice nothing.
 *
 * The keeper does not know what it keeps: a message of the front is some bytes and descriptors, and
 * replaces the one before. The first VGR_KEEPER_HEAD.n_watched descriptors are sockets of QEMU's. Once
 * the other ends of all of them are closed, the VM is gone and everything is dropped. A front that
 * connects while there is none gets what is kept, or an empty message (a header that watches none);
 * one that connects while there is another is turned away. Without a front and without anything to
 * keep, the keeper ends.
 *
 * The socket is a SOCK_SEQPACKET one, of the owner's only.
 */
#ifndef VGR_KEEPER_KEEPER_H
#define VGR_KEEPER_KEEPER_H

#include <stdint.h>

/* The program is started with these. */
#define VGR_KEEPER_FRONT_FD  3 /* connection to the first front */
#define VGR_KEEPER_LISTEN_FD 4 /* where further ones connect */

#define VGR_KEEPER_MAX_BYTES 8192u
#define VGR_KEEPER_MAX_FDS   64u

/* A message begins with it. */
struct vgr_keeper_head {
    uint32_t n_watched;
    uint32_t reserved;
};

#endif
