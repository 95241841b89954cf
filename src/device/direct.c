/* SPDX-License-Identifier: MIT */
#include "device/direct.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/fds.h"
#include "common/line.h"
#include "common/log.h"
#include "device/discard.h"
#include "protocol/sys.h"

union message {
    struct vgr_submit direct;
    struct vgr_broker_open broker;
};

struct vgr_direct_client {
    struct vgr_watch watch;     /* the connection */
    struct vgr_timer timer;     /* until OPEN, then until the worker has taken it */
    struct vgr_discard discard; /* in the end, the line, then the connection */
    struct vgr_worker worker;
    struct vgr_direct *d;
    struct vgr_direct_client *prev, *next;
    int conn; /* -1: being closed */
    int line; /* of a bridge: the worker's end, with what the bridge has sent; -1 */
};

/* How log lines call a client. */
static const char *who(const struct vgr_direct *d)
{
    return d->broker ? "bridge" : "direct client";
}

static unsigned limit_of(const struct vgr_direct *d)
{
    /* Each context needs one; some more may just be asking for the capset. */
    return 2 * d->pool->limit + 16;
}

/* ---- The end of a client ---- */

static void client_free(struct vgr_direct_client *c)
{
    struct vgr_direct *d = c->d;

    if (c->prev)
        c->prev->next = c->next;
    else
        d->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (d->n_clients-- >= limit_of(d) || d->listener.failed)
        vgr_listener_again(&d->listener, 0); /* there is room for one more, or a descriptor */
    free(c);
}

static void discarded(struct vgr_discard *d);

/* True if all is closed, else `discarded` is called later. The line is the client's to send over, too. It stays
 * here as long as the worker is there, or our close() might be the last one after all. */
static bool close_all(struct vgr_direct_client *c)
{
    int line = c->line, conn = c->conn;

    c->line = -1;
    if (line >= 0 && !vgr_discard(&c->discard, c->d->loop, line, discarded))
        return false;
    c->conn = -1;
    return conn < 0 || vgr_discard(&c->discard, c->d->loop, conn, discarded);
}

static void discarded(struct vgr_discard *d)
{
    struct vgr_direct_client *c = vgr_container_of(d, struct vgr_direct_client, discard);

    if (close_all(c))
        client_free(c);
}

/* Ends the context. Its connection stays until the worker is gone: by its end a bridge learns that the
 * arena's pages are free. */
static void client_close(struct vgr_direct_client *c)
{
    vgr_timer_stop(&c->timer);
    vgr_loop_del(c->d->loop, &c->watch);
    if (vgr_worker_alive(&c->worker))
        vgr_worker_kill(&c->worker);
    else if (close_all(c))
        client_free(c);
}

/* Tells the client why its context is over. */
static void notify(struct vgr_direct_client *c, enum vgr_error error, const char *text)
{
    struct vgr_notice notice = {.magic = VGR_MAGIC, .error = error};

    snprintf(notice.text, sizeof(notice.text), "%s", text);
    vgr_loop_charge(c->d->loop, VGR_WORK_CALLS, 1);
    if (VGR_SYS_AGAIN(send(c->conn, &notice, sizeof(notice), MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
        /* It has gone, or reads nothing: it will see the end of the connection. */
    }
}

static void worker_exited(struct vgr_worker *w, const char *reason)
{
    struct vgr_direct_client *c = vgr_container_of(w, struct vgr_direct_client, worker);
    char text[128];

    if (w->over_limit[0]) {
        notify(c, VGR_ERROR_LIMIT, w->over_limit);
    } else if (!w->killed && !w->refused) {
        snprintf(text, sizeof(text), "the host's worker process %s", reason);
        notify(c, VGR_ERROR_WORKER_DIED, text);
    }
    client_close(c);
}

static void tell_over_limit(struct vgr_worker *w)
{
    notify(vgr_container_of(w, struct vgr_direct_client, worker), VGR_ERROR_LIMIT, w->over_limit);
}

/* ---- Its beginning ---- */

/* What the message says of the arena. NULL, or what is wrong with it. */
static const char *read_message(const struct vgr_direct *d, const union message *m, ssize_t len,
                                uint64_t *size, uint32_t *n_runs)
{
    if (d->broker) {
        if (len != (ssize_t)sizeof(m->broker) || m->broker.magic != VGR_BROKER_MAGIC)
            return "malformed message";
        if (m->broker.version != VGR_BROKER_VERSION)
            return "it speaks another version";
        *size = m->broker.size;
        *n_runs = m->broker.n_runs;
        return NULL;
    }
    if (len != (ssize_t)sizeof(m->direct) || m->direct.magic != VGR_MAGIC ||
        m->direct.op != VGR_SUBMIT_OPEN)
        return "its message is not an OPEN";
    *size = m->direct.size;
    *n_runs = 1;
    return NULL;
}

/* Tells the guest why it gets no worker. */
static bool refuse(struct vgr_direct_client *c, enum vgr_error error, const char *text)
{
    vgr_log_often(&c->d->log, error == VGR_ERROR_INTERNAL ? VGR_LOG_ERROR : VGR_LOG_WARN, "%s: %s",
                  who(c->d), text);
    notify(c, error, text);
    c->d->pool->refused++;
    return false;
}

static bool check_size(struct vgr_direct_client *c, uint64_t size, uint32_t n_runs)
{
    const struct vgr_capset *cap = &c->d->capset;
    char text[160];

    if (n_runs > c->d->pool->max_runs)
        return refuse(c, VGR_ERROR_ARENA,
                      "the arena's memory: too fragmented in the guest, take a smaller arena");
    if (size >= cap->arena_min && size <= cap->arena_max && !(size % VGR_CONTROL_SIZE))
        return true;
    snprintf(text, sizeof(text),
             "an arena of %llu bytes: the host takes %llu to %llu, multiples of 4096",
             (unsigned long long)size, (unsigned long long)cap->arena_min,
             (unsigned long long)cap->arena_max);
    return refuse(c, VGR_ERROR_ARENA, text);
}

/* A bridge gives the arena's pages back when the worker is gone, whatever becomes of us. Returns false if it cannot
 * be told which process that is; then it knows at least that there is one. */
static bool show_worker(struct vgr_direct_client *c)
{
    const struct vgr_notice started = {.magic = VGR_BROKER_MAGIC};

    vgr_loop_charge(c->d->loop, VGR_WORK_CALLS, 2);
    if (!c->d->broker || vgr_fds_send(c->conn, &started, sizeof(started), &c->worker.watch.fd, 1,
                                      MSG_DONTWAIT) == (ssize_t)sizeof(started))
        return true;
    if (vgr_fds_send(c->conn, &started, sizeof(started), NULL, 0, MSG_DONTWAIT) < 0) {
        /* It has gone. */
    }
    return false;
}

/* Starts the worker, which takes the message. Returns false if the client must go; it was told why. */
static bool client_open(struct vgr_direct_client *c, const union message *m, ssize_t len)
{
    struct vgr_worker_job job = {.line = c->line,
                                 .client = c->d->broker ? VGR_BOOT_BROKER : VGR_BOOT_DIRECT,
                                 .conn = c->conn};
    uint32_t n_runs;
    const char *why = read_message(c->d, m, len, &job.arena.size, &n_runs);
    char text[160];
    int err;

    if (why)
        return refuse(c, VGR_ERROR_HELLO, why);
    if (!check_size(c, job.arena.size, n_runs))
        return false;
    err = vgr_worker_start(c->d->pool, &c->worker, &job, worker_exited);
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
    c->worker.tell = tell_over_limit;
    vgr_log_often(&c->d->pool->log, VGR_LOG_INFO, "context %u opened by a %s, arena %llu MiB",
                  c->worker.number, who(c->d), (unsigned long long)(job.arena.size >> 20));
    return show_worker(c) ||
           refuse(c, VGR_ERROR_INTERNAL, "the host cannot show the worker to the bridge");
}

/* Of a client with a worker: it hangs up, or says what nobody has asked for. */
static void client_ends(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_direct_client *c = vgr_container_of(watch, struct vgr_direct_client, watch);

    vgr_log_often(&c->d->pool->log, VGR_LOG_INFO, "context %u closed", c->worker.number);
    client_close(c);
}

/* Of a client with a worker. */
static void fail(struct vgr_direct_client *c, int err)
{
    char text[160];

    snprintf(text, sizeof(text), "the host cannot watch the connection: %s", strerror(-err));
    vgr_log_often(&c->d->log, VGR_LOG_ERROR, "%s: %s", who(c->d), text);
    notify(c, VGR_ERROR_INTERNAL, text);
    client_close(c);
}

/* From now on nothing may come. A client could send its own end of the connection, and close all others: as
 * long as that lies in the queue, there is no hang-up. */
static void client_taken(struct vgr_timer *t)
{
    struct vgr_direct_client *c = vgr_container_of(t, struct vgr_direct_client, timer);
    struct vgr_loop *loop = c->d->loop;
    int bytes, err;

    vgr_loop_charge(loop, VGR_WORK_CALLS, 3);
    vgr_loop_del(loop, &c->watch);
    err = VGR_SYS_AGAIN(ioctl(c->conn, SIOCINQ, &bytes)) ? -errno : 0;
    if (!err && bytes) {
        client_ends(&c->watch, EPOLLIN);
        return;
    }
    if (!err)
        err = vgr_loop_add(loop, &c->watch, c->conn, EPOLLIN | EPOLLRDHUP, client_ends);
    if (err)
        fail(c, err);
}

/* Its message is looked at where it is: to receive it is to receive its descriptors (worker/boot.h). It
 * stays in the queue until the worker takes it, so for a while only the connection's end is watched for. */
static void client_speaks(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_direct_client *c = vgr_container_of(watch, struct vgr_direct_client, watch);
    struct vgr_direct *d = c->d;
    union message m = {0};
    size_t len = d->broker ? sizeof(m.broker) : sizeof(m.direct);
    ssize_t n = VGR_SYS_AGAIN(recv(c->conn, &m, len, MSG_PEEK | MSG_DONTWAIT));
    int err = n < 0 ? errno : 0;

    vgr_loop_charge(d->loop, VGR_WORK_CALLS, 3); /* this one, and the watch's */
    vgr_loop_del(d->loop, watch);
    /* EAGAIN: it has sent an out-of-band byte, which nobody can look at and which would keep us awake. */
    if (err && err != ECONNRESET)
        refuse(c, err == EAGAIN ? VGR_ERROR_HELLO : VGR_ERROR_INTERNAL,
               err == EAGAIN ? "its message is not an OPEN"
                             : "the host cannot look at its message");
    /* Or it only asked for the capset, or has given up already. */
    if (n <= 0 || events & EPOLLRDHUP || !client_open(c, &m, n)) {
        client_close(c);
        return;
    }
    err = vgr_loop_add(d->loop, watch, c->conn, EPOLLRDHUP, client_ends);
    if (err) {
        fail(c, err);
        return;
    }
    vgr_timer_set(d->loop, &c->timer, d->taken_ms, client_taken);
}

static void client_silent(struct vgr_timer *t)
{
    struct vgr_direct_client *c = vgr_container_of(t, struct vgr_direct_client, timer);

    vgr_log_often(&c->d->log, VGR_LOG_WARN, "%s: no OPEN within %u s", who(c->d),
                  VGR_DIRECT_SILENCE_MS / 1000);
    client_close(c);
}

/* The client's end of the line is closed here whether it was sent or not. */
static int greet_bridge(struct vgr_direct_client *c)
{
    struct vgr_broker_hello hello = {VGR_BROKER_MAGIC, VGR_BROKER_VERSION, c->d->capset};
    int bridges, err = vgr_line_make(&bridges, &c->line);
    ssize_t n;

    if (err)
        return err;
    n = vgr_fds_send(c->conn, &hello, sizeof(hello), &bridges, 1, MSG_DONTWAIT);
    close(bridges);
    if (n < 0)
        return (int)n;
    return n == (ssize_t)sizeof(hello) ? 0 : -EMSGSIZE;
}

/* Returns 0 or -errno. */
static int greet(struct vgr_direct_client *c)
{
    const struct vgr_capset *cap = &c->d->capset;
    ssize_t n;

    if (c->d->broker)
        return greet_bridge(c);
    n = VGR_SYS_AGAIN(send(c->conn, cap, sizeof(*cap), MSG_NOSIGNAL | MSG_DONTWAIT));
    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof(*cap) ? 0 : -EMSGSIZE;
}

static void client_begin(struct vgr_direct *d, struct vgr_direct_client *c, int fd)
{
    int err;

    c->d = d;
    c->conn = fd;
    c->watch.fd = c->line = -1;
    if (d->first)
        d->first->prev = c;
    c->next = d->first;
    d->first = c;
    d->n_clients++;

    err = greet(c);
    if (!err)
        err = vgr_loop_add(d->loop, &c->watch, fd, EPOLLIN | EPOLLRDHUP, client_speaks);
    if (err) {
        if (err != -EPIPE && err != -ECONNRESET)
            vgr_log_often(&d->log, VGR_LOG_ERROR, "%s: cannot be served: %s", who(d),
                          strerror(-err));
        client_close(c);
        return;
    }
    vgr_timer_set(d->loop, &c->timer, VGR_DIRECT_SILENCE_MS, client_silent);
}

/* Whoever comes when there are too many waits until somebody goes. A connection is accepted once there is a
 * client to own it: what it has sent already cannot be dropped here (discard.h). */
static void listener_ready(struct vgr_listener *l)
{
    struct vgr_direct *d = vgr_container_of(l, struct vgr_direct, listener);
    struct vgr_direct_client *c;
    int fd;

    while (d->n_clients < limit_of(d)) {
        c = calloc(1, sizeof(*c));
        fd = c ? vgr_listener_next(l) : -1;
        if (!c)
            vgr_listener_again(l, VGR_LISTENER_RETRY_MS);
        if (fd < 0) {
            free(c);
            return;
        }
        client_begin(d, c, fd);
    }
    vgr_log_often(&d->log, VGR_LOG_WARN, "%s: %u connections, the next has to wait", l->path,
                  d->n_clients);
}

int vgr_direct_init(struct vgr_direct *d, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                    const struct vgr_capset *capset, int fd, const char *path, bool broker)
{
    memset(d, 0, sizeof(*d));
    d->loop = loop;
    d->pool = pool;
    d->capset = *capset;
    d->broker = broker;
    d->taken_ms = VGR_DIRECT_TAKEN_MS;
    return vgr_listener_add(&d->listener, loop, fd, path, listener_ready);
}

static void finish_client(struct vgr_direct_client *c)
{
    vgr_timer_stop(&c->timer);
    vgr_loop_del(c->d->loop, &c->watch);
    vgr_discard_finish(&c->discard);
    if (c->line >= 0)
        vgr_discard_last(c->line);
    if (c->conn >= 0)
        vgr_discard_last(c->conn);
    client_free(c);
}

void vgr_direct_finish(struct vgr_direct *d)
{
    struct vgr_direct_client *next;

    for (struct vgr_direct_client *c = d->first; c; c = next) {
        next = c->next;
        finish_client(c);
    }
    vgr_listener_close(
        &d->listener); /* last: a process that closes it has copies of what is open */
}
