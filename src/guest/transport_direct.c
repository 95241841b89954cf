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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "guest/log.h"
#include "guest/transport.h"

/* The server answers at once or it is not ours. */
#define GREETING_MS 5000

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void direct_drop(struct vgr_transport *t)
{
    if (t->arena)
        munmap(t->arena, t->arena_size);
    t->arena = NULL;
    close_fd(&t->memory);
    close_fd(&t->line);
    close_fd(&t->workers);
}

static int direct_arena(struct vgr_transport *t, uint64_t size)
{
    int ends[2], err;
    void *p;

    t->arena_size = size;
    t->memory = memfd_create("vgr-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (t->memory < 0 || ftruncate(t->memory, (off_t)size) ||
        fcntl(t->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
        goto fail;
    t->line = ends[0];
    t->workers = ends[1];
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t->memory, 0);
    if (p == MAP_FAILED)
        goto fail;
    t->arena = p;
    return 0;

fail:
    err = -errno;
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

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    if (sendmsg(t->fd, &msg, MSG_NOSIGNAL) != (ssize_t)sizeof(submit))
        return -errno;
    close_fd(&t->workers);
    return 0;
}

/* A full line has a ring waiting in it. */
static int direct_doorbell(struct vgr_transport *t)
{
    ssize_t n = send(t->line, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 && errno != EAGAIN ? -errno : 0;
}

/* Takes a notice, if one has come. The first reason that the page has is the true one. */
static void take_notice(struct vgr_transport *t)
{
    struct vgr_control *ctl = (struct vgr_control *)t->arena;
    struct vgr_notice notice;

    if (recv(t->fd, &notice, sizeof(notice), MSG_DONTWAIT) != (ssize_t)sizeof(notice) || !ctl ||
        notice.magic != VGR_MAGIC ||
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
    struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    char bytes[64];

    if (ppoll(p, 2, &ts, NULL) <= 0)
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

    if (poll(&p, 1, 0) <= 0)
        return true;
    if (p.revents & POLLIN)
        take_notice(t);
    return !(p.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

static void direct_close(struct vgr_transport *t)
{
    direct_drop(t);
    close_fd(&t->fd);
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

int vgr_transport_direct(struct vgr_transport *t, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct pollfd p = {.events = POLLIN};
    ssize_t n;
    int err;

    *t = (struct vgr_transport){
        .ops = &direct_ops, .fd = -1, .line = -1, .workers = -1, .memory = -1};

    if (strlen(path) >= sizeof(addr.sun_path)) {
        vgr_say_error("VGR_DIRECT: path is too long for a socket: %s", path);
        return -ENAMETOOLONG;
    }
    strcpy(addr.sun_path, path);
    t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&addr, sizeof(addr))) {
        err = -errno;
        vgr_say_error("cannot connect to %s: %s", path, strerror(errno));
        goto fail;
    }

    p.fd = t->fd;
    n = poll(&p, 1, GREETING_MS) == 1 ? recv(t->fd, &t->capset, sizeof(t->capset), MSG_DONTWAIT)
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
