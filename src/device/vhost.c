/* SPDX-License-Identifier: MIT */
#include "device/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "device/gpu_cmd.h"

#define BIT(n) (1ull << (n))

#define F_INDIRECT_DESC 28
#define F_EVENT_IDX     29
#define F_VERSION_1     32

/* EDID without a display, too: QEMU logs an error where it is missing. */
static const uint64_t device_features = BIT(VGR_GPU_F_VIRGL) | BIT(VGR_GPU_F_EDID) |
                                        BIT(F_INDIRECT_DESC) | BIT(F_EVENT_IDX) | BIT(F_VERSION_1) |
                                        BIT(VGR_VHOST_F_PROTOCOL_FEATURES);

static const uint64_t protocol_features =
    BIT(VGR_VHOST_PROTOCOL_MQ) | BIT(VGR_VHOST_PROTOCOL_REPLY_ACK) |
    BIT(VGR_VHOST_PROTOCOL_CONFIG) | BIT(VGR_VHOST_PROTOCOL_RESET_DEVICE) |
    BIT(VGR_VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS);

static const struct vgr_gpu_config device_config = {
    .num_capsets = 1,
};

static void say_not_shared(struct vgr_vhost *v)
{
    if (!v->not_shared_said)
        vgr_error("guest memory is not shared: add share=on to the memory backend");
    v->not_shared_said = true;
}

/* ---- Queues ---- */

static void serve_control(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    vgr_gpu_command(&vgr_container_of(q, struct vgr_vhost, queues[0])->gpu, c);
}

static void serve_cursor(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    vgr_vq_push(&q->vq, c->head, 0); /* there is no picture to be in */
}

/* QEMU kicks a queue when it starts it, for nothing. The driver sends its first command right then;
 * if none shows up, the guest writes to other memory than we read. */
static void control_empty(struct vgr_vhost_queue *q)
{
    struct vgr_vhost *v = vgr_container_of(q, struct vgr_vhost, queues[0]);

    vgr_timer_set(&v->probe_timer, VGR_VHOST_PROBE_MS);
}

static void probe(struct vgr_watch *w, uint32_t events)
{
    struct vgr_vhost *v = vgr_container_of(w, struct vgr_vhost, probe_timer);

    vgr_event_read(w->fd);
    if (v->queues[0].was_empty && vgr_vq_untouched(&v->queues[0].vq))
        say_not_shared(v);
}

static void queue_update(struct vgr_vhost *v, struct vgr_vhost_queue *q)
{
    if (vgr_vhost_queue_update(q) == -EFAULT)
        say_not_shared(v);
}

/* The addresses of the rings may have moved. */
static void queues_restart(struct vgr_vhost *v)
{
    for (int i = 0; i < VGR_VHOST_QUEUES; i++) {
        vgr_vhost_queue_stop(&v->queues[i]);
        queue_update(v, &v->queues[i]);
    }
}

/* ---- Connection ---- */

static void conn_ready(struct vgr_watch *w, uint32_t events);

static void conn_close(struct vgr_vhost *v)
{
    vgr_info("VM gone");
    vgr_loop_del(v->loop, &v->conn);
    vgr_timer_set(&v->stop_timer, 0);
    vgr_timer_set(&v->probe_timer, 0);
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
    if (v->once)
        v->loop->stop = true;
}

/* GET_VRING_BASE can be answered: all workers are gone, or too slow. */
static void stop_finish(struct vgr_vhost *v)
{
    int err;

    if (!v->stopping)
        return;
    v->stopping = false;
    vgr_timer_set(&v->stop_timer, 0);
    err = vgr_vhost_reply(v->fd, &v->rx.msg, sizeof(v->rx.msg.p.state));
    vgr_vhost_rx_next(&v->rx);
    if (!err)
        err = vgr_loop_add(v->loop, &v->conn, v->fd, EPOLLIN, conn_ready);
    if (err)
        conn_close(v);
}

static void workers_gone(struct vgr_gpu *gpu)
{
    stop_finish(vgr_container_of(gpu, struct vgr_vhost, gpu));
}

static void stop_timeout(struct vgr_watch *w, uint32_t events)
{
    struct vgr_vhost *v = vgr_container_of(w, struct vgr_vhost, stop_timer);

    vgr_event_read(w->fd);
    vgr_warn("%u workers do not end within %u ms; the guest's driver goes on without them",
             v->gpu.n_dying, VGR_VHOST_STOP_MS);
    stop_finish(v);
}

/* ---- Messages. Handlers return 0, or -errno: the request cannot be fulfilled. ---- */

static struct vgr_vhost_queue *find_queue(struct vgr_vhost *v, uint64_t index)
{
    return index < VGR_VHOST_QUEUES ? &v->queues[index] : NULL;
}

static int add_region(struct vgr_guestmem *mem, const struct vgr_vhost_region *r, int *fd)
{
    struct vgr_mem_range range = {
        .gpa = r->gpa,
        .size = r->size,
        .uaddr = r->uaddr,
        .offset = r->offset,
    };
    int err = vgr_guestmem_add(mem, &range, *fd);

    if (err) {
        vgr_error("guest memory of %llu KiB at %#llx cannot be mapped: %s",
                  (unsigned long long)(r->size >> 10), (unsigned long long)r->gpa, strerror(-err));
        return err;
    }
    vgr_debug("guest memory: %llu KiB at %#llx", (unsigned long long)(r->size >> 10),
              (unsigned long long)r->gpa);
    *fd = -1;
    return 0;
}

static int set_mem_table(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    struct vgr_guestmem mem = {.n = 0};

    if (!m->p.table.n)
        say_not_shared(v);
    for (unsigned i = 0; i < m->p.table.n; i++) {
        int err = add_region(&mem, &m->p.table.regions[i], &m->fds[i]);

        if (err) {
            vgr_guestmem_clear(&mem);
            return err;
        }
    }
    vgr_guestmem_clear(&v->mem);
    v->mem = mem;
    queues_restart(v);
    vgr_gpu_memory_removed(&v->gpu);
    return 0;
}

static int add_mem_reg(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    return add_region(&v->mem, &m->p.region.region, &m->fds[0]);
}

static int rem_mem_reg(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    const struct vgr_vhost_region *r = &m->p.region.region;
    struct vgr_mem_range range = {.gpa = r->gpa, .size = r->size, .uaddr = r->uaddr};
    int err;

    err = vgr_guestmem_remove(&v->mem, &range);
    if (err)
        return err;
    queues_restart(v);
    vgr_gpu_memory_removed(&v->gpu);
    return 0;
}

static int set_vring(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    /* Three payloads that begin with the index. */
    struct vgr_vhost_queue *q = find_queue(v, m->p.state.index);

    if (!q)
        return -EINVAL;
    q->broken = false;
    switch (m->request) {
    case VGR_VHOST_SET_VRING_NUM:
        q->size = m->p.state.num;
        break;
    case VGR_VHOST_SET_VRING_BASE:
        q->base = (uint16_t)m->p.state.num;
        break;
    case VGR_VHOST_SET_VRING_ADDR:
        q->addr = m->p.addr;
        q->has_addr = true;
        break;
    case VGR_VHOST_SET_VRING_ENABLE:
        q->enabled = m->p.state.num;
        break;
    }
    queue_update(v, q);
    return 0;
}

static int set_vring_fd(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    struct vgr_vhost_queue *q = find_queue(v, m->p.u64 & 0xff);
    int fd = m->n_fds ? m->fds[0] : -1;

    if (!q)
        return -EINVAL;
    if (m->request == VGR_VHOST_SET_VRING_ERR)
        return 0; /* we have the log for that */
    m->fds[0] = -1;
    if (m->request == VGR_VHOST_SET_VRING_CALL)
        vgr_vhost_queue_set_call(q, fd);
    else if (vgr_vhost_queue_set_kick(q, fd) == -EFAULT)
        say_not_shared(v);
    return 0;
}

/* Returns 1 if the answer waits. */
static int get_vring_base(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    struct vgr_vhost_queue *q = find_queue(v, m->p.state.index);

    if (!q)
        return -EINVAL;
    if (q == &v->queues[0])
        vgr_gpu_reset(&v->gpu, "the VM was paused, or its driver reset the device");
    vgr_vhost_queue_reset(q);
    m->p.state.num = q->base;
    if (q != &v->queues[0] || !v->gpu.n_dying)
        return 0;
    v->stopping = true;
    vgr_loop_del(v->loop, &v->conn);
    vgr_timer_set(&v->stop_timer, VGR_VHOST_STOP_MS);
    return 1;
}

static void get_config(struct vgr_vhost_msg *m)
{
    const struct vgr_vhost_config *c = &m->p.config;
    uint8_t whole[VGR_VHOST_MAX_CONFIG] = {0};
    uint32_t n = c->size;

    memcpy(whole, &device_config, sizeof(device_config));
    memset(m->p.config.data, 0, sizeof(m->p.config.data));
    if (c->offset < sizeof(whole))
        memcpy(m->p.config.data, whole + c->offset,
               n < sizeof(whole) - c->offset ? n : sizeof(whole) - c->offset);
}

static int gpu_set_socket(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    if (v->display_fd >= 0)
        close(v->display_fd);
    v->display_fd = m->fds[0];
    m->fds[0] = -1;
    return 0;
}

static int reset_device(struct vgr_vhost *v)
{
    vgr_gpu_reset(&v->gpu, "the VM was reset");
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        vgr_vhost_queue_reset(&v->queues[i]);
    return 0;
}

/* Serves a message. Returns 0, or -errno: the connection is to be closed. */
static int serve(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    int err = 0;

    switch (m->request) {
    case VGR_VHOST_GET_FEATURES:
        m->p.u64 = device_features;
        return vgr_vhost_reply(v->fd, m, sizeof(m->p.u64));
    case VGR_VHOST_GET_PROTOCOL_FEATURES:
        m->p.u64 = protocol_features;
        return vgr_vhost_reply(v->fd, m, sizeof(m->p.u64));
    case VGR_VHOST_GET_QUEUE_NUM:
        m->p.u64 = VGR_VHOST_QUEUES;
        return vgr_vhost_reply(v->fd, m, sizeof(m->p.u64));
    case VGR_VHOST_GET_MAX_MEM_SLOTS:
        m->p.u64 = VGR_GUESTMEM_REGIONS;
        return vgr_vhost_reply(v->fd, m, sizeof(m->p.u64));
    case VGR_VHOST_GET_CONFIG:
        get_config(m);
        return vgr_vhost_reply(v->fd, m, m->size);
    case VGR_VHOST_GET_VRING_BASE:
        err = get_vring_base(v, m);
        if (err)
            return err < 0 ? err : 0;
        return vgr_vhost_reply(v->fd, m, sizeof(m->p.state));
    case VGR_VHOST_SET_FEATURES:
        for (int i = 0; i < VGR_VHOST_QUEUES; i++)
            v->queues[i].event_idx = m->p.u64 & BIT(F_EVENT_IDX);
        break;
    case VGR_VHOST_SET_PROTOCOL_FEATURES:
    case VGR_VHOST_SET_OWNER:
    case VGR_VHOST_RESET_OWNER:
    case VGR_VHOST_SET_CONFIG: /* events that we never raise */
        break;
    case VGR_VHOST_SET_MEM_TABLE:
        err = set_mem_table(v, m);
        break;
    case VGR_VHOST_ADD_MEM_REG:
        err = add_mem_reg(v, m);
        break;
    case VGR_VHOST_REM_MEM_REG:
        err = rem_mem_reg(v, m);
        break;
    case VGR_VHOST_SET_VRING_NUM:
    case VGR_VHOST_SET_VRING_BASE:
    case VGR_VHOST_SET_VRING_ADDR:
    case VGR_VHOST_SET_VRING_ENABLE:
        err = set_vring(v, m);
        break;
    case VGR_VHOST_SET_VRING_KICK:
    case VGR_VHOST_SET_VRING_CALL:
    case VGR_VHOST_SET_VRING_ERR:
        err = set_vring_fd(v, m);
        break;
    case VGR_VHOST_GPU_SET_SOCKET:
        err = gpu_set_socket(v, m);
        break;
    case VGR_VHOST_RESET_DEVICE:
        err = reset_device(v);
        break;
    default:
        vgr_debug("vhost-user request %u is not known", m->request);
        err = m->flags & VGR_VHOST_NEED_REPLY ? -ENOSYS : 0;
    }
    if (!(m->flags & VGR_VHOST_NEED_REPLY))
        return err;
    m->p.u64 = err ? 1 : 0;
    return vgr_vhost_reply(v->fd, m, sizeof(m->p.u64));
}

static void conn_ready(struct vgr_watch *w, uint32_t events)
{
    struct vgr_vhost *v = vgr_container_of(w, struct vgr_vhost, conn);
    char why[96];
    int ret = vgr_vhost_recv(v->fd, &v->rx, why, sizeof(why));

    if (!ret)
        return;
    if (ret == 1) {
        vgr_debug("vhost-user request %u, %u bytes, %u descriptors", v->rx.msg.request,
                  v->rx.msg.size, v->rx.msg.n_fds);
        ret = serve(v, &v->rx.msg);
        if (v->stopping)
            return;
        if (!ret) {
            vgr_vhost_rx_next(&v->rx);
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
    if (err)
        return err;
    v->fd = fd;
    vgr_info("VM connected");
    return 0;
}

static void listener_ready(struct vgr_watch *w, uint32_t events)
{
    struct vgr_vhost *v = vgr_container_of(w, struct vgr_vhost, listener);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (v->fd >= 0) {
        vgr_warn("%s: a second VM is refused: start a vgr-device for each", v->path);
        close(fd);
        return;
    }
    if (conn_open(v, fd))
        close(fd);
}

int vgr_vhost_init(struct vgr_vhost *v, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                   const struct vgr_capset *capset, int fd, const char *path)
{
    int err;

    memset(v, 0, sizeof(*v));
    v->loop = loop;
    v->path = path;
    v->fd = v->display_fd = -1;
    v->listener.fd = v->conn.fd = -1;
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        vgr_vhost_queue_init(&v->queues[i], loop, &v->mem, i);
    v->queues[0].serve = serve_control;
    v->queues[0].kicked_empty = control_empty;
    v->queues[1].serve = serve_cursor;
    err = vgr_timer_add(loop, &v->stop_timer, stop_timeout);
    if (!err)
        err = vgr_timer_add(loop, &v->probe_timer, probe);
    if (!err)
        err = vgr_gpu_init(&v->gpu, loop, pool, capset, &v->mem, &v->queues[0].vq, workers_gone);
    if (!err && fd >= 0)
        err = vgr_loop_add(loop, &v->listener, fd, EPOLLIN, listener_ready);
    return err;
}

int vgr_vhost_connect(struct vgr_vhost *v, int fd)
{
    struct sockaddr_storage peer;
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

void vgr_vhost_finish(struct vgr_vhost *v)
{
    v->once = false;
    if (v->fd >= 0)
        conn_close(v);
    vgr_gpu_finish(&v->gpu);
    vgr_loop_close(v->loop, &v->stop_timer);
    vgr_loop_close(v->loop, &v->probe_timer);
    vgr_loop_close(v->loop, &v->listener);
    if (v->path)
        unlink(v->path);
}
