/* SPDX-License-Identifier: MIT */
#include "device/vhost_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

/* A full eventfd must not stop us. */
static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Of what a guest's driver can have us say by setting up queues, over the life of the process. */
static struct vgr_log_limit provoked;

static void process(struct vgr_vhost_queue *q);

static void go_on(struct vgr_again *a)
{
    process(vgr_container_of(a, struct vgr_vhost_queue, again));
}

static void notify(struct vgr_vhost_queue *q)
{
    uint64_t before = q->vq.interrupts;

    vgr_vq_notify(&q->vq);
    vgr_loop_charge(q->loop, VGR_WORK_CALLS, q->vq.interrupts - before);
}

/* Takes a chain and serves it. Returns what vgr_vq_pop() does. */
static int serve_next(struct vgr_vhost_queue *q)
{
    uint64_t before = q->vq.work;
    struct vgr_chain c;
    int got = vgr_vq_pop(&q->vq, &c);

    if (!got)
        return 0;
    vgr_loop_charge(q->loop, VGR_WORK_ENTRIES, VGR_VHOST_CHAIN + q->vq.work - before);
    if (got == -EPROTO) {
        vgr_log_often(&provoked, VGR_LOG_WARN, "the guest's queue %d is unusable", q->index);
        q->broken = true;
        vgr_loop_del(q->loop, &q->kick);
    } else if (got < 0) {
        if (got == -ENOMEM)
            vgr_log_often(&provoked, VGR_LOG_WARN, "no memory for a request of the guest's");
        else
            vgr_debug("malformed descriptor chain");
        vgr_vq_push(&q->vq, c.head, 0);
    } else {
        q->serve(q, &c);
    }
    return got;
}

/* Serves what there is, one chain at least, until the turn has done enough. */
static void process(struct vgr_vhost_queue *q)
{
    int got;

    vgr_again_stop(&q->again);
    do {
        while ((got = serve_next(q))) {
            if (got == -EPROTO)
                return;
            if (vgr_loop_spent(q->loop)) {
                vgr_loop_again(q->loop, &q->again, go_on);
                notify(q);
                return;
            }
        }
    } while (vgr_vq_rearm(&q->vq));
    notify(q);
}

static void kicked(struct vgr_watch *w, uint32_t events)
{
    struct vgr_vhost_queue *q = vgr_container_of(w, struct vgr_vhost_queue, kick);

    vgr_event_read(w->fd);
    vgr_loop_charge(q->loop, VGR_WORK_CALLS, 1);
    if (!q->was_empty && q->kicked_empty && vgr_vq_untouched(&q->vq)) {
        q->was_empty = true;
        q->kicked_empty(q);
    }
    process(q);
}

void vgr_vhost_queue_init(struct vgr_vhost_queue *q, struct vgr_loop *loop,
                          const struct vgr_guestmem *mem, int index)
{
    memset(q, 0, sizeof(*q));
    vgr_vq_init(&q->vq);
    q->loop = loop;
    q->mem = mem;
    q->index = index;
    q->kick.fd = q->kick_fd = -1;
}

/* Takes nothing more, but gives back what it has. */
static void rest(struct vgr_vhost_queue *q)
{
    vgr_vq_notify(&q->vq);
    if (q->vq.running)
        q->base = q->vq.last_avail; /* for a successor */
    vgr_again_stop(&q->again);
    vgr_timer_stop(&q->retry);
    vgr_loop_del(q->loop, &q->kick);
}

void vgr_vhost_queue_stop(struct vgr_vhost_queue *q)
{
    rest(q);
    vgr_vq_stop(&q->vq);
}

void vgr_vhost_queue_reset(struct vgr_vhost_queue *q)
{
    vgr_vhost_queue_stop(q);
    if (q->kick_fd >= 0)
        close(q->kick_fd);
    q->kick_fd = -1;
    q->has_addr = q->broken = q->was_empty = q->resume = false;
}

void vgr_vhost_queue_finish(struct vgr_vhost_queue *q)
{
    vgr_vhost_queue_reset(q);
    vgr_vq_finish(&q->vq);
    q->enabled = q->event_idx = false;
    q->size = q->base = 0;
}

static void try_again(struct vgr_timer *t)
{
    vgr_vhost_queue_update(vgr_container_of(t, struct vgr_vhost_queue, retry));
}

static int find_rings(struct vgr_vhost_queue *q)
{
    if (q->vq.running)
        return 0;
    if (q->resume)
        return vgr_vq_resume(&q->vq, q->mem, q->size, q->addr.desc, q->addr.avail, q->addr.used,
                             q->event_idx);
    return vgr_vq_start(&q->vq, q->mem, q->size, q->addr.desc, q->addr.avail, q->addr.used, q->base,
                        q->event_idx);
}

/* The host is short of something for now. QEMU has no way to ask again. */
static bool may_pass(int err)
{
    return err == -ENOMEM || err == -ENOSPC || err == -EMFILE || err == -ENFILE;
}

int vgr_vhost_queue_update(struct vgr_vhost_queue *q)
{
    int err;

    if (!q->enabled) {
        rest(q);
        return 0;
    }
    if (q->kick.fd >= 0 || q->broken || q->kick_fd < 0 || !q->has_addr || !q->size)
        return 0;
    err = find_rings(q);
    if (!err)
        err = vgr_loop_add(q->loop, &q->kick, q->kick_fd, EPOLLIN, kicked);
    if (err) {
        vgr_log_often(&provoked, VGR_LOG_WARN, "queue %d cannot be started: %s", q->index,
                      strerror(-err));
        q->broken = !may_pass(err);
        if (q->broken)
            vgr_vq_stop(&q->vq);
        else /* what is held can be given back meanwhile */
            vgr_timer_set(q->loop, &q->retry, VGR_VHOST_QUEUE_RETRY_MS, try_again);
        return err;
    }
    vgr_debug("queue %d started, %u entries, at %u", q->index, q->size, q->vq.last_avail);
    process(q); /* whatever was there before we looked */
    if (q->resume && q->vq.call_fd >= 0)
        vgr_event_signal(q->vq.call_fd); /* the predecessor may have died before it did */
    q->resume = false;
    return 0;
}

int vgr_vhost_queue_set_kick(struct vgr_vhost_queue *q, int fd)
{
    vgr_vhost_queue_stop(q);
    if (q->kick_fd >= 0)
        close(q->kick_fd);
    q->kick_fd = fd;
    if (fd >= 0)
        set_nonblocking(fd);
    return vgr_vhost_queue_update(q);
}

void vgr_vhost_queue_set_call(struct vgr_vhost_queue *q, int fd)
{
    if (q->vq.call_fd >= 0)
        close(q->vq.call_fd);
    q->vq.call_fd = fd;
    if (fd < 0)
        return;
    set_nonblocking(fd);
    if (q->vq.running)
        vgr_event_signal(fd); /* what went to the old one may have been missed */
}
