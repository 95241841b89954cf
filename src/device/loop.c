/* SPDX-License-Identifier: MIT */
#include "device/loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int vgr_loop_init(struct vgr_loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll_fd < 0 ? -errno : 0;
}

void vgr_loop_finish(struct vgr_loop *loop)
{
    close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

int vgr_loop_add(struct vgr_loop *loop, struct vgr_watch *w, int fd, uint32_t events,
                 void (*ready)(struct vgr_watch *w, uint32_t events))
{
    struct epoll_event ev = {.events = events, .data.ptr = w};

    w->fd = -1;
    w->ready = ready;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    w->fd = fd;
    return 0;
}

void vgr_loop_del(struct vgr_loop *loop, struct vgr_watch *w)
{
    if (w->fd < 0)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->fd = -1;
    /* Events of this batch that were not served yet must not reach a freed object. */
    for (int i = loop->next; i < loop->n_events; i++) {
        if (loop->events[i].data.ptr == w)
            loop->events[i].data.ptr = NULL;
    }
}

void vgr_loop_close(struct vgr_loop *loop, struct vgr_watch *w)
{
    int fd = w->fd;

    if (fd < 0)
        return;
    vgr_loop_del(loop, w);
    close(fd);
}

/* ---- Timers ---- */

void vgr_timer_stop(struct vgr_timer *t)
{
    struct vgr_loop *loop = t->loop;

    if (!loop)
        return;
    *(t->prev ? &t->prev->next : &loop->first) = t->next;
    *(t->next ? &t->next->prev : &loop->last) = t->prev;
    t->loop = NULL;
}

void vgr_timer_set(struct vgr_loop *loop, struct vgr_timer *t, uint32_t ms,
                   void (*ended)(struct vgr_timer *t))
{
    struct vgr_timer *before;

    vgr_timer_stop(t);
    before = loop->last;
    t->end = vgr_now_ms() + ms + 1; /* of the millisecond that it is now, a part is over */
    t->ended = ended;
    while (before && before->end > t->end)
        before = before->prev;
    t->prev = before;
    t->next = before ? before->next : loop->first;
    *(t->prev ? &t->prev->next : &loop->first) = t;
    *(t->next ? &t->next->prev : &loop->last) = t;
    t->loop = loop;
}

/* Ends those whose time has come; what their callbacks set is for later. */
static void end_timers(struct vgr_loop *loop)
{
    uint64_t now = loop->first ? vgr_now_ms() : 0;
    struct vgr_timer *t;

    while (!loop->stop && (t = loop->first) && t->end <= now) {
        vgr_timer_stop(t);
        t->ended(t);
    }
}

/* How long epoll may wait: `ms`, or until the first timer ends. */
static int patience(const struct vgr_loop *loop, int ms)
{
    uint64_t now, left;

    if (!loop->first)
        return ms;
    now = vgr_now_ms();
    left = loop->first->end > now ? loop->first->end - now : 0;
    if (ms >= 0 && left > (uint64_t)ms)
        return ms;
    return left < INT_MAX ? (int)left : INT_MAX;
}

/* ---- Turns ---- */

int vgr_loop_turn(struct vgr_loop *loop, int ms)
{
    loop->next = 0;
    loop->n_events = epoll_wait(loop->epoll_fd, loop->events, VGR_LOOP_BATCH, patience(loop, ms));
    if (loop->n_events < 0)
        return errno == EINTR ? 0 : -errno;
    loop->wakeups++;
    while (loop->next < loop->n_events) {
        struct epoll_event *ev = &loop->events[loop->next++];
        struct vgr_watch *w = ev->data.ptr;

        if (w)
            w->ready(w, ev->events);
    }
    end_timers(loop);
    return 0;
}

int vgr_loop_run(struct vgr_loop *loop)
{
    int err = 0;

    while (!loop->stop && !err)
        err = vgr_loop_turn(loop, -1);
    return err;
}

/* ---- Events and clocks ---- */

uint64_t vgr_event_read(int fd)
{
    uint64_t n;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

void vgr_event_signal(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) < 0) {
        /* EAGAIN: the counter is full, so the reader has a signal waiting. */
    }
}

uint64_t vgr_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t vgr_unix_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
