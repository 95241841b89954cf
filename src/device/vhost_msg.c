/* SPDX-License-Identifier: MIT */
#include "device/vhost_msg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fds.h"
#include "protocol/sys.h"

#define U64         sizeof(uint64_t)
#define STATE       sizeof(struct vgr_vhost_vring_state)
#define ADDR        sizeof(struct vgr_vhost_vring_addr)
#define REGION      sizeof(struct vgr_vhost_one_region)
#define CONFIG_HEAD offsetof(struct vgr_vhost_config, data)

/* The form of each request: most descriptors, least and most payload bytes. */
static const struct form {
    bool known;
    uint8_t max_fds;
    uint16_t min, max;
} forms[] = {
    [VGR_VHOST_GET_FEATURES] = {true, 0, 0, 0},
    [VGR_VHOST_SET_FEATURES] = {true, 0, U64, U64},
    [VGR_VHOST_SET_OWNER] = {true, 0, 0, 0},
    [VGR_VHOST_RESET_OWNER] = {true, 0, 0, 0},
    [VGR_VHOST_SET_MEM_TABLE] = {true, VGR_VHOST_MAX_FDS, 8, sizeof(struct vgr_vhost_mem_table)},
    [VGR_VHOST_SET_VRING_NUM] = {true, 0, STATE, STATE},
    [VGR_VHOST_SET_VRING_ADDR] = {true, 0, ADDR, ADDR},
    [VGR_VHOST_SET_VRING_BASE] = {true, 0, STATE, STATE},
    [VGR_VHOST_GET_VRING_BASE] = {true, 0, STATE, STATE},
    [VGR_VHOST_SET_VRING_KICK] = {true, 1, U64, U64},
    [VGR_VHOST_SET_VRING_CALL] = {true, 1, U64, U64},
    [VGR_VHOST_SET_VRING_ERR] = {true, 1, U64, U64},
    [VGR_VHOST_GET_PROTOCOL_FEATURES] = {true, 0, 0, 0},
    [VGR_VHOST_SET_PROTOCOL_FEATURES] = {true, 0, U64, U64},
    [VGR_VHOST_GET_QUEUE_NUM] = {true, 0, 0, 0},
    [VGR_VHOST_SET_VRING_ENABLE] = {true, 0, STATE, STATE},
    [VGR_VHOST_GET_CONFIG] = {true, 0, CONFIG_HEAD, sizeof(struct vgr_vhost_config)},
    [VGR_VHOST_SET_CONFIG] = {true, 0, CONFIG_HEAD, sizeof(struct vgr_vhost_config)},
    [VGR_VHOST_GPU_SET_SOCKET] = {true, 1, 0, U64},
    [VGR_VHOST_RESET_DEVICE] = {true, 0, 0, 0},
    [VGR_VHOST_GET_MAX_MEM_SLOTS] = {true, 0, 0, 0},
    [VGR_VHOST_ADD_MEM_REG] = {true, 1, REGION, REGION},
    /* Some senders pass the region's descriptor along, and the specification allows them to. */
    [VGR_VHOST_REM_MEM_REG] = {true, 1, REGION, REGION},
};

void vgr_vhost_rx_init(struct vgr_vhost_rx *rx)
{
    memset(rx, 0, sizeof(*rx));
}

void vgr_vhost_rx_next(struct vgr_vhost_rx *rx)
{
    for (unsigned i = 0; i < rx->msg.n_fds; i++) {
        if (rx->msg.fds[i] >= 0)
            close(rx->msg.fds[i]);
    }
    vgr_vhost_rx_init(rx);
}

/* Adds up to `len` bytes at `to`. Returns how many, 0 for none now, -errno. */
static ssize_t receive(int fd, struct vgr_vhost_msg *m, void *to, size_t len)
{
    int flags = MSG_DONTWAIT;
    ssize_t n = vgr_fds_receive(fd, to, len, m->fds, VGR_VHOST_MAX_FDS, &m->n_fds, &flags);

    if (n < 0)
        return n == -EAGAIN ? 0 : n;
    if (flags & MSG_CTRUNC)
        return -EPROTO;
    return n ? n : -ECONNRESET;
}

static int check_header(const struct vgr_vhost_msg *m, char *why, size_t why_size)
{
    const struct form *f =
        m->request < sizeof(forms) / sizeof(forms[0]) ? &forms[m->request] : &forms[0];

    if ((m->flags & VGR_VHOST_VERSION_MASK) != VGR_VHOST_VERSION || m->flags & VGR_VHOST_REPLY) {
        snprintf(why, why_size, "request %u with flags %#x", m->request, m->flags);
        return -EPROTO;
    }
    if (m->size > sizeof(m->p) || (f->known && (m->size < f->min || m->size > f->max))) {
        snprintf(why, why_size, "request %u with %u bytes", m->request, m->size);
        return -EPROTO;
    }
    if (f->known && m->n_fds > f->max_fds) {
        snprintf(why, why_size, "request %u with %u descriptors", m->request, m->n_fds);
        return -EPROTO;
    }
    return 0;
}

/* The whole message is here: what else must hold. */
static int check_message(const struct vgr_vhost_msg *m, char *why, size_t why_size)
{
    bool fine = true;

    switch (m->request) {
    case VGR_VHOST_SET_MEM_TABLE:
        fine = m->p.table.n == m->n_fds &&
               m->size == 8 + m->p.table.n * sizeof(struct vgr_vhost_region);
        break;
    case VGR_VHOST_SET_VRING_KICK:
    case VGR_VHOST_SET_VRING_CALL:
    case VGR_VHOST_SET_VRING_ERR:
        fine = m->n_fds == (m->p.u64 & VGR_VHOST_NO_FD ? 0 : 1);
        break;
    case VGR_VHOST_GPU_SET_SOCKET:
    case VGR_VHOST_ADD_MEM_REG:
        fine = m->n_fds == 1;
        break;
    case VGR_VHOST_GET_CONFIG:
    case VGR_VHOST_SET_CONFIG:
        fine = m->p.config.size == m->size - CONFIG_HEAD;
        break;
    default:
        break;
    }
    if (fine)
        return 0;
    snprintf(why, why_size, "request %u: %u bytes and %u descriptors do not fit its contents",
             m->request, m->size, m->n_fds);
    return -EPROTO;
}

int vgr_vhost_recv(int fd, struct vgr_vhost_rx *rx, char *why, size_t why_size)
{
    struct vgr_vhost_msg *m = &rx->msg;
    ssize_t n;
    int err;

    snprintf(why, why_size, "too many descriptors");
    if (rx->got < VGR_VHOST_HEADER) {
        n = receive(fd, m, (uint8_t *)m + rx->got, VGR_VHOST_HEADER - rx->got);
        if (n <= 0)
            return (int)n;
        rx->got += (size_t)n;
        if (rx->got < VGR_VHOST_HEADER)
            return 0;
        err = check_header(m, why, why_size);
        if (err)
            return err;
    }
    while (rx->got < VGR_VHOST_HEADER + m->size) {
        size_t at = rx->got - VGR_VHOST_HEADER;

        n = receive(fd, m, m->p.bytes + at, m->size - at);
        if (n <= 0)
            return (int)n;
        rx->got += (size_t)n;
    }
    err = check_message(m, why, why_size);
    return err ? err : 1;
}

int vgr_vhost_reply(int fd, struct vgr_vhost_msg *msg, uint32_t size)
{
    struct iovec iov[2] = {{msg, VGR_VHOST_HEADER}, {&msg->p, size}};
    struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    msg->flags = VGR_VHOST_VERSION | VGR_VHOST_REPLY;
    msg->size = size;
    n = VGR_SYS_AGAIN(sendmsg(fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (n < 0)
        return -errno;
    return n == (ssize_t)(VGR_VHOST_HEADER + size) ? 0 : -EPIPE;
}
