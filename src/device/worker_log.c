/* SPDX-License-Identifier: MIT */
#include "device/worker_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fds.h"
#include "protocol/sys.h"

/* ---- Limits ---- */

/* Who debugs wants more, and has room for it. */
static unsigned scale(void)
{
    return vgr_log_level_get() == VGR_LOG_DEBUG ? 10 : 1;
}

/* How many of `most` lines are there, when `rate` come back each second. */
static unsigned available(struct vgr_worker_log_lines *lines, unsigned most, unsigned rate)
{
    uint64_t now = vgr_now_ms(), back = (now - lines->since_ms) * rate / 1000;

    if (back) {
        lines->since_ms = now;
        lines->used -= back < lines->used ? (unsigned)back : lines->used;
    }
    return lines->used < most ? most - lines->used : 0;
}

static unsigned own_lines(struct vgr_worker_log *l)
{
    return available(&l->own, VGR_WORKER_LOG_LINES * scale(), scale());
}

/* Takes up to `n` lines from those of all workers. */
static unsigned take_lines(struct vgr_worker_log *l, unsigned n)
{
    unsigned there =
        available(l->all, VGR_WORKER_LOG_ALL_LINES * scale(), VGR_WORKER_LOG_ALL_RATE * scale());

    if (n > there)
        n = there;
    l->all->used += n;
    return n;
}

/* ---- Lines ---- */

static void write_line(const struct vgr_worker_log *l, const char *text, size_t len)
{
    char prefix[32];

    snprintf(prefix, sizeof(prefix), "vgr-worker[%u]", l->number);
    vgr_loop_charge(l->loop, VGR_WORK_CALLS, 2);
    vgr_log_text(prefix, text, len);
}

static void tell_left_out(struct vgr_worker_log *l)
{
    if (l->left_out)
        vgr_warn("%u lines of worker %u were left out", l->left_out, l->number);
    l->left_out = 0;
    l->n_tail = 0;
}

static void leave_out(struct vgr_worker_log *l)
{
    for (size_t i = 0; i < l->len; i++)
        l->tail[l->n_tail++ % sizeof(l->tail)] = l->line[i];
    l->tail[l->n_tail++ % sizeof(l->tail)] = '\n';
    l->left_out++;
}

static void end_line(struct vgr_worker_log *l)
{
    /* With few lines left, saying how many are left out would need as many again. */
    if (l->len && own_lines(l) >= (l->left_out ? VGR_LOG_BURST : 1)) {
        tell_left_out(l);
        l->own.used++;
        write_line(l, l->line, l->len);
    } else if (l->len) {
        leave_out(l);
    }
    l->len = 0;
}

static void add(struct vgr_worker_log *l, const char *p, size_t n)
{
    while (n) {
        const char *end = memchr(p, '\n', n);
        size_t part = end ? (size_t)(end - p) : n, room = sizeof(l->line) - l->len;

        if (!l->cut) {
            memcpy(l->line + l->len, p, part < room ? part : room);
            l->len += part < room ? part : room;
        }
        if (end) {
            if (!l->cut)
                end_line(l);
            l->cut = false;
            part++;
        } else if (l->len == sizeof(l->line)) {
            end_line(l);
            l->cut = true;
        }
        p += part;
        n -= part;
    }
}

/* Writes the last of the lines that were left out. */
static void write_tail(struct vgr_worker_log *l)
{
    size_t from = l->n_tail < sizeof(l->tail) ? 0 : l->n_tail - sizeof(l->tail), end = l->n_tail;
    unsigned most = take_lines(l, VGR_WORKER_LOG_LAST), n = 0;
    char line[VGR_LOG_LINE];
    size_t at = end;

    /* Back to the beginning of the first one that is wanted and whole. */
    for (size_t i = end; i > from && n < most; i--) {
        bool begins = i - 1 == from ? !from : l->tail[(i - 2) % sizeof(l->tail)] == '\n';

        if (begins) {
            at = i - 1;
            n++;
        }
    }
    if (!n)
        return;
    l->left_out -= n;
    tell_left_out(l);
    for (size_t len = 0; at < end; at++) {
        char c = l->tail[at % sizeof(l->tail)];

        if (c != '\n') {
            line[len++] = c;
            continue;
        }
        write_line(l, line, len);
        len = 0;
    }
}

/* ---- The socket ---- */

static int watch(struct vgr_worker_log *l);

static void pause_ended(struct vgr_timer *t)
{
    struct vgr_worker_log *l = vgr_container_of(t, struct vgr_worker_log, pause);

    l->charged = 0;
    /* Without a watch the worker's lines come when it ends. */
    if (watch(l))
        vgr_timer_set(l->loop, &l->pause, VGR_WORKER_LOG_PAUSE_MS, pause_ended);
}

void vgr_worker_log_rest(struct vgr_worker_log *l)
{
    if (!l->loop)
        return;
    vgr_timer_stop(&l->pause);
    vgr_loop_del(l->loop, &l->watch);
}

static void charge(struct vgr_worker_log *l, size_t n)
{
    vgr_loop_charge(l->loop, VGR_WORK_CALLS, 1);
    vgr_loop_charge(l->loop, VGR_WORK_BYTES, n);
    l->charged += n > VGR_WORKER_LOG_LEAST ? (unsigned)n : VGR_WORKER_LOG_LEAST;
    if (l->charged >= VGR_WORKER_LOG_CHARGE) {
        vgr_loop_del(l->loop, &l->watch);
        vgr_timer_set(l->loop, &l->pause, VGR_WORKER_LOG_PAUSE_MS, pause_ended);
    }
}

static void ready(struct vgr_watch *w, uint32_t events)
{
    struct vgr_worker_log *l = vgr_container_of(w, struct vgr_worker_log, watch);
    char buf[VGR_WORKER_LOG_MESSAGE];
    enum vgr_cost_found found;
    ssize_t n;

    vgr_cost_begin(&l->cost);
    n = VGR_SYS_AGAIN(recv(l->fd, buf, sizeof(buf), MSG_DONTWAIT));
    found = vgr_cost_end(&l->cost);
    if (n > 0)
        add(l, buf, (size_t)n);
    charge(l, n > 0 ? (size_t)n : 0);
    /* Before that, it was an empty message. */
    if (!n && (events & EPOLLHUP))
        vgr_worker_log_rest(l);
    if (l->read)
        l->read(l, found);
}

static int watch(struct vgr_worker_log *l)
{
    return vgr_loop_add(l->loop, &l->watch, l->fd, EPOLLIN, ready);
}

int vgr_worker_log_open(struct vgr_worker_log *l, struct vgr_loop *loop,
                        struct vgr_worker_log_lines *all, uint32_t number)
{
    const int size = VGR_WORKER_LOG_BUFFER;
    int s[2], err;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s) < 0)
        return -errno;
    setsockopt(s[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    fcntl(s[1], F_SETFL, O_RDWR); /* a worker waits rather than lose lines */
    vgr_fds_refuse(s[0]);
    *l = (struct vgr_worker_log){.loop = loop, .all = all, .fd = s[0], .number = number};
    l->watch.fd = -1;
    /* Nothing is ever said to a worker here. */
    err = shutdown(s[0], SHUT_WR) < 0 ? -errno : watch(l);
    if (err) {
        close(s[0]);
        close(s[1]);
        l->loop = NULL;
        return err;
    }
    l->own.since_ms = vgr_now_ms();
    l->own.used = VGR_WORKER_LOG_LINES * scale() - take_lines(l, VGR_WORKER_LOG_LINES * scale());
    return s[1];
}

void vgr_worker_log_close(struct vgr_worker_log *l)
{
    char buf[VGR_WORKER_LOG_MESSAGE];
    unsigned unused;
    ssize_t n;

    if (!l->loop)
        return;
    for (unsigned i = 0; i < VGR_WORKER_LOG_REST; i++) {
        n = VGR_SYS_AGAIN(recv(l->fd, buf, sizeof(buf), MSG_DONTWAIT));
        if (n < 0)
            break;
        add(l, buf, (size_t)n);
        vgr_loop_charge(l->loop, VGR_WORK_CALLS, 1);
        vgr_loop_charge(l->loop, VGR_WORK_BYTES, (uint64_t)n);
    }
    end_line(l);
    if (l->left_out)
        write_tail(l);
    tell_left_out(l);
    unused = own_lines(l);
    l->all->used -= unused < l->all->used ? unused : l->all->used;
    vgr_worker_log_rest(l);
    close(l->fd);
    l->loop = NULL;
}
