/* SPDX-License-Identifier: MIT */
#include "device/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fds.h"
#include "common/log.h"
#include "device/report.h"

struct vgr_stats_client {
    struct vgr_watch
        watch; /* the connection: for reading, or once there is an answer for writing */
    struct vgr_timer timer;
    struct vgr_stats *s;
    struct vgr_stats_client *prev, *next;
    char head[VGR_STATS_HEAD];
    size_t got;
    char *answer; /* NULL: the request is not complete */
    size_t len, sent;
};

/* A client in a callback: what it sent, and its watch, or what it gets. */
#define CLIENT_CALLS 4u

static void accept_clients(struct vgr_stats *s);

static void client_free(struct vgr_stats_client *c)
{
    struct vgr_stats *s = c->s;

    vgr_timer_stop(&c->timer);
    vgr_loop_close(s->loop, &c->watch);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_clients--;
    free(c->answer);
    free(c);
}

static void client_close(struct vgr_stats_client *c)
{
    struct vgr_stats *s = c->s;

    client_free(c);
    accept_clients(s); /* one may be waiting for the place */
}

/* ---- The request ---- */

/* The status for a request line of `len` bytes, without its end. 200: *target is what is asked for,
 * without what follows a '?'. Writes into the line. */
static int parse(char *line, size_t len, const char **target)
{
    char *path, *version, *query;

    if (memchr(line, '\0', len))
        return 400;
    line[len] = '\0';
    path = strchr(line, ' ');
    if (!path || path == line)
        return 400;
    *path++ = '\0';
    version = strchr(path, ' ');
    if (!version)
        return 400;
    *version++ = '\0';
    if (strncmp(version, "HTTP/", 5))
        return 400;
    if (strcmp(version, "HTTP/1.0") && strcmp(version, "HTTP/1.1"))
        return 505;
    if (strcmp(line, "GET"))
        return 405;
    if (*path != '/')
        return 400;
    query = strchr(path, '?');
    if (query)
        *query = '\0';
    *target = path;
    return 200;
}

/* Looks at what has come. 0: more is to come; else the status of the answer. */
static int request(struct vgr_stats_client *c, const char **target)
{
    char *end = memchr(c->head, '\n', c->got);
    size_t len = end ? (size_t)(end - c->head) : c->got;

    if (len >= VGR_STATS_LINE)
        return 414;
    if (!end)
        return 0;
    /* An empty line ends the head. A client that still sends when it is answered is cut off. */
    if (!memmem(end, c->got - len, "\n\r\n", 3) && !memmem(end, c->got - len, "\n\n", 2))
        return c->got == sizeof(c->head) ? 431 : 0;
    if (len && c->head[len - 1] == '\r')
        len--;
    return parse(c->head, len, target);
}

/* ---- The answer ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    default:
        return "HTTP Version Not Supported";
    }
}

/* Sets c->answer. False: no memory even to say so. */
static bool compose(struct vgr_stats_client *c, int status, const char *target)
{
    const char *type = "text/plain; charset=utf-8";
    char head[256], sentence[128], *body = NULL;
    size_t body_len = 0;
    int n;

    if (status == 200 && !strcmp(target, "/metrics")) {
        type = "text/plain; version=0.0.4; charset=utf-8";
        body = vgr_report_prometheus(c->s->pool, &body_len);
        status = body ? 200 : 500;
    } else if (status == 200 && (!strcmp(target, "/") || !strcmp(target, "/stats") ||
                                 !strcmp(target, "/stats.json"))) {
        type = "application/json";
        body = vgr_report_json(c->s->pool, &body_len);
        status = body ? 200 : 500;
    } else if (status == 200) {
        status = 404;
    }
    if (!body) {
        body_len =
            (size_t)snprintf(sentence, sizeof(sentence),
                             "%s. GET /metrics (Prometheus) or /stats (JSON).\n", reason(status));
        type = "text/plain; charset=utf-8";
    }
    n = snprintf(head, sizeof(head),
                 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
                 "Connection: close\r\n\r\n",
                 status, reason(status), type, body_len, status == 405 ? "Allow: GET\r\n" : "");
    c->answer = malloc((size_t)n + body_len);
    if (c->answer) {
        memcpy(c->answer, head, (size_t)n);
        memcpy(c->answer + n, body ? body : sentence, body_len);
        c->len = (size_t)n + body_len;
    }
    free(body);
    return c->answer != NULL;
}

/* ---- The connection ---- */

static void client_writable(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_stats_client *c = vgr_container_of(watch, struct vgr_stats_client, watch);
    ssize_t n = send(watch->fd, c->answer + c->sent, c->len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

    vgr_loop_charge(c->s->loop, VGR_WORK_CALLS, CLIENT_CALLS);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        vgr_loop_charge(c->s->loop, VGR_WORK_BYTES, (uint64_t)n);
        c->sent += (size_t)n;
        if (c->sent < c->len)
            return; /* the rest when there is room, and after the others */
    }
    client_close(c);
}

/* From now on only room to write is of interest: not what else the client sends. */
static void answer(struct vgr_stats_client *c, int status, const char *target)
{
    int fd = c->watch.fd;

    vgr_loop_del(c->s->loop, &c->watch);
    if (!compose(c, status, target) ||
        vgr_loop_add(c->s->loop, &c->watch, fd, EPOLLOUT, client_writable)) {
        close(fd);
        client_close(c);
    }
}

static void client_readable(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_stats_client *c = vgr_container_of(watch, struct vgr_stats_client, watch);
    const char *target = NULL;
    ssize_t n;
    int status;

    vgr_loop_charge(c->s->loop, VGR_WORK_CALLS, CLIENT_CALLS);
    n = recv(watch->fd, c->head + c->got, sizeof(c->head) - c->got, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(c);
        return;
    }
    c->got += (size_t)n;
    status = request(c, &target);
    if (status)
        answer(c, status, target);
}

static void client_slow(struct vgr_timer *t)
{
    struct vgr_stats_client *c = vgr_container_of(t, struct vgr_stats_client, timer);

    vgr_debug("%s: a client took longer than %u ms", c->s->listener.path, c->s->limit_ms);
    client_close(c);
}

static void client_new(struct vgr_stats *s, int fd)
{
    struct vgr_stats_client *c = calloc(1, sizeof(*c));

    if (!c) {
        close(fd);
        return;
    }
    c->s = s;
    c->watch.fd = -1;
    if (s->first)
        s->first->prev = c;
    c->next = s->first;
    s->first = c;
    s->n_clients++;
    if (vgr_loop_add(s->loop, &c->watch, fd, EPOLLIN, client_readable)) {
        close(fd);
        client_free(c);
        return;
    }
    vgr_timer_set(s->loop, &c->timer, s->limit_ms, client_slow);
}

static void accept_clients(struct vgr_stats *s)
{
    int fd;

    while (s->n_clients < VGR_STATS_CLIENTS && (fd = vgr_listener_next(&s->listener)) >= 0)
        client_new(s, fd);
}

static void listener_ready(struct vgr_listener *l)
{
    accept_clients(vgr_container_of(l, struct vgr_stats, listener));
}

int vgr_stats_init(struct vgr_stats *s, struct vgr_loop *loop, const struct vgr_worker_pool *pool,
                   int fd, const char *path)
{
    memset(s, 0, sizeof(*s));
    s->loop = loop;
    s->pool = pool;
    s->limit_ms = VGR_STATS_MS;
    vgr_fds_refuse(fd);
    return vgr_listener_add(&s->listener, loop, fd, path, listener_ready);
}

void vgr_stats_finish(struct vgr_stats *s)
{
    struct vgr_stats_client *next;

    for (struct vgr_stats_client *c = s->first; c; c = next) {
        next = c->next;
        client_free(c);
    }
    vgr_listener_close(
        &s->listener); /* last: a process that closes it has copies of what is open */
}
