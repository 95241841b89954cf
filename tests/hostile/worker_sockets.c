/* SPDX-License-Identifier: MIT
 *
 * worker_sockets.c - attempts at whoever listens: the driver does, on a path, on an abstract name and by TCP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_alg.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile/worker.h"

static int made(int family, int type, int protocol)
{
    int fd = socket(family, type, protocol);
    int err = attack_errno(fd);

    if (fd >= 0)
        close(fd);
    return err;
}

static int to_unix(int abstract)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    if (fd < 0)
        return errno;
    if (abstract)
        snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "vgr-attack-%d", scene.page->monitor);
    else
        attack_path(a.sun_path, sizeof(a.sun_path), "socket");
    return attack_errno(connect(
        fd, (struct sockaddr *)&a,
        abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a.sun_path + 1))
                 : sizeof(a)));
}

static int to_path(void)
{
    return to_unix(0);
}

static int to_abstract(void)
{
    return to_unix(1);
}

static int to_tcp(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(1)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return errno;
    return !connect(fd, (struct sockaddr *)&a, sizeof(a)) || errno == ECONNREFUSED ? 0 : errno;
}

static int udp(void)
{
    return made(AF_INET, SOCK_DGRAM, 0);
}

static int tcp6(void)
{
    return made(AF_INET6, SOCK_STREAM, 0);
}

static int raw(void)
{
    return made(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int packet(void)
{
    return made(17 /* AF_PACKET */, SOCK_RAW, 0);
}

static int netlink(void)
{
    return made(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

static int uevents(void)
{
    return made(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
}

static int vsock(void)
{
    int err = made(AF_VSOCK, SOCK_STREAM, 0);

    return err == EAFNOSUPPORT && scene.page->control ? 0 : err;
}

static int crypto(void)
{
    int err = made(AF_ALG, SOCK_SEQPACKET, 0);

    return err == EAFNOSUPPORT && scene.page->control ? 0 : err;
}

static int listening(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd < 0)
        return errno;
    snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "vgr-attacker-%d-%d", (int)getpid(), fd);
    return bind(fd, (struct sockaddr *)&a, sizeof(a)) ? errno : attack_errno(listen(fd, 1));
}

/* On the worker's own descriptors: one of them may be a socket. */
static int own(int request)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int err = ENOTSOCK;

    attack_path(a.sun_path, sizeof(a.sun_path), "socket");
    for (int fd = 0; fd < 64; fd++) {
        int got = request == 0   ? connect(fd, (struct sockaddr *)&a, sizeof(a))
                  : request == 1 ? bind(fd, (struct sockaddr *)&a, sizeof(sa_family_t))
                                 : listen(fd, 5);

        if (!got)
            return 0;
        if (errno != ENOTSOCK && errno != EBADF)
            err = errno;
    }
    return err;
}

static int connect_own(void)
{
    return own(0);
}

static int bind_own(void)
{
    return own(1);
}

static int listen_own(void)
{
    return own(2);
}

static int accept_own(void)
{
    int err = ENOTSOCK;

    for (int fd = 0; fd < 64; fd++) {
        if (accept4(fd, NULL, NULL, SOCK_NONBLOCK) >= 0)
            return 0;
        if (errno != ENOTSOCK && errno != EBADF)
            err = errno;
    }
    return err;
}

/* Gives the front descriptors that it never asked for: they would fill its table. */
static int give_descriptors(void)
{
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)),
                       .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS}};
    struct iovec v = {(void *)"x", 1};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    unsigned sent = 0;
    int err = ENOTSOCK;

    for (int fd = 0; fd < 64; fd++) {
        for (int i = 0; i < 64; i++) {
            if (attack_call(SYS_sendmsg, (long)fd, &m, (long)(MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
                if (errno != ENOTSOCK && errno != EBADF)
                    err = errno;
                break;
            }
            sent++;
        }
    }
    return sent ? attack_ask(ASK_OPEN) : err;
}

static int pair(void)
{
    int s[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, s) ? errno : HARMLESS;
}

static int pair_shown(void)
{
    return pair() == HARMLESS ? 0 : errno;
}

static int end_own(void)
{
    bool ended = false;
    int err = ENOTSOCK;

    for (int fd = 0; fd < 64; fd++) {
        if (!shutdown(fd, SHUT_RDWR))
            ended = true;
        else if (errno != ENOTSOCK && errno != EBADF)
            err = errno;
    }
    return ended ? attack_ask(ASK_FRONT) : err;
}

static int small_buffers(void)
{
    int tiny = 1, err = ENOTSOCK;
    bool set = false;

    for (int fd = 0; fd < 64; fd++) {
        if (!setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof(tiny)))
            set = true;
        else if (errno != ENOTSOCK && errno != EBADF)
            err = errno;
    }
    return set ? attack_ask(ASK_FRONT) : err;
}

static const struct attempt list[] = {
    {"connect to a socket of the host", to_path, 0, NULL, NULL, 0},
    {"connect to an abstract socket", to_abstract, 0, NULL, NULL, 0},
    {"connect by TCP", to_tcp, 0, NULL, NULL, 0},
    {"UDP", udp, 0, NULL, NULL, 0},
    {"TCP over IPv6", tcp6, 0, NULL, NULL, 0},
    {"a raw socket", raw, 0, NULL, NULL, 0},
    {"a packet socket", packet, 0, NULL, NULL, 0},
    {"netlink: routes", netlink, 0, NULL, NULL, 0},
    {"netlink: events of devices", uevents, 0, NULL, NULL, 0},
    {"vsock", vsock, 0, NULL, NULL, 0},
    {"the kernel's crypto", crypto, 0, NULL, NULL, 0},
    {"listen on an abstract name", listening, 0, NULL, NULL, 0},
    {"connect with a descriptor that it has", connect_own, 0, NULL, to_path, 0},
    {"bind one that it has", bind_own, 0, NULL, listening, 0},
    {"listen on one that it has", listen_own, 0, NULL, listening, 0},
    {"accept on one that it has", accept_own, 0, NULL, listening, 0},
    {"give the front descriptors", give_descriptors, MAY_HARMLESS,
     "the front has no more descriptors than before", pair_shown, 0},
    {"a pair of sockets", pair, MAY_HARMLESS, "both ends are its own", pair_shown, 0},
    {"tiny buffers on its sockets", small_buffers, MAY_HARMLESS,
     "the front does not wait for room there", pair_shown, 0},
    {"shutdown of its sockets", end_own, MAY_HARMLESS | ALONE, "the front does not mind",
     pair_shown, 0},
};
ATTEMPTS(attack_sockets, "sockets", list);
