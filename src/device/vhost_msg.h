/* SPDX-License-Identifier: MIT
 *
 * vhost_msg.h - the messages of the vhost-user protocol that QEMU sends to a GPU device, as its
 * specification (docs/interop/vhost-user.rst of QEMU) lays them out, and their reception.
 *
 * A message is a header, then a payload, on a stream socket that never blocks us: what has come so
 * far waits in struct vgr_vhost_rx. Sizes and numbers of descriptors are checked here, per request,
 * so that handlers find whole payloads of the right form.
 */
#ifndef VGR_DEVICE_VHOST_MSG_H
#define VGR_DEVICE_VHOST_MSG_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/guestmem.h"

enum vgr_vhost_request {
    VGR_VHOST_GET_FEATURES = 1,
    VGR_VHOST_SET_FEATURES = 2,
    VGR_VHOST_SET_OWNER = 3,
    VGR_VHOST_RESET_OWNER = 4,
    VGR_VHOST_SET_MEM_TABLE = 5,
    VGR_VHOST_SET_VRING_NUM = 8,
    VGR_VHOST_SET_VRING_ADDR = 9,
    VGR_VHOST_SET_VRING_BASE = 10,
    VGR_VHOST_GET_VRING_BASE = 11,
    VGR_VHOST_SET_VRING_KICK = 12,
    VGR_VHOST_SET_VRING_CALL = 13,
    VGR_VHOST_SET_VRING_ERR = 14,
    VGR_VHOST_GET_PROTOCOL_FEATURES = 15,
    VGR_VHOST_SET_PROTOCOL_FEATURES = 16,
    VGR_VHOST_GET_QUEUE_NUM = 17,
    VGR_VHOST_SET_VRING_ENABLE = 18,
    VGR_VHOST_GET_CONFIG = 24,
    VGR_VHOST_SET_CONFIG = 25,
    VGR_VHOST_GPU_SET_SOCKET = 33,
    VGR_VHOST_RESET_DEVICE = 34,
    VGR_VHOST_GET_MAX_MEM_SLOTS = 36,
    VGR_VHOST_ADD_MEM_REG = 37,
    VGR_VHOST_REM_MEM_REG = 38,
};

/* Header flags. */
#define VGR_VHOST_VERSION_MASK 3u
#define VGR_VHOST_VERSION      1u
#define VGR_VHOST_REPLY        4u
#define VGR_VHOST_NEED_REPLY   8u

/* Device feature bit: protocol features can be negotiated. */
#define VGR_VHOST_F_PROTOCOL_FEATURES 30

enum { /* protocol feature bits */
       VGR_VHOST_PROTOCOL_MQ = 0,
       VGR_VHOST_PROTOCOL_REPLY_ACK = 3,
       VGR_VHOST_PROTOCOL_CONFIG = 9,
       VGR_VHOST_PROTOCOL_RESET_DEVICE = 13,
       VGR_VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
};

/* SET_VRING_KICK, CALL and ERR: the number is in the low byte; this bit: there is no descriptor. */
#define VGR_VHOST_NO_FD 0x100u

#define VGR_VHOST_MAX_FDS    8u
#define VGR_VHOST_MAX_CONFIG 256u

struct vgr_vhost_vring_state {
    uint32_t index;
    uint32_t num;
};

struct vgr_vhost_vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc; /* QEMU's addresses */
    uint64_t used;
    uint64_t avail;
    uint64_t log;
};

/* A region on the wire. */
struct vgr_vhost_region {
    uint64_t gpa;
    uint64_t size;
    uint64_t uaddr;
    uint64_t offset;
};

struct vgr_vhost_mem_table {
    uint32_t n;
    uint32_t padding;
    struct vgr_vhost_region regions[VGR_VHOST_MAX_FDS];
};

struct vgr_vhost_one_region {
    uint64_t padding;
    struct vgr_vhost_region region;
};

struct vgr_vhost_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t data[VGR_VHOST_MAX_CONFIG];
};

#define VGR_VHOST_HEADER 12u

struct vgr_vhost_msg {
    uint32_t request; /* enum vgr_vhost_request, or one we do not know */
    uint32_t flags;
    uint32_t size; /* of the payload */
    union {
        uint64_t u64;
        struct vgr_vhost_vring_state state;
        struct vgr_vhost_vring_addr addr;
        struct vgr_vhost_mem_table table;
        struct vgr_vhost_one_region region;
        struct vgr_vhost_config config;
        uint8_t bytes[512];
    } p;
    /* Not on the wire. Handlers take a descriptor by setting its place to -1. */
    int fds[VGR_VHOST_MAX_FDS];
    unsigned n_fds;
};
static_assert(offsetof(struct vgr_vhost_msg, p) == 16, "the payload is received on its own");

struct vgr_vhost_rx {
    struct vgr_vhost_msg msg;
    size_t got; /* bytes of header and payload */
};

void vgr_vhost_rx_init(struct vgr_vhost_rx *rx);

/* Closes the descriptors of the message that were not taken and makes room for the next one. */
void vgr_vhost_rx_next(struct vgr_vhost_rx *rx);

/* Reads what is there. 1: rx->msg is complete and well-formed; 0: more is to come; -ECONNRESET: the
 * other end closed; -EPROTO: malformed, with a sentence in `why`; other -errno. */
int vgr_vhost_recv(int fd, struct vgr_vhost_rx *rx, char *why, size_t why_size);

/* Answers `msg` with `size` bytes of msg->p. 0 or -errno; never blocks: QEMU waits for its answers,
 * so a full socket is an error. */
int vgr_vhost_reply(int fd, struct vgr_vhost_msg *msg, uint32_t size);

#endif
