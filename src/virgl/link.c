/* SPDX-License-Identifier: MIT */
#include "virgl/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/fds.h"
#include "common/line.h"
#include "common/log.h"
#include "device/control.h"
#include "protocol/sys.h"
#include "virgl/bridge.h"
#include "virgl/service.h"

/* What a worker needs to die with its broker. */
#define GRACE_MS 1000u

/* A link has a connection, a line, a file of its arena's, and that is mostly a blob with its own. */
#define SHARE_OF_A_LINK 16u

static struct vgr_link *links;
static unsigned n_links, limit = VGR_BRIDGE_MAX_CONTEXTS;
static struct vgr_loop *the_loop; /* the service thread's, once it has started a link */

/* Through the file: pointers into the guest's memory may be gone. */
static void tell(const struct vgr_link *l, enum vgr_error error, const char *text)
{
    if (l->arena)
        vgr_control_fail_file(l->ram.files[l->first.file], l->first.offset, error, text);
}

/* ---- How many ---- */

/* When the library is loaded: later the monitor may be in a jail that does not let it ask. */
__attribute__((constructor)) static void measure(void)
{
    struct rlimit files;

    if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur / SHARE_OF_A_LINK < limit)
        limit = (unsigned)(files.rlim_cur / SHARE_OF_A_LINK);
}

unsigned vgr_links_limit(void)
{
    return limit;
}

bool vgr_links_full(void)
{
    return n_links >= limit;
}

/* ---- Life ---- */

struct vgr_link *vgr_link_new(struct vgr_bridge_context *context, struct vgr_bridge_resource *arena,
                              struct vgr_ram *ram)
{
    struct vgr_link *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->conn.fd = l->wakeup.fd = l->end.fd = l->line = l->process = -1;
    l->ram = *ram;
    l->first = ram->runs[0];
    l->guest_ram = arena->iov;
    l->id = context->node.id;
    l->context = context;
    l->arena = arena;
    context->link = arena->user = l;
    l->next = links;
    if (links)
        links->prev = l;
    links = l;
    n_links++;
    return l;
}

static void give_back(struct vgr_fence **f)
{
    vgr_fence_done(*f);
    *f = NULL;
}

/* The worker is gone, and the arena's pages are free of it. */
static void gone(struct vgr_link *l)
{
    give_back(&l->wait);
    give_back(&l->life);
    if (l->context)
        l->context->link = NULL;
    if (l->arena)
        l->arena->user = NULL;
    if (the_loop) {
        vgr_loop_close(the_loop, &l->conn);
        vgr_loop_del(the_loop, &l->wakeup);
        vgr_loop_del(the_loop, &l->end);
        vgr_timer_stop(&l->grace);
    }
    vgr_sys_close(&l->process);
    vgr_sys_close(&l->line);
    vgr_ram_free(&l->ram);
    if (l->prev)
        l->prev->next = l->next;
    else
        links = l->next;
    if (l->next)
        l->next->prev = l->prev;
    n_links--;
    free(l);
    pthread_cond_broadcast(&vgr_bridge_changed);
}

void vgr_link_end(struct vgr_link *l)
{
    if (l->ending)
        return;
    l->ending = true;
    if (l->conn.fd >= 0)
        shutdown(l->conn.fd, SHUT_WR);
}

void vgr_link_leave(struct vgr_link *l)
{
    l->context = NULL;
    give_back(&l->wait);
    vgr_link_end(l);
}

static void forget(struct vgr_fence **f)
{
    free(*f);
    *f = NULL;
}

void vgr_links_reset(void)
{
    for (struct vgr_link *l = links; l; l = l->next) {
        forget(&l->wait);
        forget(&l->life);
        l->context = NULL;
        vgr_link_end(l);
    }
}

bool vgr_links_have_ram(void)
{
    for (const struct vgr_link *l = links; l; l = l->next) {
        if (l->guest_ram)
            return true;
    }
    return false;
}

/* ---- Waking each other ---- */

/* With the lock. */
static void too_costly(struct vgr_link *l)
{
    if (!l->ending)
        tell(l, VGR_ERROR_LIMIT, VGR_COST_TEXT);
    vgr_link_end(l);
}

/* With the lock. */
static void ring(struct vgr_link *l)
{
    int err = vgr_line_ring(l->line);
    char text[128];

    if (!err || l->ending)
        return;
    snprintf(text, sizeof(text), "the bridge cannot wake the worker: %s", strerror(-err));
    vgr_log_often(&vgr_bridge_log, VGR_LOG_ERROR, "guest context %u: %s", l->id, text);
    tell(l, VGR_ERROR_INTERNAL, text);
    vgr_link_end(l);
}

void vgr_link_doorbell(struct vgr_link *l)
{
    /* A worker can be asleep before this end of its line is here: the thread may not have run. */
    l->rung |= l->line < 0;
    if (l->line < 0 || l->ending)
        return;
    vgr_cost_begin(&l->ring_cost);
    ring(l);
    if (vgr_cost_end(&l->ring_cost) == VGR_COST_TOO_MUCH)
        too_costly(l);
}

void vgr_link_wait(struct vgr_link *l, struct vgr_fence *f)
{
    give_back(&l->wait);
    if (l->woken || l->ending) {
        l->woken = false;
        vgr_fence_done(f);
        return;
    }
    l->wait = f;
    l->wait_until = vgr_now_ms() + VGR_LINK_HOLD_MS;
}

/* With the lock. */
static void wake_guest(struct vgr_link *l)
{
    if (l->wait)
        give_back(&l->wait);
    else
        l->woken = true;
}

static void worker_wakes(struct vgr_watch *w, uint32_t events)
{
    struct vgr_link *l = vgr_container_of(w, struct vgr_link, wakeup);
    enum vgr_cost_found found;
    int got;

    vgr_cost_begin(&l->take_cost);
    got = vgr_line_take(w->fd);
    found = vgr_cost_end(&l->take_cost);
    pthread_mutex_lock(&vgr_bridge_lock);
    if (found == VGR_COST_TOO_MUCH)
        too_costly(l);
    if (got > 0)
        wake_guest(l);
    if (got < 0 || l->ending)
        vgr_loop_del(the_loop, w); /* the worker will not wake anybody any more */
    pthread_mutex_unlock(&vgr_bridge_lock);
    vgr_fences_deliver();
}

uint32_t vgr_links_expire(void)
{
    uint64_t now = vgr_now_ms(), next = 0;

    for (struct vgr_link *l = links; l; l = l->next) {
        if (l->wait && l->wait_until <= now)
            give_back(&l->wait);
        if (l->wait && (!next || l->wait_until < next))
            next = l->wait_until;
    }
    return next ? (uint32_t)(next - now) : 0;
}

/* ---- The broker ---- */

/* The broker has sent a notice: the worker has not said, or could not say, why the context is over. */
static void noticed(struct vgr_link *l, struct vgr_notice *notice)
{
    notice->text[sizeof(notice->text) - 1] = '\0';
    pthread_mutex_lock(&vgr_bridge_lock);
    tell(l, notice->error, notice->text);
    wake_guest(l);
    pthread_mutex_unlock(&vgr_bridge_lock);
    vgr_fences_deliver();
}

static void finish(struct vgr_link *l)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    vgr_debug("guest context %u: its worker is gone", l->id);
    gone(l);
    pthread_mutex_unlock(&vgr_bridge_lock);
    vgr_fences_deliver();
}

static void process_ended(struct vgr_watch *w, uint32_t events)
{
    finish(vgr_container_of(w, struct vgr_link, end));
}

static void grace_ended(struct vgr_timer *t)
{
    finish(vgr_container_of(t, struct vgr_link, grace));
}

/* A broker that ends by itself takes its workers with it, but they are not gone before it is. */
static void broker_gone(struct vgr_link *l)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    /* It has said why, if it still could. */
    if (!l->ending)
        tell(l, VGR_ERROR_WORKER_DIED, "the host's broker has ended the context");
    wake_guest(l);
    vgr_loop_close(the_loop, &l->conn);
    pthread_mutex_unlock(&vgr_bridge_lock);
    vgr_fences_deliver();
    if (l->process >= 0 && !vgr_loop_add(the_loop, &l->end, l->process, EPOLLIN, process_ended))
        return;
    if (l->greeted && !l->refused)
        vgr_timer_set(the_loop, &l->grace, GRACE_MS, grace_ended); /* it died as it started one */
    else
        finish(l);
}

static bool take_process(struct vgr_link *l, const struct vgr_notice *notice, int process)
{
    if (notice->magic != VGR_BROKER_MAGIC || l->process >= 0)
        return false;
    l->process = process;
    return true;
}

static bool take_line(struct vgr_link *l, int line)
{
    if (vgr_loop_add(the_loop, &l->wakeup, line, EPOLLIN, worker_wakes))
        return false;
    pthread_mutex_lock(&vgr_bridge_lock);
    l->line = line;
    if (l->rung && !l->ending)
        ring(l);
    pthread_mutex_unlock(&vgr_bridge_lock);
    return true;
}

/* The broker has sent a line, and there is no room for it here. What it has, it may have given to a worker by now:
 * the link ends as others do. */
static void no_line(struct vgr_link *l)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    tell(l, VGR_ERROR_INTERNAL, "the monitor has no descriptor or no memory left for the context");
    vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN,
                  "guest context %u: no descriptor or no memory left for it", l->id);
    vgr_link_end(l);
    pthread_mutex_unlock(&vgr_bridge_lock);
}

static void listen_to(struct vgr_link *l, struct vgr_notice *notice)
{
    if (notice->magic == VGR_BROKER_MAGIC) {
        l->announced = true;
    } else if (notice->magic == VGR_MAGIC) {
        l->refused = !l->announced;
        noticed(l, notice);
    }
}

/* Its greeting, the worker, a notice, or the end. Each was sent as a whole. */
static void broker_says(struct vgr_watch *w, uint32_t events)
{
    struct vgr_link *l = vgr_container_of(w, struct vgr_link, conn);
    union {
        struct vgr_broker_hello hello;
        struct vgr_notice notice;
    } m;
    size_t want = l->greeted ? sizeof(m.notice) : sizeof(m.hello);
    int fd, flags = MSG_DONTWAIT;
    unsigned n_fds = 0;
    ssize_t n = vgr_fds_receive(w->fd, &m, want, &fd, 1, &n_fds, &flags);

    if (n_fds && !(l->greeted ? take_process(l, &m.notice, fd) : take_line(l, fd)))
        close(fd);
    if (n == -EAGAIN)
        return;
    if (n <= 0 || n != (ssize_t)want) {
        broker_gone(l);
        return;
    }
    if (l->greeted)
        listen_to(l, &m.notice);
    else if (l->line < 0)
        no_line(l);
    l->greeted = true;
}

/* A memfd with the runs. */
static int make_runs_file(const struct vgr_ram *ram)
{
    int fd = vgr_sys_memfd("vgr-runs", MFD_CLOEXEC, 0, 0);
    int err = fd < 0 ? fd : vgr_sys_write(fd, ram->runs, ram->n_runs * sizeof(*ram->runs));

    if (fd >= 0 && err)
        close(fd);
    return err ? err : fd;
}

static int send_open(const struct vgr_link *l, int conn)
{
    struct vgr_broker_open open = {
        .magic = VGR_BROKER_MAGIC,
        .version = VGR_BROKER_VERSION,
        .n_runs = l->ram.n_runs,
        .n_files = l->ram.n_files,
        .size = l->ram.size,
    };
    int fds[VGR_BROKER_MAX_FDS] = {make_runs_file(&l->ram)};
    ssize_t n;

    if (fds[0] < 0)
        return fds[0];
    memcpy(&fds[VGR_BROKER_NFDS], l->ram.files, l->ram.n_files * sizeof(int));
    n = vgr_fds_send(conn, &open, sizeof(open), fds, VGR_BROKER_NFDS + l->ram.n_files,
                     MSG_DONTWAIT);
    close(fds[0]);
    if (n < 0)
        return (int)n;
    return n == (ssize_t)sizeof(open) ? 0 : -EPIPE;
}

/* With the lock. */
static void start(struct vgr_link *l, int conn, struct vgr_loop *loop)
{
    int err = conn < 0 ? conn : 0;
    char text[128];

    l->started = true;
    if (!err && l->ending)
        err = -ECANCELED;
    if (!err)
        err = vgr_loop_add(loop, &l->conn, conn, EPOLLIN, broker_says);
    if (!err)
        err = send_open(l, conn); /* last: from then on there may be a worker */
    free(l->ram.runs);
    l->ram.runs = NULL;
    if (!err) {
        vgr_debug("guest context %u: arena %llu KiB in %u runs of %u files", l->id,
                  (unsigned long long)(l->ram.size >> 10), l->ram.n_runs, l->ram.n_files);
        return;
    }
    if (err != -ECANCELED) {
        snprintf(text, sizeof(text), "the bridge cannot reach the host's broker: %s",
                 strerror(-err));
        vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN, "guest context %u: %s", l->id, text);
        tell(l, VGR_ERROR_INTERNAL, text);
    }
    vgr_loop_del(loop, &l->conn);
    if (conn >= 0)
        close(conn);
    gone(l);
}

void vgr_links_serve(struct vgr_loop *loop)
{
    struct vgr_link *l;

    pthread_mutex_lock(&vgr_bridge_lock);
    the_loop = loop;
    for (;;) {
        int conn;

        for (l = links; l && l->started; l = l->next) {
        }
        if (!l)
            break;
        /* Only this thread frees links: it is still there afterwards. */
        pthread_mutex_unlock(&vgr_bridge_lock);
        conn = vgr_service_connect();
        pthread_mutex_lock(&vgr_bridge_lock);
        start(l, conn, loop);
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
}
