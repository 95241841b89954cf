/* SPDX-License-Identifier: MIT */
#include "device/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "device/context.h"
#include "device/vhost_keep.h"
#include "device/vhost_request.h"

/* System calls for a message of QEMU's: receiving it, memory and queues, the answer, the keeper. */
#define MESSAGE_CALLS 16u

/* ---- Queues ---- */

static void serve_control(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    vgr_gpu_command(&vgr_container_of(q, struct vgr_vhost, queues[0])->gpu, c);
}

static void serve_cursor(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    vgr_vq_push(&q->vq, c->head, 0); /* there is no picture to be in */
}

static void probe(struct vgr_timer *t)
{
    struct vgr_vhost *v = vgr_container_of(t, struct vgr_vhost, probe_timer);

    if (v->queues[0].was_empty && vgr_vq_untouched(&v->queues[0].vq))
        vgr_vhost_not_shared(v);
}

/* QEMU kicks a queue when it starts it, for nothing. The driver sends its first command right then;
 * if none shows up, the guest writes to other memory than we read. */
static void control_empty(struct vgr_vhost_queue *q)
{
    struct vgr_vhost *v = vgr_container_of(q, struct vgr_vhost, queues[0]);

    vgr_timer_set(v->loop, &v->probe_timer, VGR_VHOST_PROBE_MS, probe);
}

/* ---- Connection ---- */

static void conn_ready(struct vgr_watch *w, uint32_t events);

/* Forgets the connection. QEMU sees its end, unless somebody else holds it. */
static void conn_forget(struct vgr_vhost *v)
{
    vgr_loop_del(v->loop, &v->conn);
    vgr_timer_stop(&v->stop_timer);
    vgr_timer_stop(&v->probe_timer);
    v->stopping = false;
    vgr_gpu_reset(&v->gpu, "the VM's connection to vgr-device ended");
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        vgr_vhost_queue_finish(&v->queues[i]);
    vgr_guestmem_clear(&v->mem);
    vgr_vhost_rx_next(&v->rx);
    if (v->display_fd >= 0)
        close(v->display_fd);
    close(v->fd);
    v->fd = v->display_fd = -1;
    v->not_shared_said = false;
    vgr_vhost_record_close(v);
    vgr_listener_again(&v->listener, 0); /* somebody may wait for the place */
}

/* Ends the connection. The keeper holds it too; QEMU's display socket is left to the keeper until
 * QEMU closes its end: it would otherwise read from it for ever. */
static void conn_close(struct vgr_vhost *v)
{
    vgr_info("VM gone");
    shutdown(v->fd, SHUT_RDWR);
    conn_forget(v);
    if (v->once)
        v->loop->stop = true;
}

/* What waits can be answered: all workers are gone, or too slow. */
static void stop_finish(struct vgr_vhost *v)
{
    int err;

    if (!v->stopping)
        return;
    v->stopping = false;
    vgr_timer_stop(&v->stop_timer);
    err = vgr_vhost_serve_rest(v, &v->rx.msg);
    vgr_vhost_rx_next(&v->rx);
    vgr_vhost_keep(v);
    vgr_vhost_busy(v, false);
    if (!err)
        err = vgr_loop_add(v->loop, &v->conn, v->fd, EPOLLIN, conn_ready);
    if (!err)
        return;
    if (err != -EPIPE && err != -ECONNRESET)
        vgr_error("vhost-user connection: %s", strerror(-err));
    conn_close(v);
}

static void workers_gone(struct vgr_gpu *gpu)
{
    stop_finish(vgr_container_of(gpu, struct vgr_vhost, gpu));
}

static void stop_timeout(struct vgr_timer *t)
{
    struct vgr_vhost *v = vgr_container_of(t, struct vgr_vhost, stop_timer);

    vgr_warn("%u workers do not end within %u ms; the guest's driver goes on without them",
             v->gpu.n_dying, VGR_VHOST_STOP_MS);
    stop_finish(v);
}

static void conn_ready(struct vgr_watch *w, uint32_t events)
{
    struct vgr_vhost *v = vgr_container_of(w, struct vgr_vhost, conn);
    char why[96];
    int ret;

    vgr_vhost_busy(v, true);
    vgr_loop_charge(v->loop, VGR_WORK_CALLS, MESSAGE_CALLS);
    ret = vgr_vhost_recv(v->fd, &v->rx, why, sizeof(why));
    if (!ret)
        return; /* the rest is on its way: still busy */
    if (ret == 1) {
        vgr_debug("vhost-user request %u, %u bytes, %u descriptors", v->rx.msg.request,
                  v->rx.msg.size, v->rx.msg.n_fds);
        ret = vgr_vhost_serve(v, &v->rx.msg);
        if (v->stopping) {
            vgr_loop_del(v->loop, &v->conn);
            vgr_timer_set(v->loop, &v->stop_timer, VGR_VHOST_STOP_MS, stop_timeout);
            return;
        }
        if (!ret) {
            vgr_vhost_rx_next(&v->rx);
            vgr_vhost_keep(v);
            vgr_vhost_busy(v, false);
            return;
        }
        vgr_error("QEMU's vhost-user request %u failed: %s", v->rx.msg.request, strerror(-ret));
    } else if (ret == -EPROTO) {
        vgr_error("malformed vhost-user message: %s", why);
    } else if (ret != -ECONNRESET) {
        vgr_error("vhost-user connection: %s", strerror(-ret));
    }
    conn_close(v);
}

static int conn_open(struct vgr_vhost *v, int fd)
{
    int err;

    vgr_vhost_rx_init(&v->rx);
    err = vgr_loop_add(v->loop, &v->conn, fd, EPOLLIN, conn_ready);
    if (err) {
        vgr_log_often(&v->log, VGR_LOG_ERROR, "QEMU cannot be served: %s", strerror(-err));
        return err;
    }
    v->fd = fd;
    vgr_info("VM connected");
    if (v->keep)
        vgr_vhost_record_open(v);
    return 0;
}

/* ---- Who is not served. What he has sent cannot be dropped here (discard.h). ---- */

static void refused(struct vgr_discard *d)
{
    vgr_listener_again(&vgr_container_of(d, struct vgr_vhost, refusal)->listener, 0);
}

static void listener_ready(struct vgr_listener *l)
{
    struct vgr_vhost *v = vgr_container_of(l, struct vgr_vhost, listener);
    int fd;

    /* One is refused at a time; further ones wait until that is done. */
    while (!vgr_discard_busy(&v->refusal) && (fd = vgr_listener_next(l)) >= 0) {
        if (v->fd >= 0)
            vgr_log_often(&v->log, VGR_LOG_WARN,
                          "%s: a second VM is refused: start a vgr-device for each", l->path);
        else if (!conn_open(v, fd))
            continue;
        vgr_discard(&v->refusal, v->loop, fd, refused);
    }
}

int vgr_vhost_init(struct vgr_vhost *v, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                   const struct vgr_capset *capset, int fd, const char *path)
{
    memset(v, 0, sizeof(*v));
    v->loop = loop;
    v->fd = v->display_fd = v->record_fd = -1;
    v->listener.watch.fd = v->conn.fd = -1;
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        vgr_vhost_queue_init(&v->queues[i], loop, &v->mem, i);
    v->queues[0].serve = serve_control;
    v->queues[0].kicked_empty = control_empty;
    v->queues[1].serve = serve_cursor;
    vgr_gpu_init(&v->gpu, loop, pool, capset, &v->mem, &v->queues[0].vq, workers_gone);
    return fd < 0 ? 0 : vgr_listener_add(&v->listener, loop, fd, path, listener_ready);
}

int vgr_vhost_connect(struct vgr_vhost *v, int fd)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(int), peer_len = sizeof(peer);
    int type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
        return -errno;
    if (type != SOCK_STREAM || peer.ss_family != AF_UNIX)
        return -EINVAL;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    v->once = true;
    return conn_open(v, fd);
}

int vgr_vhost_set_keeper(struct vgr_vhost *v, struct vgr_keep *keep, struct vgr_kept *kept)
{
    int err;

    v->keep = keep;
    if (!kept)
        return 0;
    vgr_vhost_rx_init(&v->rx);
    err = vgr_vhost_restore(v, kept);
    if (!err)
        err = vgr_loop_add(v->loop, &v->conn, v->fd, EPOLLIN, conn_ready);
    if (err == -ECONNRESET)
        conn_close(v);
    else if (err && v->fd >= 0)
        conn_forget(v);
    if (err)
        return err == -ECONNRESET ? 0 : err;
    if (v->queues[0].resume)
        vgr_gpu_adopt(&v->gpu);
    vgr_info("VM taken over from a vgr-device that has ended, with %u contexts, which are gone",
             vgr_context_adopt(&v->gpu, "vgr-device on the host has ended"));
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        vgr_vhost_update(v, &v->queues[i]);
    vgr_vhost_keep(v);
    return 0;
}

void vgr_vhost_keeper_renewed(struct vgr_vhost *v)
{
    if (v->fd >= 0)
        vgr_vhost_keep(v);
}

void vgr_vhost_ending(struct vgr_vhost *v)
{
    if (v->fd >= 0)
        vgr_gpu_fail(&v->gpu, "vgr-device on the host has ended");
}

void vgr_vhost_finish(struct vgr_vhost *v)
{
    if (v->fd >= 0)
        conn_forget(v);
    vgr_gpu_finish(&v->gpu);
    vgr_listener_close(&v->listener);
    vgr_discard_finish(&v->refusal);
}
