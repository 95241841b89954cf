/* SPDX-License-Identifier: MIT */
#include "device/vhost_request.h"

#include <errno.h>
#include <string.h>
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

void vgr_vhost_not_shared(struct vgr_vhost *v)
{
    if (!v->not_shared_said)
        vgr_error("guest memory is not shared: add share=on to the memory backend");
    v->not_shared_said = true;
}

void vgr_vhost_update(struct vgr_vhost *v, struct vgr_vhost_queue *q)
{
    if (vgr_vhost_queue_update(q) == -EFAULT)
        vgr_vhost_not_shared(v);
}

/* The addresses of the rings may have moved. */
static void queues_restart(struct vgr_vhost *v)
{
    for (int i = 0; i < VGR_VHOST_QUEUES; i++) {
        vgr_vhost_queue_stop(&v->queues[i]);
        vgr_vhost_update(v, &v->queues[i]);
    }
}

/* ---- Requests. Handlers return 0, or -errno: the request cannot be fulfilled. ---- */

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
        vgr_vhost_not_shared(v);
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
    if (!q->enabled && m->request != VGR_VHOST_SET_VRING_ENABLE)
        vgr_vhost_queue_stop(q); /* its rings become others */
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
    vgr_vhost_update(v, q);
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
        vgr_vhost_not_shared(v);
    return 0;
}

/* Must the answer wait? The guest may use the arenas' memory for something else after it. */
static bool workers_stay(struct vgr_vhost *v)
{
    v->stopping = v->gpu.n_dying > 0;
    return v->stopping;
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
    return q == &v->queues[0] && workers_stay(v);
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

/* Returns true if the answer waits. */
static bool reset_device(struct vgr_vhost *v)
{
    vgr_gpu_reset(&v->gpu, "the VM was reset");
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        vgr_vhost_queue_reset(&v->queues[i]);
    return workers_stay(v);
}

/* The answer to what has none of its own, if QEMU wants one. Returns 0, or -errno: the connection is over. */
static int acknowledge(struct vgr_vhost *v, struct vgr_vhost_msg *m, int err)
{
    if (!(m->flags & VGR_VHOST_NEED_REPLY))
        return err;
    m->p.u64 = err ? 1 : 0;
    return vgr_vhost_reply(v->fd, m, sizeof(m->p.u64));
}

int vgr_vhost_serve(struct vgr_vhost *v, struct vgr_vhost_msg *m)
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
        if (reset_device(v))
            return 0;
        break;
    default:
        vgr_debug("vhost-user request %u is not known", m->request);
        err = m->flags & VGR_VHOST_NEED_REPLY ? -ENOSYS : 0;
    }
    return acknowledge(v, m, err);
}

int vgr_vhost_serve_rest(struct vgr_vhost *v, struct vgr_vhost_msg *m)
{
    return m->request == VGR_VHOST_GET_VRING_BASE ? vgr_vhost_reply(v->fd, m, sizeof(m->p.state))
                                                  : acknowledge(v, m, 0);
}
