/* SPDX-License-Identifier: MIT
 *
 * send_fds.h - a message with descriptors, as every client of a front sends them.
 */
#ifndef VGR_TEST_SEND_FDS_H
#define VGR_TEST_SEND_FDS_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SEND_FDS_MAX 16u

/* Sends `len` bytes and `n_fds` descriptors (SEND_FDS_MAX at most, 0: no control message at all).
 * Returns what sendmsg() does; no SIGPIPE. */
static inline ssize_t send_fds(int sock, const void *buf, size_t len, const int *fds,
                               unsigned n_fds)
{
    struct iovec iov = {(void *)buf, len};
    union {
        struct cmsghdr h;
        char bytes[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.h.cmsg_level = SOL_SOCKET;
        control.h.cmsg_type = SCM_RIGHTS;
        control.h.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.h), fds, n_fds * sizeof(int));
    }
    return sendmsg(sock, &msg, MSG_NOSIGNAL);
}

#endif
