/* SPDX-License-Identifier: MIT */
#include "device/direct.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "device/handover.h"

union message {
    struct vgr_submit direct;
    struct vgr_broker_open broker;
};

struct vgr_direct_client {
    struct vgr_watch watch; /* the connection */
    struct vgr_timer timer; /* until OPEN */
    struct vgr_worker worker;
    struct vgr_direct *d;
    struct vgr_direct_client *prev, *next;
    struct vgr_handover got;
    int hung_up; /* the connection, once it is only kept to be closed; -1 */
};

/* How log lines call a client. */
static const char *who(const struct vgr_direct *d)
{
    return d->broker ? "bridge" : "direct client";
}

static void client_free(struct vgr_direct_client *c)
{
    struct vgr_direct *d = c->d;

    if (c->hung_up >= 0)
        close(c->hung_up);
    vgr_handover_free(&c->got);
    if (c->prev)
        c->prev->next = c->next;
    else
        d->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    d->n_clients--;
    free(c);
}

/* Ends the connection; the object stays until its worker is gone too, and so does the connection of a
 * bridge, which learns from its end that the arena's pages are free. */
static void client_close(struct vgr_direct_client *c)
{
    struct vgr_direct *d = c->d;

    vgr_timer_stop(&c->timer);
    if (d->broker && c->watch.fd >= 0) {
        c->hung_up = c->watch.fd;
        vgr_loop_del(d->loop, &c->watch);
    }
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
        vgr_handover_fail(&c->got, VGR_ERROR_LIMIT, w->overdue);
    } else if (!w->killed) {
        snprintf(text, sizeof(text), "the host's worker process %s", reason);
        vgr_handover_fail(&c->got, VGR_ERROR_WORKER_DIED, text);
    }
    client_close(c);
}

static void tell_overdue(struct vgr_worker *w)
{
    struct vgr_direct_client *c = vgr_container_of(w, struct vgr_direct_client, worker);

    vgr_handover_fail(&c->got, VGR_ERROR_LIMIT, w->overdue);
}

/* What the message says of the arena. NULL, or what is wrong with it. */
static const char *read_message(struct vgr_direct_client *c, const union message *m)
{
    if (c->d->broker)
        return vgr_handover_broker(&c->got, &m->broker);
    if (m->direct.magic != VGR_MAGIC || m->direct.op != VGR_SUBMIT_OPEN)
        return "its message is not an OPEN";
    return vgr_handover_direct(&c->got, m->direct.size);
}

/* Tells the guest why it gets no worker. */
static bool refuse(struct vgr_direct_client *c, enum vgr_error error, const char *text)
{
    vgr_log_often(&c->d->log, error == VGR_ERROR_INTERNAL ? VGR_LOG_ERROR : VGR_LOG_WARN, "%s: %s",
                  who(c->d), text);
    vgr_handover_fail(&c->got, error, text);
    return false;
}

/* Starts the worker. Returns false if the client must go; it was told why where that is possible. */
static bool client_open(struct vgr_direct_client *c, const union message *m)
{
    const struct vgr_capset *cap = &c->d->capset;
    const char *why = read_message(c, m);
    uint64_t size = c->got.arena.size;
    char text[160];
    int err;

    if (why) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN, "%s: %s", who(c->d), why);
        return false;
    }
    if (size < cap->arena_min || size > cap->arena_max || size % VGR_CONTROL_SIZE) {
        snprintf(text, sizeof(text),
                 "an arena of %llu bytes: the host takes %llu to %llu, multiples of 4096",
                 (unsigned long long)size, (unsigned long long)cap->arena_min,
                 (unsigned long long)cap->arena_max);
        return refuse(c, VGR_ERROR_ARENA, text);
    }
    if (c->d->broker && c->got.arena.n_runs > c->d->pool->max_runs)
        return refuse(c, VGR_ERROR_ARENA,
                      "the arena's memory: too fragmented in the guest, take a smaller arena");

    err = vgr_worker_start(c->d->pool, &c->worker, &c->got.arena, c->got.fds[VGR_HANDOVER_DOORBELL],
                           c->got.fds[VGR_HANDOVER_WAKEUP], worker_exited);
    if (err == -EUSERS) {
        snprintf(text, sizeof(text), "the host's limit of %u contexts is reached",
                 c->d->pool->limit);
        return refuse(c, VGR_ERROR_LIMIT, text);
    }
    if (err) {
        snprintf(text, sizeof(text), "the host cannot start a worker: %s", strerror(-err));
        return refuse(c, VGR_ERROR_INTERNAL, text);
    }
    c->worker.attached = c->d->broker ? VGR_ATTACHED_BRIDGE : VGR_ATTACHED_DIRECT;
    c->worker.tell = tell_overdue;
    vgr_log_often(&c->d->pool->log, VGR_LOG_INFO, "context %u opened by a %s, arena %llu MiB",
                  c->worker.number, who(c->d), (unsigned long long)(size >> 20));
    return true;
}

static void client_ready(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_direct_client *c = vgr_container_of(watch, struct vgr_direct_client, watch);
    size_t want = c->d->broker ? sizeof(struct vgr_broker_open) : sizeof(struct vgr_submit);
    union message m;
    bool cut = false;
    ssize_t n;

    /* After OPEN nothing is sent any more: whatever comes now ends the context. */
    if (vgr_worker_alive(&c->worker)) {
        vgr_log_often(&c->d->pool->log, VGR_LOG_INFO, "context %u closed", c->worker.number);
        client_close(c);
        return;
    }

    n = vgr_handover_receive(&c->got, watch->fd, &m, want, &cut);
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n <= 0) { /* it only asked for the capset, or died */
        client_close(c);
        return;
    }
    if (cut && n == (ssize_t)want && c->got.n_fds < VGR_HANDOVER_LEAST) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN,
                      "%s: no room for its descriptors, too many files are open", who(c->d));
        client_close(c);
        return;
    }
    if (n != (ssize_t)want || cut) {
        vgr_log_often(&c->d->log, VGR_LOG_WARN, "%s: malformed message (%zd bytes, %u descriptors)",
                      who(c->d), n, c->got.n_fds);
        client_close(c);
        return;
    }
    vgr_timer_stop(&c->timer);
    if (!client_open(c, &m)) {
        c->d->pool->refused++;
        client_close(c);
    }
}

static void client_silent(struct vgr_timer *t)
{
    struct vgr_direct_client *c = vgr_container_of(t, struct vgr_direct_client, timer);

    vgr_log_often(&c->d->log, VGR_LOG_WARN, "%s: no OPEN within %u s", who(c->d),
                  VGR_DIRECT_SILENCE_MS / 1000);
    client_close(c);
}

static bool greet(const struct vgr_direct *d, int fd)
{
    struct vgr_broker_hello hello = {VGR_BROKER_MAGIC, VGR_BROKER_VERSION, d->capset};
    const void *p = d->broker ? (const void *)&hello : &d->capset;
    size_t len = d->broker ? sizeof(hello) : sizeof(d->capset);

    return send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
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
    c->watch.fd = c->hung_up = -1;
    if (d->first)
        d->first->prev = c;
    c->next = d->first;
    d->first = c;
    d->n_clients++;

    err = vgr_loop_add(d->loop, &c->watch, fd, EPOLLIN | EPOLLRDHUP, client_ready);
    if (!err && !greet(d, fd))
        err = -EPIPE;
    if (err) {
        vgr_loop_del(d->loop, &c->watch);
        close(fd);
        client_free(c);
        return err;
    }
    vgr_timer_set(d->loop, &c->timer, VGR_DIRECT_SILENCE_MS, client_silent);
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
                    const struct vgr_capset *capset, int fd, const char *path, bool broker)
{
    memset(d, 0, sizeof(*d));
    d->loop = loop;
    d->pool = pool;
    d->capset = *capset;
    d->broker = broker;
    return vgr_listener_add(&d->listener, loop, fd, path, listener_ready);
}

void vgr_direct_finish(struct vgr_direct *d)
{
    struct vgr_direct_client *next;

    vgr_listener_close(&d->listener);
    for (struct vgr_direct_client *c = d->first; c; c = next) {
        next = c->next;
        vgr_timer_stop(&c->timer);
        vgr_loop_close(d->loop, &c->watch);
        client_free(c);
    }
}
