/* SPDX-License-Identifier: MIT
 *
 * loop.h - the event loop: epoll, one thread, level-triggered unless asked otherwise; and timers.
 *
 * A watch is embedded in the object that owns the descriptor. A callback may remove any watch, its
 * own and those whose events are already fetched included: a removed watch is never called again,
 * so its object can be freed at once. Nothing here blocks but vgr_loop_run() and vgr_loop_turn().
 *
 * A timer is embedded, too. Those that run are a list by the time at which they end, and epoll waits no
 * longer than for the first: no descriptor, nothing that can fail, and no system call, which also suits
 * processes that may not have a timerfd. The list is short (a timer for each client that has not spoken
 * yet), so it is searched from its end when one is set, where most belong.
 */
#ifndef VGR_DEVICE_LOOP_H
#define VGR_DEVICE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define VGR_LOOP_BATCH 32

#define vgr_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

struct vgr_watch {
    int fd;                                              /* -1: not watched; the owner closes it */
    void (*ready)(struct vgr_watch *w, uint32_t events); /* events: EPOLL* */
};

/* All 0: does not run. */
struct vgr_timer {
    struct vgr_timer *prev, *next;
    struct vgr_loop *loop; /* NULL: does not run */
    uint64_t end;          /* vgr_now_ms() */
    void (*ended)(struct vgr_timer *t);
};

struct vgr_loop {
    int epoll_fd;
    bool stop;
    int next, n_events;
    struct epoll_event events[VGR_LOOP_BATCH];
    uint64_t wakeups;               /* returns of epoll_wait, for the debug log */
    struct vgr_timer *first, *last; /* that run */
};

/* 0 or -errno. */
int vgr_loop_init(struct vgr_loop *loop);
void vgr_loop_finish(struct vgr_loop *loop);

/* Watches `fd` for `events` (EPOLLIN, EPOLLET...). Returns 0 or -errno; w->fd is set on success and
 * -1 on failure. */
int vgr_loop_add(struct vgr_loop *loop, struct vgr_watch *w, int fd, uint32_t events,
                 void (*ready)(struct vgr_watch *w, uint32_t events));

/* Ends a watch and sets w->fd to -1; the descriptor stays open. No-op for a watch that is not
 * watched. */
void vgr_loop_del(struct vgr_loop *loop, struct vgr_watch *w);

/* vgr_loop_del() and close(). */
void vgr_loop_close(struct vgr_loop *loop, struct vgr_watch *w);

/* Serves events until loop->stop is set. Returns 0 or -errno. */
int vgr_loop_run(struct vgr_loop *loop);

/* The same once: waits `ms` at most (-1: for ever) and serves what there is, events and timers. */
int vgr_loop_turn(struct vgr_loop *loop, int ms);

/* Has the loop call `ended` once, not before `ms` milliseconds from now; for a timer that runs already,
 * instead of what was set. In the callback it does not run any more, and may be set or freed. */
void vgr_timer_set(struct vgr_loop *loop, struct vgr_timer *t, uint32_t ms,
                   void (*ended)(struct vgr_timer *t));

/* No-op for a timer that does not run. */
void vgr_timer_stop(struct vgr_timer *t);

static inline bool vgr_timer_runs(const struct vgr_timer *t)
{
    return t->loop;
}

/* Both are for an eventfd in non-blocking mode of this process alone, or one shared with the monitor: whoever
 * else has it can change the mode, and with it whether these calls wait. For a worker there is
 * common/line.h. */

/* Empties it. Returns the count read, 0 if there was none. */
uint64_t vgr_event_read(int fd);

/* Adds 1. A full counter is as good as a signal. */
void vgr_event_signal(int fd);

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t vgr_now_ms(void);

/* Unix time in nanoseconds. */
uint64_t vgr_unix_ns(void);

#endif
