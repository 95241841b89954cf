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
 *
 * A turn is what happens between two calls of epoll_wait. It is to be short, whatever guests and
 * clients send, for everybody else waits. So callbacks charge the loop with what they do that somebody
 * else may choose the amount of, and vgr_loop_spent() says when the turn has done enough: by the work
 * charged, or by the clock. Whoever can go on later then asks for vgr_loop_again(), and the loop itself
 * serves nobody more in that turn. Events, timers and those of vgr_loop_again() are three lists; each goes
 * on where it was left, and the next turn begins with the list behind the one that used this turn up. So
 * nobody starves.
 *
 * What the turns took is kept: the longest by the clock, and the most of each kind of work in one turn.
 * The first depends on the machine and on who else wants its processors; the others do not.
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

/* Kinds of work, and what one of each costs in units; a unit is some 10 ns of a processor of today. */
enum vgr_work {
    VGR_WORK_ENTRIES,   /* of lists and tables, looked at or written: 1 */
    VGR_WORK_BYTES,     /* copied: 1 for VGR_WORK_BYTES_A_UNIT of them */
    VGR_WORK_CALLS,     /* of the system: VGR_WORK_UNITS_A_CALL */
    VGR_WORK_PROCESSES, /* started: VGR_WORK_UNITS_A_PROCESS */
    VGR_WORK_KINDS
};

#define VGR_WORK_BYTES_A_UNIT    64u
#define VGR_WORK_UNITS_A_CALL    64u
#define VGR_WORK_UNITS_A_PROCESS (1u << 16)

/* A turn has done enough after so many units, or so many milliseconds. */
#define VGR_LOOP_TURN_UNITS (1u << 19)
#define VGR_LOOP_TURN_MS    10u

/* No turn has more units than this: enough was done but for one, and then came the largest thing that
 * cannot be divided, a page list of 2^20 entries or a worker on such a one. */
#define VGR_LOOP_MOST_UNITS (3u << 20)

/* All 0: does not run. */
struct vgr_timer {
    struct vgr_timer *prev, *next;
    struct vgr_loop *loop; /* NULL: does not run */
    uint64_t end;          /* vgr_now_ms() */
    void (*ended)(struct vgr_timer *t);
};

/* Somebody who was not done. All 0: does not wait. */
struct vgr_again {
    struct vgr_again *prev, *next;
    struct vgr_loop *loop; /* NULL: does not wait */
    uint64_t turn;         /* the number of the one in which it began to */
    void (*go_on)(struct vgr_again *a);
};

/* What the turns of a loop took, since it began. */
struct vgr_loop_record {
    uint64_t turns;
    uint64_t longest_ns;
    uint64_t most_units;
    uint64_t most[VGR_WORK_KINDS];
};

struct vgr_loop {
    int epoll_fd;
    bool stop;
    unsigned next, n_events;
    struct epoll_event events[VGR_LOOP_BATCH];
    struct vgr_timer *first, *last; /* that run */
    struct vgr_again *waiting, *last_waiting;
    unsigned kind;                 /* the next to be served: events, timers, those that wait */
    uint64_t work[VGR_WORK_KINDS]; /* charged in this turn */
    uint64_t began_ns;             /* this turn; CLOCK_MONOTONIC */
    bool look;                     /* at the clock, next time */
    uint64_t looked_at;            /* how many units there were when the clock was looked at last */
    struct vgr_loop_record record; /* `turns` counts this one, too */
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

/* Charges the turn with `n` pieces of work. From the loop's thread, as all of this. */
static inline void vgr_loop_charge(struct vgr_loop *loop, enum vgr_work kind, uint64_t n)
{
    loop->work[kind] += n;
}

/* The units charged in this turn. */
uint64_t vgr_loop_units(const struct vgr_loop *loop);

/* True once the turn has done enough. Costs little: the clock is read after some work only. */
bool vgr_loop_spent(struct vgr_loop *loop);

/* Something has taken longer than its charge says: vgr_loop_spent() looks at the clock next time. */
static inline void vgr_loop_look(struct vgr_loop *loop)
{
    loop->look = true;
}

/* Has the loop call `go_on` once in a later turn; until then no turn waits. For one that waits already
 * only the callback changes. In the callback it does not wait any more, and may be freed. */
void vgr_loop_again(struct vgr_loop *loop, struct vgr_again *a, void (*go_on)(struct vgr_again *a));

/* No-op for one that does not wait. */
void vgr_again_stop(struct vgr_again *a);

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
