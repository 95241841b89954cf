/* SPDX-License-Identifier: MIT
 *
 * worker_vhost.c - a VM by hand: QEMU's messages, and its driver's control queue in guest memory. One request
 * at a time, under the front's lock.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/gpu_cmd.h"
#include "device/vhost_msg.h"
#include "device/virtqueue.h"
#include "hostile/worker_fronts.h"
#include "unit/send_fds.h"

#define UADDR 0x7f0000000000ull
#define SIZE  16u
#define DESC  0x1000u
#define AVAIL 0x20000u
#define USED  0x30000u
#define REQ   0x40000u
#define RESP  0x50000u

/* ---- QEMU ---- */

/* One request with its answer's word; -1: none in time. */
static int64_t say(struct front *f, uint32_t request, const void *payload, uint32_t size, int fd)
{
    uint32_t buf[64] = {request, VGR_VHOST_VERSION | VGR_VHOST_NEED_REPLY, size};
    struct pollfd p = {.fd = f->conn, .events = POLLIN};
    uint8_t answer[64];
    int64_t word = 0;

    if (f->lost)
        return -1;
    memcpy(buf + 3, payload, size);
    if (send_fds(f->conn, buf, 12 + size, &fd, fd >= 0) != (ssize_t)(12 + size) ||
        poll(&p, 1, FRONT_PATIENCE_MS) != 1 || recv(f->conn, answer, sizeof(answer), 0) != 20) {
        f->lost = true;
        return -1;
    }
    memcpy(&word, answer + 12, sizeof(word));
    return word;
}

bool vhost_answers(struct front *f)
{
    uint64_t none = 0;
    bool well;

    pthread_mutex_lock(&f->lock);
    well = say(f, VGR_VHOST_GET_PROTOCOL_FEATURES, &none, 0, -1) >= 0;
    pthread_mutex_unlock(&f->lock);
    return well;
}

static bool state(struct front *f, uint32_t request, uint32_t num)
{
    struct vgr_vhost_vring_state s = {0, num};

    return !say(f, request, &s, sizeof(s), -1);
}

bool vhost_start(struct front *f)
{
    struct vgr_vhost_one_region region = {.region = {0, FRONT_RAM, UADDR, 0}};
    struct vgr_vhost_vring_addr a = {
        .desc = UADDR + DESC, .avail = UADDR + AVAIL, .used = UADDR + USED};
    uint64_t features = 1ull << 32, zero = 0;
    int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    memset(f->ram + DESC, 0, RESP + 0x1000 - DESC);
    f->offered = 0;
    f->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->conn = front_connect(f->path, SOCK_STREAM);
    return f->conn >= 0 && !say(f, VGR_VHOST_ADD_MEM_REG, &region, sizeof(region), f->ram_fd) &&
           !say(f, VGR_VHOST_SET_FEATURES, &features, 8, -1) &&
           state(f, VGR_VHOST_SET_VRING_NUM, SIZE) && state(f, VGR_VHOST_SET_VRING_BASE, 0) &&
           !say(f, VGR_VHOST_SET_VRING_ADDR, &a, sizeof(a), -1) &&
           !say(f, VGR_VHOST_SET_VRING_KICK, &zero, 8, f->kick) &&
           !say(f, VGR_VHOST_SET_VRING_CALL, &zero, 8, call) &&
           state(f, VGR_VHOST_SET_VRING_ENABLE, 1) && !close(call);
}

/* ---- Its driver ---- */

static uint32_t ask_locked(struct front *f, uint32_t type, uint32_t ctx, const void *body,
                           size_t len)
{
    struct vgr_gpu_hdr h = {.type = type, .ctx_id = ctx};
    struct vgr_vq_desc *d = (struct vgr_vq_desc *)(f->ram + DESC);
    uint16_t *avail = (uint16_t *)(f->ram + AVAIL), *used = (uint16_t *)(f->ram + USED);
    uint64_t one = 1, end = front_now_ms() + FRONT_PATIENCE_MS;

    memcpy(f->ram + REQ, &h, sizeof(h));
    if (len)
        memcpy(f->ram + REQ + sizeof(h), body, len);
    d[0] = (struct vgr_vq_desc){REQ, (uint32_t)(sizeof(h) + len), VGR_DESC_NEXT, 1};
    d[1] = (struct vgr_vq_desc){RESP, 0x800, VGR_DESC_WRITE, 0};
    avail[2 + f->offered % SIZE] = 0;
    __atomic_store_n(&avail[1], ++f->offered, __ATOMIC_SEQ_CST);
    if (write(f->kick, &one, sizeof(one)) != sizeof(one))
        return 0;
    while (__atomic_load_n(&used[1], __ATOMIC_SEQ_CST) != f->offered) {
        if (front_now_ms() > end) {
            f->lost = true;
            return 0;
        }
        usleep(50);
    }
    return ((const struct vgr_gpu_hdr *)(f->ram + RESP))->type;
}

static bool ask(struct front *f, uint32_t type, uint32_t ctx, const void *body, size_t len)
{
    bool well;

    pthread_mutex_lock(&f->lock);
    well = !f->lost && ask_locked(f, type, ctx, body, len) == VGR_GPU_OK;
    pthread_mutex_unlock(&f->lock);
    return well;
}

static bool submit(struct guest *g, enum vgr_submit_op op, uint64_t size)
{
    struct {
        struct vgr_gpu_submit cmd;
        struct vgr_submit s;
    } open = {{sizeof(struct vgr_submit), 0},
              {.magic = VGR_MAGIC, .op = op, .resource = g->slot + 1, .size = size}};

    return ask(g->front, VGR_GPU_SUBMIT_3D, g->slot + 1, &open, sizeof(open));
}

bool vhost_open(struct guest *g, const size_t *halves, uint64_t size)
{
    uint32_t id = g->slot + 1, create[12] = {id}, attach[2] = {id};
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry entry[2];
    } backing = {{id, 2}, {{halves[0], ATTACK_ARENA / 2, 0}, {halves[1], ATTACK_ARENA / 2, 0}}};
    struct front *f = g->front;

    return ask(f, VGR_GPU_CTX_CREATE, id, NULL, 0) &&
           ask(f, VGR_GPU_RESOURCE_CREATE_3D, id, create, sizeof(create)) &&
           ask(f, VGR_GPU_ATTACH_BACKING, id, &backing, sizeof(backing)) &&
           ask(f, VGR_GPU_CTX_ATTACH_RESOURCE, id, attach, sizeof(attach)) &&
           submit(g, VGR_SUBMIT_OPEN, size);
}

bool vhost_bell(struct guest *g)
{
    return submit(g, VGR_SUBMIT_DOORBELL, 0);
}

/* The answer to UNREF comes when the worker is gone. */
bool vhost_close(struct guest *g)
{
    uint32_t id[2] = {g->slot + 1};

    return ask(g->front, VGR_GPU_CTX_DESTROY, id[0], NULL, 0) &&
           ask(g->front, VGR_GPU_RESOURCE_UNREF, 0, id, sizeof(id));
}
