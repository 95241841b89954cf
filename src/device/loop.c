/* SPDX-License-Identifier: MIT */
#include "device/loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/sys.h"

int vgr_loop_init(struct vgr_loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->epoll_fd = vgr_sys_high(epoll_create1(EPOLL_CLOEXEC));
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
    for (unsigned i = loop->next; i < loop->n_events; i++) {
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
        if (vgr_loop_spent(loop))
            return;
    }
}

/* How long epoll may wait: `ms`, or until the first timer ends. */
static int patience(const struct vgr_loop *loop, int ms)
{
    uint64_t now, left;

    if (loop->waiting || loop->next < loop->n_events)
        return 0;
    if (!loop->first)
        return ms;
    now = vgr_now_ms();
    left = loop->first->end > now ? loop->first->end - now : 0;
    if (ms >= 0 && left > (uint64_t)ms)
        return ms;
    return left < INT_MAX ? (int)left : INT_MAX;
}

/* ---- Turns ---- */

uint64_t vgr_loop_units(const struct vgr_loop *loop)
{
    const uint64_t *w = loop->work;

    return w[VGR_WORK_ENTRIES] + w[VGR_WORK_BYTES] / VGR_WORK_BYTES_A_UNIT +
           w[VGR_WORK_CALLS] * VGR_WORK_UNITS_A_CALL +
           w[VGR_WORK_PROCESSES] * VGR_WORK_UNITS_A_PROCESS;
}

bool vgr_loop_spent(struct vgr_loop *loop)
{
    uint64_t units = vgr_loop_units(loop);

    if (units >= VGR_LOOP_TURN_UNITS)
        return true;
    if (!loop->look && units - loop->looked_at < VGR_LOOP_TURN_UNITS / 64)
        return false;
    loop->look = false;
    if ((uint64_t)vgr_sys_now() - loop->began_ns >= VGR_LOOP_TURN_MS * UINT64_C(1000000))
        return true; /* and will be at the next look */
    loop->looked_at = units;
    return false;
}

void vgr_again_stop(struct vgr_again *a)
{
    struct vgr_loop *loop = a->loop;

    if (!loop)
        return;
    *(a->prev ? &a->prev->next : &loop->waiting) = a->next;
    *(a->next ? &a->next->prev : &loop->last_waiting) = a->prev;
    a->loop = NULL;
}

void vgr_loop_again(struct vgr_loop *loop, struct vgr_again *a, void (*go_on)(struct vgr_again *a))
{
    a->go_on = go_on;
    if (a->loop)
        return;
    a->prev = loop->last_waiting;
    a->next = NULL;
    *(a->prev ? &a->prev->next : &loop->waiting) = a;
    loop->last_waiting = a;
    a->loop = loop;
    a->turn = loop->record.turns;
}

/* Those that wait, but for those that began to in this turn: they are behind the others. */
static void go_on(struct vgr_loop *loop)
{
    struct vgr_again *a;

    while (!loop->stop && (a = loop->waiting) && a->turn != loop->record.turns) {
        vgr_again_stop(a);
        a->go_on(a);
        if (vgr_loop_spent(loop))
            return;
    }
}

/* Behind what was left of the last turn, unless it is among that. */
static void add_event(struct vgr_loop *loop, unsigned left, struct epoll_event ev)
{
    for (unsigned i = 0; i < left; i++) {
        if (loop->events[i].data.ptr == ev.data.ptr) {
            loop->events[i].events |= ev.events;
            return;
        }
    }
    loop->events[loop->n_events++] = ev;
}

/* Moves what was left of the last turn to the front, and gets what is new behind it. 0 or -errno. */
static int get_events(struct vgr_loop *loop, int ms)
{
    unsigned left = loop->n_events - loop->next;
    int wait = patience(loop, ms), n = 0;
    struct epoll_event fresh[VGR_LOOP_BATCH];

    memmove(loop->events, loop->events + loop->next, left * sizeof(loop->events[0]));
    loop->next = 0;
    loop->n_events = left;
    /* A turn that timers, or those that wait, have used up leaves all of them: epoll takes room for none for an
     * error. */
    if (left < VGR_LOOP_BATCH)
        n = epoll_wait(loop->epoll_fd, fresh, (int)(VGR_LOOP_BATCH - left), wait);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++)
        add_event(loop, left, fresh[i]);
    return 0;
}

static void begin_turn(struct vgr_loop *loop)
{
    memset(loop->work, 0, sizeof(loop->work));
    loop->looked_at = 0;
    loop->began_ns = (uint64_t)vgr_sys_now();
    loop->record.turns++;
    vgr_loop_charge(loop, VGR_WORK_CALLS, 1);
    vgr_loop_charge(loop, VGR_WORK_ENTRIES, loop->n_events);
}

static void end_turn(struct vgr_loop *loop)
{
    struct vgr_loop_record *r = &loop->record;
    uint64_t ns = (uint64_t)vgr_sys_now() - loop->began_ns, units = vgr_loop_units(loop);

    if (ns > r->longest_ns)
        r->longest_ns = ns;
    if (units > r->most_units)
        r->most_units = units;
    for (int i = 0; i < VGR_WORK_KINDS; i++) {
        if (loop->work[i] > r->most[i])
            r->most[i] = loop->work[i];
    }
}

static void serve_events(struct vgr_loop *loop)
{
    while (loop->next < loop->n_events) {
        struct epoll_event *ev = &loop->events[loop->next++];
        struct vgr_watch *w = ev->data.ptr;

        if (!w)
            continue;
        w->ready(w, ev->events);
        if (vgr_loop_spent(loop))
            return;
    }
}

/* Once a kind has used up a turn, the next turn begins with the kind behind it. */
static void serve(struct vgr_loop *loop)
{
    static void (*const kinds[])(struct vgr_loop *loop) = {serve_events, end_timers, go_on};

    for (unsigned left = 3; left && !vgr_loop_spent(loop); left--) {
        kinds[loop->kind](loop);
        loop->kind = (loop->kind + 1) % 3;
    }
}

int vgr_loop_turn(struct vgr_loop *loop, int ms)
{
    int err = get_events(loop, ms);

    if (err)
        return err;
    begin_turn(loop);
    serve(loop);
    end_turn(loop);
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

    return VGR_SYS_AGAIN(read(fd, &n, sizeof(n))) == sizeof(n) ? n : 0;
}

void vgr_event_signal(int fd)
{
    uint64_t one = 1;

    if (VGR_SYS_AGAIN(write(fd, &one, sizeof(one))) < 0) {
        /* EAGAIN: the counter is full, so the reader has a signal waiting. */
    }
}

uint64_t vgr_now_ms(void)
{
    return (uint64_t)vgr_sys_now() / 1000000;
}

uint64_t vgr_unix_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
