/* SPDX-License-Identifier: MIT */
#include "device/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/log.h"
#include "device/control.h"

enum { FD_ARENA, FD_DOORBELL, FD_WAKEUP };

struct vgr_direct_client {
    struct vgr_watch watch; /* the connection */
    struct vgr_watch timer; /* until OPEN */
    struct vgr_worker worker;
    struct vgr_direct *d;
    struct vgr_direct_client *prev, *next;
    int fds[VGR_DIRECT_NFDS]; /* -1 before OPEN */
};

static int arena_read(void *opaque, size_t offset, void *buf, size_t len)
{
    const int *fd = opaque;

    return pread(*fd, buf, len, (off_t)offset) == (ssize_t)len ? 0 : -EIO;
}

static int arena_write(void *opaque, size_t offset, const void *buf, size_t len)
{
    const int *fd = opaque;

    return pwrite(*fd, buf, len, (off_t)offset) == (ssize_t)len ? 0 : -EIO;
}

static void fail_context(struct vgr_direct_client *c, enum vgr_error error, const char *text)
{
    struct vgr_control_io io = {arena_read, arena_write, &c->fds[FD_ARENA]};
    int flags = fcntl(c->fds[FD_WAKEUP], F_GETFL);

    vgr_control_fail(&io, error, text);
    /* The client may have filled its eventfd's counter: never block on it. */
    if (flags >= 0 && !fcntl(c->fds[FD_WAKEUP], F_SETFL, flags | O_NONBLOCK))
        vgr_event_signal(c->fds[FD_WAKEUP]);
}

static void client_free(struct vgr_direct_client *c)
{
    struct vgr_direct *d = c->d;

    for (int i = 0; i < VGR_DIRECT_NFDS; i++) {
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    }
    if (c->prev)
        c->prev->next = c->next;
    else
        d->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    d->n_clients--;
    free(c);
}

/* Ends the connection; the object stays until its worker is gone too. */
static void client_close(struct vgr_direct_client *c)
{
    struct vgr_direct *d = c->d;

    vgr_loop_close(d->loop, &c->timer);
    vgr_loop_close(d->loop, &c->watch);
    if (vgr_worker_alive(&c->worker))
        vgr_worker_kill(&c->worker);
    else
        client_free(c);
}

static void worker_exited(struct vgr_worker *w, const char *reason)
{
    struct vgr_direct_client *c = vgr_container_of(w, struct vgr_direct_client, worker);
    char text[128];

    if (w->overdue[0]) {
        fail_context(c, VGR_ERROR_LIMIT, w->overdue);
    } else if (!w->killed) {
        snprintf(text, sizeof(text), "the host's worker process %s", reason);
        fail_context(c, VGR_ERROR_WORKER_DIED, text);
    }
    client_close(c);
}

static void tell_overdue(struct vgr_worker *w)
{
    struct vgr_direct_client *c = vgr_container_of(w, struct vgr_direct_client, worker);

    fail_context(c, VGR_ERROR_LIMIT, w->overdue);
}

static bool is_eventfd(int fd)
{
    char link[48], target[32];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return !strcmp(target, "anon_inode:[eventfd]");
}

/* What is wrong with the arena's file, or NULL. A memfd of plain pages: huge ones could not be mapped
 * by 4 KiB runs. */
static const char *check_arena_file(int fd, uint64_t size)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;
    struct stat st;

    if (seals < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
        return "the arena is not a memfd";
    if (!(seals & F_SEAL_SHRINK))
        return "the arena's memfd is not sealed against shrinking";
    if ((uint64_t)st.st_size < size)
        return "the arena's memfd is smaller than the arena";
    return NULL;
}

/* Starts the worker. Returns false if the client must go; it was told why where that is possible. */
static bool client_open(struct vgr_direct_client *c, const struct vgr_submit *s)
{
    const struct vgr_capset *cap = &c->d->capset;
    struct vgr_boot_run run = {.file = 0, .offset = 0, .length = s->size};
    struct vgr_arena arena = {
        .size = s->size,
        .files = {c->fds[FD_ARENA]},
        .n_files = 1,
        .runs = &run,
        .n_runs = 1,
    };
    const char *why;
    char text[160];
    int err;

    if (s->magic != VGR_MAGIC || s->op != VGR_SUBMIT_OPEN) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN, "direct client: its message is not an OPEN");
        return false;
    }
    if (!is_eventfd(c->fds[FD_DOORBELL]) || !is_eventfd(c->fds[FD_WAKEUP])) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN,
                      "direct client: doorbell or wake-up is not an eventfd");
        return false;
    }
    why =
        check_arena_file(c->fds[FD_ARENA], s->size < VGR_CONTROL_SIZE ? VGR_CONTROL_SIZE : s->size);
    if (why) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN, "direct client: %s", why);
        return false;
    }
    if (s->size < cap->arena_min || s->size > cap->arena_max || s->size % VGR_CONTROL_SIZE) {
        snprintf(text, sizeof(text),
                 "an arena of %llu bytes: the host takes %llu to %llu, multiples of 4096",
                 (unsigned long long)s->size, (unsigned long long)cap->arena_min,
                 (unsigned long long)cap->arena_max);
        vgr_log_often(&c->d->log, VGR_LOG_WARN, "direct client: %s", text);
        fail_context(c, VGR_ERROR_ARENA, text);
        return false;
    }

    err = vgr_worker_start(c->d->pool, &c->worker, &arena, c->fds[FD_DOORBELL], c->fds[FD_WAKEUP],
                           worker_exited);
    if (err == -EUSERS) {
        snprintf(text, sizeof(text), "the host's limit of %u contexts is reached",
                 c->d->pool->limit);
        vgr_log_often(&c->d->log, VGR_LOG_WARN, "direct client: %s", text);
        fail_context(c, VGR_ERROR_LIMIT, text);
        return false;
    }
    if (err) {
        snprintf(text, sizeof(text), "the host cannot start a worker: %s", strerror(-err));
        vgr_log_often(&c->d->log, VGR_LOG_ERROR, "direct client: %s", text);
        fail_context(c, VGR_ERROR_INTERNAL, text);
        return false;
    }
    c->worker.tell = tell_overdue;
    vgr_info("context %u opened by a direct client, arena %llu MiB", c->worker.number,
             (unsigned long long)(s->size >> 20));
    return true;
}

/* The descriptors of a message, all of them, into fds[]; returns how many came. More than wanted are
 * closed at once and counted. */
static unsigned take_fds(struct msghdr *msg, int fds[VGR_DIRECT_NFDS])
{
    unsigned n = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
            if (n < VGR_DIRECT_NFDS)
                fds[n] = fd;
            else
                close(fd);
            n++;
        }
    }
    return n;
}

static void client_ready(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_direct_client *c = vgr_container_of(watch, struct vgr_direct_client, watch);
    struct vgr_submit submit;
    struct iovec iov = {&submit, sizeof(submit)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (VGR_DIRECT_NFDS + 1))];
    } control;
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    unsigned n_fds;
    ssize_t n;

    /* After OPEN nothing is sent any more: whatever comes now ends the context. */
    if (vgr_worker_alive(&c->worker)) {
        vgr_info("context %u closed", c->worker.number);
        client_close(c);
        return;
    }

    n = recvmsg(watch->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* An empty message looks like a hang-up, but may have brought descriptors all the same. */
    n_fds = n < 0 ? 0 : take_fds(&msg, c->fds);
    if (n <= 0) { /* it only asked for the capset, or died */
        client_close(c);
        return;
    }
    if (msg.msg_flags & MSG_CTRUNC && n_fds < VGR_DIRECT_NFDS) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN,
                      "direct client: no room for its descriptors, too many files are open");
        client_close(c);
        return;
    }
    if (n != sizeof(submit) || n_fds != VGR_DIRECT_NFDS ||
        msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN,
                      "direct client: malformed message (%zd bytes, %u descriptors)", n, n_fds);
        client_close(c);
        return;
    }
    vgr_loop_close(c->d->loop, &c->timer);
    if (!client_open(c, &submit)) {
        c->d->pool->refused++;
        client_close(c);
    }
}

static void client_silent(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_direct_client *c = vgr_container_of(watch, struct vgr_direct_client, timer);

    vgr_log_often(&c->d->log, VGR_LOG_WARN, "direct client: no OPEN within %u s",
                  VGR_DIRECT_SILENCE_MS / 1000);
    client_close(c);
}

static int client_new(struct vgr_direct *d, int fd)
{
    struct vgr_direct_client *c = calloc(1, sizeof(*c));
    int err;

    if (!c) {
        close(fd);
        return -ENOMEM;
    }
    c->d = d;
    c->watch.fd = c->timer.fd = -1;
    for (int i = 0; i < VGR_DIRECT_NFDS; i++)
        c->fds[i] = -1;
    if (d->first)
        d->first->prev = c;
    c->next = d->first;
    d->first = c;
    d->n_clients++;

    err = vgr_timer_add(d->loop, &c->timer, client_silent);
    if (!err)
        err = vgr_loop_add(d->loop, &c->watch, fd, EPOLLIN | EPOLLRDHUP, client_ready);
    if (!err &&
        send(fd, &d->capset, sizeof(d->capset), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(d->capset))
        err = -EPIPE;
    if (err) {
        vgr_loop_close(d->loop, &c->timer);
        vgr_loop_del(d->loop, &c->watch);
        close(fd);
        client_free(c);
        return err;
    }
    vgr_timer_set(&c->timer, VGR_DIRECT_SILENCE_MS);
    return 0;
}

static void listener_ready(struct vgr_listener *l)
{
    struct vgr_direct *d = vgr_container_of(l, struct vgr_direct, listener);
    /* Each context needs one; some more may just be asking for the capset. */
    unsigned limit = 2 * d->pool->limit + 16;
    int fd, err;

    while ((fd = vgr_listener_next(l)) >= 0) {
        if (d->n_clients >= limit) {
            vgr_log_often(&d->log, VGR_LOG_WARN, "%s: more than %u connections, one refused",
                          l->path, limit);
            close(fd);
            continue;
        }
        err = client_new(d, fd);
        if (err && err != -EPIPE)
            vgr_log_often(&d->log, VGR_LOG_WARN, "%s: a client is refused: %s", l->path,
                          strerror(-err));
    }
}

int vgr_direct_init(struct vgr_direct *d, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                    const struct vgr_capset *capset, int fd, const char *path)
{
    memset(d, 0, sizeof(*d));
    d->loop = loop;
    d->pool = pool;
    d->capset = *capset;
    return vgr_listener_add(&d->listener, loop, fd, path, listener_ready);
}

void vgr_direct_finish(struct vgr_direct *d)
{
    vgr_listener_close(&d->listener);
    while (d->first) {
        vgr_loop_close(d->loop, &d->first->timer);
        vgr_loop_close(d->loop, &d->first->watch);
        client_free(d->first);
    }
}
