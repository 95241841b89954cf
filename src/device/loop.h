/* SPDX-License-Identifier: MIT
 *
 * loop.h - the event loop: epoll, one thread, level-triggered unless asked otherwise.
 *
 * A watch is embedded in the object that owns the descriptor. A callback may remove any watch, its
 * own and those whose events are already fetched included: a removed watch is never called again,
 * so its object can be freed at once. Nothing here blocks but vgr_loop_run().
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

struct vgr_loop {
    int epoll_fd;
    bool stop;
    int next, n_events;
    struct epoll_event events[VGR_LOOP_BATCH];
    uint64_t wakeups; /* returns of epoll_wait, for the debug log */
    /* When to call expired(), once, as vgr_now_ms() tells; 0: never. For a process that may not have a
     * timerfd. Set in callbacks, or before the loop runs. */
    uint64_t deadline;
    void (*expired)(struct vgr_loop *loop);
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

/* A one-shot timer as a watch. Returns 0 or -errno. Armed by vgr_timer_set(). */
int vgr_timer_add(struct vgr_loop *loop, struct vgr_watch *w,
                  void (*ready)(struct vgr_watch *w, uint32_t events));

/* Fires once, `ms` milliseconds from now; 0 disarms. */
void vgr_timer_set(struct vgr_watch *w, uint32_t ms);

/* Empties an eventfd or timerfd. Returns the count read, 0 if there was none. */
uint64_t vgr_event_read(int fd);

/* Adds 1 to an eventfd that is in non-blocking mode. A full counter is as good as a signal. */
void vgr_event_signal(int fd);

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t vgr_now_ms(void);

/* Unix time in nanoseconds. */
uint64_t vgr_unix_ns(void);

#endif
