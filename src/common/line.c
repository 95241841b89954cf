/* SPDX-License-Identifier: MIT */
#include "common/line.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "common/fds.h"
#include "protocol/sys.h"

int vgr_line_make(int *ours, int *workers)
{
    const int least = 1;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
        return -errno;
    vgr_fds_refuse(ends[0]); /* bytes are all that is taken from it */
    /* To free a piece wakes whoever waits at the worker's end: few are left when this end is closed. */
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    *ours = ends[0];
    *workers = ends[1];
    return 0;
}

static bool no_memory(void)
{
    return errno == ENOMEM || errno == ENOBUFS;
}

int vgr_line_ring(int end)
{
    if (VGR_SYS_AGAIN(send(end, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 && no_memory())
        return -errno;
    /* EAGAIN: full, see line.h. Anything else: the worker is gone, which others will notice. */
    return 0;
}

int vgr_line_take(int end)
{
    char byte;
    ssize_t n = VGR_SYS_AGAIN(recv(end, &byte, 1, MSG_DONTWAIT));

    if (n > 0)
        return 1;
    if (!n)
        return -EPIPE;
    return errno == EAGAIN || no_memory() ? 0 : -errno;
}
