/* SPDX-License-Identifier: MIT */
#include "device/loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/timerfd.h>
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

/* How long epoll may wait, ms; 0: the deadline has come, -1: there is none. */
static int patience(const struct vgr_loop *loop)
{
    uint64_t now;

    if (!loop->deadline)
        return -1;
    now = vgr_now_ms();
    if (now >= loop->deadline)
        return 0;
    return loop->deadline - now < INT_MAX ? (int)(loop->deadline - now) : INT_MAX;
}

int vgr_loop_run(struct vgr_loop *loop)
{
    while (!loop->stop) {
        int timeout = patience(loop);

        if (!timeout) {
            loop->deadline = 0;
            loop->expired(loop);
            continue;
        }
        loop->next = 0;
        loop->n_events = epoll_wait(loop->epoll_fd, loop->events, VGR_LOOP_BATCH, timeout);
        if (loop->n_events < 0) {
            if (errno != EINTR)
                return -errno;
            continue;
        }
        loop->wakeups++;
        while (loop->next < loop->n_events) {
            struct epoll_event *ev = &loop->events[loop->next++];
            struct vgr_watch *w = ev->data.ptr;

            if (w)
                w->ready(w, ev->events);
        }
    }
    return 0;
}

int vgr_timer_add(struct vgr_loop *loop, struct vgr_watch *w,
                  void (*ready)(struct vgr_watch *w, uint32_t events))
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int err;

    w->fd = -1;
    if (fd < 0)
        return -errno;
    err = vgr_loop_add(loop, w, fd, EPOLLIN, ready);
    if (err)
        close(fd);
    return err;
}

void vgr_timer_set(struct vgr_watch *w, uint32_t ms)
{
    struct itimerspec its = {
        .it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
    };

    timerfd_settime(w->fd, 0, &its, NULL);
}

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
