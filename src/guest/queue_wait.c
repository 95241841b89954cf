/* SPDX-License-Identifier: MIT
 *
 * Waiting for the worker: see queue.h.
 */
#include "guest/conn.h"
#include "protocol/sys.h"

#define MS INT64_C(1000000)

/* Between two looks at the clock while spinning. */
#define SPINS 64

/* A sleep's first limit and its largest: a lost wake-up costs the first, a slow host the second. */
#define SLEEP_FIRST (50 * MS)
#define SLEEP_MAX   (1000 * MS)

/* No progress for so long: ask the transport if anybody is there. With the time that it takes to ask,
 * a program knows within five seconds. */
#define PATIENCE (700 * MS)

struct vgr_waiter {
    const struct vgr_queue *queue;
    uint64_t seq;
    struct vgr_waiter *next;
};

/* A number that was never sent is a lie. (A command's number is written before it is visible, and
 * `done` is read with acquire: so an honest one is never above what is read here.) */
static bool plausible(const struct vgr_queue *q, uint64_t done)
{
    return done <= __atomic_load_n(&q->sent, __ATOMIC_RELAXED);
}

/* Whoever reads q->done sees what the host wrote before it said so, also if another thread looked. */
static bool reached(struct vgr_queue *q, uint64_t seq)
{
    uint64_t known = __atomic_load_n(&q->done, __ATOMIC_ACQUIRE), done;

    if (known >= seq)
        return true;
    done = vgr_ring_done(&q->ring);
    if (done < seq || !plausible(q, done))
        return false;
    /* Another thread may have stored a higher one: never go back. */
    while (known < done && !__atomic_compare_exchange_n(&q->done, &known, done, true,
                                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
    return true;
}

static bool host_failed(struct vgr_queue *q)
{
    return __atomic_load_n(&vgr_conn_control(q->conn)->state, __ATOMIC_ACQUIRE) !=
               VGR_STATE_READY ||
           !plausible(q, vgr_ring_done(&q->ring));
}

/* Polls until the clock shows `until`. */
static bool poll_until(struct vgr_queue *q, uint64_t seq, int64_t until)
{
    do {
        for (int i = 0; i < SPINS; i++) {
            if (reached(q, seq))
                return true;
            vgr_ring_relax();
        }
    } while (vgr_sys_now() < until);
    return false;
}

/* The lowest number that somebody waits for in the queue; 0: nobody does. */
static uint64_t lowest(const struct vgr_queue *q)
{
    uint64_t done = __atomic_load_n(&q->done, __ATOMIC_RELAXED), low = UINT64_MAX;

    for (const struct vgr_waiter *w = q->conn->waiters; w; w = w->next) {
        if (w->queue == q && w->seq > done && w->seq < low)
            low = w->seq;
    }
    return low == UINT64_MAX ? 0 : low;
}

static void remove_waiter(struct vgr_conn *c, struct vgr_waiter *w)
{
    struct vgr_waiter **p = &c->waiters;

    while (*p != w)
        p = &(*p)->next;
    *p = w->next;
}

/* Tells the worker of all that is waited for. False if some of it is there: then nobody may sleep. */
static bool arm(struct vgr_conn *c)
{
    bool all = true;

    for (uint32_t i = 0; i < c->reply.n_devices; i++) {
        struct vgr_queue *q = vgr_conn_queue(c, i);

        if (!q)
            continue;
        q->armed = lowest(q);
        if (q->armed && !vgr_ring_wait_begin(&q->ring, q->armed)) {
            reached(q, q->armed);
            q->armed = 0;
            all = false;
        }
    }
    return all;
}

static void disarm(struct vgr_conn *c)
{
    for (uint32_t i = 0; i < c->reply.n_devices; i++) {
        struct vgr_queue *q = vgr_conn_queue(c, i);

        if (q && q->armed)
            vgr_ring_wait_end(&q->ring);
        if (q)
            q->armed = 0;
    }
}

/* Sleeps once, for everybody. Called and returns with sleep_lock held. */
static void sleep_once(struct vgr_conn *c, int64_t limit)
{
    if (arm(c)) {
        c->sleeping = true;
        pthread_mutex_unlock(&c->sleep_lock);

        c->transport.ops->sleep(&c->transport, limit);

        pthread_mutex_lock(&c->sleep_lock);
        c->sleeping = false;
    }
    disarm(c);
    pthread_cond_broadcast(&c->sleep_cond);
}

/* Sleeps until `seq` is reached or the clock shows `until` (0: no limit). */
static bool sleep_until(struct vgr_queue *q, uint64_t seq, int64_t until)
{
    struct vgr_conn *c = q->conn;
    struct vgr_waiter self = {.queue = q, .seq = seq};
    int64_t limit = SLEEP_FIRST, quiet_since = vgr_sys_now();
    uint64_t seen = vgr_ring_done(&q->ring);
    bool ok;

    pthread_mutex_lock(&c->sleep_lock);
    self.next = c->waiters;
    c->waiters = &self;

    while (!(ok = reached(q, seq)) && !vgr_conn_failed(c)) {
        /* Once: a limit that has passed meanwhile would be none. */
        int64_t left = until ? until - vgr_sys_now() : limit;

        if (left <= 0)
            break;
        if (host_failed(q)) {
            pthread_mutex_unlock(&c->sleep_lock);
            vgr_conn_fail(c, "the host has ended the connection");
            pthread_mutex_lock(&c->sleep_lock);
            break;
        }
        if (c->sleeping) {
            /* Another thread sleeps for us too: make sure that it is woken early enough. Only ever
             * lower the number here, so that its own wake-up cannot get lost. */
            if (!q->armed || seq < q->armed) {
                q->armed = seq;
                __atomic_store_n(&q->ring.ctl->wait_seq, seq, __ATOMIC_SEQ_CST);
                if (__atomic_load_n(&q->ring.ctl->done, __ATOMIC_SEQ_CST) >= seq)
                    continue;
            }
            pthread_cond_wait(&c->sleep_cond, &c->sleep_lock);
            continue;
        }

        if (!until)
            vgr_count(c->counters.sleeps, 1);
        sleep_once(c, left);
        if (vgr_ring_done(&q->ring) != seen) {
            seen = vgr_ring_done(&q->ring);
            quiet_since = vgr_sys_now();
        } else if (vgr_sys_now() - quiet_since > PATIENCE) {
            bool alive;

            pthread_mutex_unlock(&c->sleep_lock);
            alive = c->transport.ops->alive(&c->transport);
            if (!alive)
                vgr_conn_fail(c, "the host does not answer any more");
            pthread_mutex_lock(&c->sleep_lock);
            quiet_since = vgr_sys_now();
        }
        limit = limit * 2 < SLEEP_MAX ? limit * 2 : SLEEP_MAX;
    }

    remove_waiter(c, &self);
    /* If we were the one to sleep, another waiter must take over. */
    pthread_cond_broadcast(&c->sleep_cond);
    pthread_mutex_unlock(&c->sleep_lock);
    return ok;
}

/* Sleeps until shortly before the result is expected. */
static bool nap(struct vgr_queue *q, uint64_t seq, int64_t until)
{
    vgr_count(q->conn->counters.naps, 1);
    if (q->conn->transport.ops->sleep_is_cheap)
        return sleep_until(q, seq, until);
    /* Woken early by a signal, it would poll for the rest of the time. */
    vgr_sys_nap_until(until);
    return reached(q, seq);
}

bool vgr_queue_reach(struct vgr_queue *q, uint64_t seq)
{
    enum vgr_wait_kind kind = VGR_WAIT_ANSWER;
    struct vgr_wait_phases w;
    uint64_t ran;
    int64_t start, spent;
    bool ok;

    if (reached(q, seq))
        return true;
    ran = __atomic_load_n(&q->ran, __ATOMIC_RELAXED);
    if (ran <= seq && ran > __atomic_load_n(&q->done, __ATOMIC_RELAXED))
        kind = VGR_WAIT_GRAPH;
    w = vgr_waitplan_phases(&q->plan, kind);
    start = vgr_sys_now();
    ok = (w.poll_until && poll_until(q, seq, start + w.poll_until)) ||
         (w.nap_until > w.poll_until && nap(q, seq, start + w.nap_until)) ||
         (w.poll_again_until > w.nap_until && poll_until(q, seq, start + w.poll_again_until));
    if (ok) {
        vgr_count(q->conn->counters.spun, 1);
    } else {
        vgr_count(q->conn->counters.slept, 1);
        ok = sleep_until(q, seq, 0);
    }
    spent = vgr_sys_now() - start;
    vgr_waitplan_learn(&q->plan, kind, spent);
    vgr_count(q->conn->counters.waiting, spent);
    return ok;
}
