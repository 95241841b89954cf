/* SPDX-License-Identifier: MIT
 *
 * vgr-keeper - keeps what QEMU gave to vgr-device, while there is a vgr-device and while there is none.
 *
 * See keeper.h. Its argument is the path of the front's socket, for people who look at processes. It reads
 * nothing that a guest wrote, logs nothing, and ends by itself.
 */
#include "keeper/keeper.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fds.h"

static_assert(VGR_KEEPER_MAX_FDS <= VGR_FDS_MAX, "fits into a message");

struct kept {
    union {
        struct vgr_keeper_head head;
        uint8_t bytes[VGR_KEEPER_MAX_BYTES];
    } msg;
    size_t len; /* 0: nothing is kept */
    int fds[VGR_KEEPER_MAX_FDS];
    unsigned n_fds;
    struct pollfd watched[VGR_KEEPER_MAX_FDS]; /* -1: the other end is closed */
    unsigned n_open;
};

struct keeper {
    int front; /* -1: none */
    int listener;
    struct kept kept;
};

static void drop(struct kept *k)
{
    for (unsigned i = 0; i < k->n_fds; i++)
        close(k->fds[i]);
    k->n_fds = k->n_open = 0;
    k->len = 0;
}

/* Takes the front's next message, or its end. */
static void receive(struct keeper *keeper)
{
    static struct kept k;
    int flags = MSG_DONTWAIT;
    ssize_t n;

    k.n_fds = 0;
    n = vgr_fds_receive(keeper->front, &k.msg, sizeof(k.msg), k.fds, VGR_KEEPER_MAX_FDS, &k.n_fds,
                        &flags);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        close(keeper->front);
        keeper->front = -1;
        return;
    }
    drop(&keeper->kept);
    /* Half of a VM is worse than none. */
    if (n < (ssize_t)sizeof(k.msg.head) || flags & (MSG_TRUNC | MSG_CTRUNC) ||
        !k.msg.head.n_watched || k.msg.head.n_watched > k.n_fds) {
        drop(&k);
        return;
    }
    k.len = (size_t)n;
    k.n_open = k.msg.head.n_watched;
    for (unsigned i = 0; i < k.n_open; i++)
        k.watched[i] = (struct pollfd){.fd = k.fds[i]};
    keeper->kept = k;
}

static bool hand_over(struct kept *k, int fd)
{
    static const struct vgr_keeper_head none;
    const void *msg = k->len ? (const void *)&k->msg : &none;
    size_t len = k->len ? k->len : sizeof(none);

    return vgr_fds_send(fd, msg, len, k->fds, k->n_fds, MSG_DONTWAIT) == (ssize_t)len;
}

static void accept_front(struct keeper *k)
{
    int fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (k->front >= 0 || !hand_over(&k->kept, fd))
        close(fd);
    else
        k->front = fd;
}

static void look_for_vm(struct kept *k)
{
    for (unsigned i = 0; k->len && i < k->msg.head.n_watched; i++) {
        if (k->watched[i].fd < 0 || !k->watched[i].revents)
            continue;
        k->watched[i].fd = -1;
        if (!--k->n_open)
            drop(k);
    }
}

static void serve(struct keeper *k)
{
    /* One array for all: the watched ones first. */
    struct pollfd p[VGR_KEEPER_MAX_FDS + 2];

    while (k->front >= 0 || k->kept.len) {
        unsigned n = k->kept.len ? k->kept.msg.head.n_watched : 0;

        memcpy(p, k->kept.watched, n * sizeof(p[0]));
        p[n] = (struct pollfd){.fd = k->front, .events = POLLIN};
        p[n + 1] = (struct pollfd){.fd = k->listener, .events = POLLIN};
        if (poll(p, n + 2, -1) < 0)
            continue;
        memcpy(k->kept.watched, p, n * sizeof(p[0]));
        look_for_vm(&k->kept);
        /* A new front may come before the old one's end was seen: first things first. */
        if (p[n].revents)
            receive(k);
        else if (p[n + 1].revents)
            accept_front(k);
    }
}

int main(int argc, char **argv)
{
    static struct keeper k = {.front = VGR_KEEPER_FRONT_FD, .listener = VGR_KEEPER_LISTEN_FD};
    struct sockaddr_un addr = {0};
    socklen_t len = sizeof(addr) - 1;

    if (vgr_fds_standard())
        return 2;
    if (argc != 2 || getsockname(k.listener, (struct sockaddr *)&addr, &len) < 0 ||
        addr.sun_family != AF_UNIX) {
        fprintf(stderr, "vgr-keeper is started by vgr-device\n");
        return 2;
    }
    /* It must outlive those who end vgr-device, and end only as its VM does. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    serve(&k);
    /* In this order: who connected before gets an end of file, who comes later finds the place free. */
    unlink(addr.sun_path);
    close(k.listener);
    return 0;
}
