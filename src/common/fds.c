/* SPDX-License-Identifier: MIT */
#include "common/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "protocol/sys.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

ssize_t vgr_fds_send(int sock, const void *buf, size_t len, const int *fds, unsigned n, int flags)
{
    struct iovec iov = {(void *)buf, len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VGR_FDS_MAX)];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (n > VGR_FDS_MAX)
        return -E2BIG;
    if (n) {
        struct cmsghdr *h;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        h = CMSG_FIRSTHDR(&msg);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    }
    sent = VGR_SYS_AGAIN(sendmsg(sock, &msg, flags | MSG_NOSIGNAL));
    return sent < 0 ? -errno : sent;
}

ssize_t vgr_fds_receive(int sock, void *buf, size_t len, int *fds, unsigned max, unsigned *n,
                        int *flags)
{
    struct iovec iov = {buf, len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (VGR_FDS_MAX + 1))];
    } control;
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t got = VGR_SYS_AGAIN(recvmsg(sock, &msg, *flags | MSG_CMSG_CLOEXEC));

    if (got < 0)
        return -errno;
    *flags = msg.msg_flags;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
            fd = vgr_sys_high(fd);
            if (fd < 0) {
                *flags |= MSG_CTRUNC;
            } else if (*n < max) {
                fds[(*n)++] = fd;
            } else {
                close(fd);
                *flags |= MSG_CTRUNC;
            }
        }
    }
    return got;
}

void vgr_fds_refuse(int sock)
{
    const int no = 0;

    setsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
}

int vgr_fds_standard(void)
{
    int fd;

    do {
        fd = VGR_SYS_AGAIN(open("/dev/null", O_RDWR));
        if (fd < 0)
            return -errno;
    } while (fd <= STDERR_FILENO);
    return close(fd) ? -errno : 0;
}
