/* SPDX-License-Identifier: MIT */
#include "common/line.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fds.h"
#include "protocol/sys.h"

int vgr_line_make(int *ours, int *workers)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
        return -errno;
    *ours = vgr_sys_high(ends[0]);
    *workers = vgr_sys_high(ends[1]);
    if (*ours < 0 || *workers < 0) {
        int err = -errno;

        if (*ours >= 0)
            close(*ours);
        if (*workers >= 0)
            close(*workers);
        return err;
    }
    vgr_fds_refuse(*ours); /* bytes are all that is taken from it */
    return 0;
}

void vgr_line_ring(int end)
{
    if (VGR_SYS_AGAIN(send(end, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
        /* EAGAIN: full, see line.h. Anything else: the worker is gone, which others will notice. */
    }
}

int vgr_line_take(int end)
{
    char bytes[512];
    ssize_t n = VGR_SYS_AGAIN(recv(end, bytes, sizeof(bytes), MSG_DONTWAIT));

    if (n > 0)
        return 1;
    if (!n)
        return -EPIPE;
    return errno == EAGAIN ? 0 : -errno;
}
