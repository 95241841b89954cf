/* SPDX-License-Identifier: MIT
 *
 * The direct front: a SOCK_STREAM socket that carries the capset, then one submission with two
 * descriptors. After that nothing is sent but, at most, a notice that the context is over, which goes into the
 * control page as if the worker had written it; hang-up means that the other end is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "guest/log.h"
#include "guest/transport.h"
#include "protocol/sys.h"

/* The server answers at once or it is not ours. */
#define GREETING_MS 5000

/* Where the kernel cannot even tell what has come, so long. */
#define NAP_NS INT64_C(300000)

static void direct_drop(struct vgr_transport *t)
{
    if (t->arena)
        munmap(t->arena, t->arena_size);
    t->arena = NULL;
    vgr_sys_close(&t->memory);
    vgr_sys_close(&t->line);
    vgr_sys_close(&t->workers);
}

static int direct_arena(struct vgr_transport *t, uint64_t size)
{
    int ends[2], err;
    void *p;

    t->arena_size = size;
    t->memory = vgr_sys_memfd("vgr-arena", MFD_CLOEXEC, size, F_SEAL_SHRINK | F_SEAL_GROW);
    if (t->memory < 0) {
        err = t->memory;
        goto fail;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) {
        err = -errno;
        goto fail;
    }
    t->line = vgr_sys_high(ends[0]);
    err = t->line < 0 ? -errno : 0;
    t->workers = vgr_sys_high(ends[1]);
    if (t->workers < 0)
        err = -errno;
    if (err)
        goto fail;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t->memory, 0);
    if (p == MAP_FAILED) {
        err = -errno;
        goto fail;
    }
    t->arena = p;
    return 0;

fail:
    direct_drop(t);
    return err;
}

static int direct_open(struct vgr_transport *t)
{
    struct vgr_submit submit = {
        .magic = VGR_MAGIC,
        .op = VGR_SUBMIT_OPEN,
        .size = t->arena_size,
    };
    int fds[VGR_DIRECT_NFDS] = {t->memory, t->workers};
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(fds))];
    } control = {0};
    struct iovec iov = {.iov_base = &submit, .iov_len = sizeof(submit)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = sizeof(control.buf),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t n;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    n = VGR_SYS_AGAIN(sendmsg(t->fd, &msg, MSG_NOSIGNAL));
    if (n != (ssize_t)sizeof(submit))
        return n < 0 ? -errno : -EIO;
    vgr_sys_close(&t->workers);
    return 0;
}

/* A full line has a ring waiting in it. */
static int direct_doorbell(struct vgr_transport *t)
{
    ssize_t n = VGR_SYS_AGAIN(send(t->line, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL));

    return n < 0 && errno != EAGAIN ? -errno : 0;
}

/* Takes a notice, if one has come. The first reason that the page has is the true one. */
static void take_notice(struct vgr_transport *t)
{
    struct vgr_control *ctl = (struct vgr_control *)t->arena;
    struct vgr_notice notice;
    ssize_t n = VGR_SYS_AGAIN(recv(t->fd, &notice, sizeof(notice), MSG_DONTWAIT));

    if (n != (ssize_t)sizeof(notice) || !ctl || notice.magic != VGR_MAGIC ||
        __atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_FAILED)
        return;
    notice.text[sizeof(notice.text) - 1] = '\0';
    memcpy(ctl->error_text, notice.text, sizeof(ctl->error_text));
    ctl->error = notice.error;
    __atomic_store_n(&ctl->state, VGR_STATE_FAILED, __ATOMIC_SEQ_CST);
}

static void direct_sleep(struct vgr_transport *t, int64_t timeout_ns)
{
    struct pollfd p[2] = {
        {.fd = t->line, .events = POLLIN},
        {.fd = t->fd, .events = POLLIN | POLLRDHUP},
    };
    int ready = vgr_sys_poll(p, 2, timeout_ns);
    char bytes[64];

    if (ready < 0)
        vgr_sys_nap(timeout_ns < NAP_NS ? timeout_ns : NAP_NS);
    if (ready <= 0)
        return;
    if (p[1].revents & POLLIN)
        take_notice(t);
    if (p[0].revents & POLLIN && recv(t->line, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
        return; /* Nothing in it after all: the caller looks again anyway. */
}

/* What was said before the end is taken first. */
static bool direct_alive(struct vgr_transport *t)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN | POLLRDHUP};

    if (vgr_sys_poll(&p, 1, 0) <= 0)
        return true;
    if (p.revents & POLLIN)
        take_notice(t);
    return !(p.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

static void direct_close(struct vgr_transport *t)
{
    direct_drop(t);
    vgr_sys_close(&t->fd);
}

static const struct vgr_transport_ops direct_ops = {
    .name = "direct",
    .alive_is_quick = true,
    .sleep_is_cheap = true,
    .arena = direct_arena,
    .open = direct_open,
    .doorbell = direct_doorbell,
    .sleep = direct_sleep,
    .alive = direct_alive,
    .drop = direct_drop,
    .close = direct_close,
};

/* connect() within GREETING_MS, even to a server that accepts nobody. -1 and errno. */
static int connect_in_time(int fd, const struct sockaddr_un *addr)
{
    int64_t end = vgr_sys_now() + GREETING_MS * INT64_C(1000000), left;

    while ((left = (end - vgr_sys_now()) / 1000) > 0) {
        const struct timeval limit = {left / 1000000, left % 1000000};

        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        if (!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
            return 0;
        /* An interrupted one is not under way, with this kind of socket. */
        if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
    errno = ETIMEDOUT;
    return -1;
}

int vgr_transport_direct(struct vgr_transport *t, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct pollfd p = {.events = POLLIN};
    ssize_t n;
    int err;

    *t = (struct vgr_transport){
        .ops = &direct_ops, .fd = -1, .line = -1, .workers = -1, .memory = -1, .fence = -1};

    if (strlen(path) >= sizeof(addr.sun_path)) {
        vgr_say_error("VGR_DIRECT: path is too long for a socket: %s", path);
        return -ENAMETOOLONG;
    }
    strcpy(addr.sun_path, path);
    t->fd = vgr_sys_high(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (t->fd < 0 || connect_in_time(t->fd, &addr)) {
        err = -errno;
        vgr_say_error("cannot connect to %s: %s", path, strerror(errno));
        goto fail;
    }

    p.fd = t->fd;
    n = vgr_sys_poll(&p, 1, GREETING_MS * INT64_C(1000000)) == 1
            ? VGR_SYS_AGAIN(recv(t->fd, &t->capset, sizeof(t->capset), MSG_DONTWAIT))
            : 0;
    if (n != (ssize_t)sizeof(t->capset) || t->capset.magic != VGR_MAGIC) {
        vgr_say_error("%s is not the socket of a vgr-device", path);
        err = -EPROTO;
        goto fail;
    }
    return 0;

fail:
    direct_close(t);
    return err;
}
