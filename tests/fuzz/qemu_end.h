/* SPDX-License-Identifier: MIT
 *
 * qemu_end.h - QEMU of fuzz_vhost and fuzz_keep, at the other end of a front's socket.
 *
 * Messages are mostly well-formed and about things that exist; some have other sizes, flags or
 * descriptors, or are cut in two. When the front has hung up, the next QEMU connects.
 */
#ifndef VGR_FUZZ_QEMU_END_H
#define VGR_FUZZ_QEMU_END_H

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "common/log.h"
#include "device/context.h"
#include "device/vhost.h"
#include "fuzz.h"
#include "gpu_guest.h"
#include "send_fds.h"
#include "test_loop.h"

struct front {
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_vhost v;
};

struct rig {
    struct fuzz_in in;
    struct fake_guest g;
    struct front *front;
    int sock, kick;
    bool had_list;
    bool stranger; /* the front may have taken another connection for ours */
};

static int null_fd; /* of the wrong kind */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    signal(SIGPIPE, SIG_IGN);
    vgr_log_init("fuzz", VGR_LOG_ERROR);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return 0;
}

static const uint32_t requests[] = {
    VGR_VHOST_GET_FEATURES,
    VGR_VHOST_SET_FEATURES,
    VGR_VHOST_SET_OWNER,
    VGR_VHOST_SET_MEM_TABLE,
    VGR_VHOST_SET_VRING_NUM,
    VGR_VHOST_SET_VRING_ADDR,
    VGR_VHOST_SET_VRING_BASE,
    VGR_VHOST_GET_VRING_BASE,
    VGR_VHOST_SET_VRING_KICK,
    VGR_VHOST_SET_VRING_CALL,
    VGR_VHOST_SET_VRING_ERR,
    VGR_VHOST_GET_PROTOCOL_FEATURES,
    VGR_VHOST_SET_PROTOCOL_FEATURES,
    VGR_VHOST_GET_QUEUE_NUM,
    VGR_VHOST_SET_VRING_ENABLE,
    VGR_VHOST_GET_CONFIG,
    VGR_VHOST_SET_CONFIG,
    VGR_VHOST_GPU_SET_SOCKET,
    VGR_VHOST_RESET_DEVICE,
    VGR_VHOST_GET_MAX_MEM_SLOTS,
    VGR_VHOST_ADD_MEM_REG,
    VGR_VHOST_REM_MEM_REG,
    VGR_VHOST_SET_VRING_KICK,
    VGR_VHOST_SET_VRING_ENABLE,
};
#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

/* ---- QEMU's end of the connection ---- */

static void connect_qemu(struct rig *r)
{
    int s[2];

    if (r->sock >= 0)
        close(r->sock);
    FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
    r->sock = s[0];
    FUZZ_CHECK(!vgr_vhost_connect(&r->front->v, s[1]));
}

static void send_bytes(struct rig *r, const void *buf, size_t len, const int *fds, unsigned n_fds)
{
    if (send_fds(r->sock, buf, len, fds, n_fds) < 0)
        return; /* the front has hung up: seen below */
}

/* Lets the front work, reads its answers, connects again where it has hung up. */
static void settle(struct rig *r)
{
    uint32_t answer[256];
    ssize_t n;

    vgr_loop_turn(&r->front->loop, 0);
    FUZZ_CHECK(r->front->loop.record.most_units <= VGR_LOOP_MOST_UNITS);
    while ((n = recv(r->sock, answer, sizeof(answer), 0)) > 0) {
        FUZZ_CHECK(n >= (ssize_t)VGR_VHOST_HEADER);
        FUZZ_CHECK(answer[1] == (VGR_VHOST_VERSION | VGR_VHOST_REPLY));
    }
    if (!n && r->front->v.fd < 0) {
        FUZZ_CHECK(!r->front->v.mem.n && !r->front->v.gpu.contexts.n);
        connect_qemu(r);
    } else if (!n) {
        FUZZ_CHECK(r->stranger);
    }
}

/* ---- Messages ---- */

union payload {
    uint64_t u64;
    struct vgr_vhost_vring_state state;
    struct vgr_vhost_vring_addr addr;
    struct vgr_vhost_mem_table table;
    struct vgr_vhost_one_region region;
    struct vgr_vhost_config config;
    uint8_t bytes[600];
};

static struct vgr_vhost_region some_region(struct fuzz_in *in, uint32_t i)
{
    const struct vgr_mem_range *k = &fake_ranges[i % 3];
    struct vgr_vhost_region region = {k->gpa, k->size, k->uaddr, k->offset};
    uint64_t *word[] = {&region.gpa, &region.size, &region.uaddr, &region.offset};

    if (fuzz_rarely(in))
        *word[fuzz_below(in, 4)] = fuzz_below(in, 2) ? fuzz_size(in) : 4096ull * fuzz_u16(in);
    return region;
}

/* Fills in the payload of a request; returns its size, and how many descriptors go with it. */
static uint32_t make_payload(struct rig *r, uint32_t request, union payload *p, unsigned *n_fds)
{
    struct fuzz_in *in = &r->in;
    uint32_t index = fuzz_mostly(in, VGR_VHOST_QUEUES);

    *n_fds = 0;
    switch (request) {
    case VGR_VHOST_SET_FEATURES:
    case VGR_VHOST_SET_PROTOCOL_FEATURES:
        p->u64 = fuzz_u64(in);
        return sizeof(p->u64);
    case VGR_VHOST_SET_MEM_TABLE:
        p->table.n = fuzz_rarely(in) ? fuzz_u32(in) : fuzz_below(in, 4);
        *n_fds = p->table.n < VGR_VHOST_MAX_FDS ? p->table.n : VGR_VHOST_MAX_FDS;
        for (uint32_t i = 0; i < *n_fds; i++)
            p->table.regions[i] = some_region(in, i);
        return 8 + *n_fds * (uint32_t)sizeof(p->table.regions[0]);
    case VGR_VHOST_ADD_MEM_REG:
    case VGR_VHOST_REM_MEM_REG:
        p->region.region = some_region(in, fuzz_below(in, 3));
        *n_fds = request == VGR_VHOST_ADD_MEM_REG || fuzz_below(in, 2);
        return sizeof(p->region);
    case VGR_VHOST_SET_VRING_NUM:
        p->state = (struct vgr_vhost_vring_state){index, FUZZ_RING};
        if (fuzz_rarely(in))
            p->state.num = (uint32_t)fuzz_size(in);
        return sizeof(p->state);
    case VGR_VHOST_SET_VRING_BASE:
    case VGR_VHOST_GET_VRING_BASE:
        p->state = (struct vgr_vhost_vring_state){index, fuzz_mostly(in, 2)};
        return sizeof(p->state);
    case VGR_VHOST_SET_VRING_ENABLE:
        p->state = (struct vgr_vhost_vring_state){index, fuzz_below(in, 4) != 0};
        return sizeof(p->state);
    case VGR_VHOST_SET_VRING_ADDR:
        p->addr = (struct vgr_vhost_vring_addr){.index = index,
                                                .desc = UADDR + DESC_GPA,
                                                .avail = UADDR + AVAIL_GPA,
                                                .used = UADDR + USED_GPA};
        if (fuzz_rarely(in))
            p->addr.avail = UADDR + fuzz_size(in);
        return sizeof(p->addr);
    case VGR_VHOST_SET_VRING_KICK:
    case VGR_VHOST_SET_VRING_CALL:
    case VGR_VHOST_SET_VRING_ERR:
        *n_fds = !fuzz_rarely(in);
        p->u64 = index | (*n_fds ? 0 : VGR_VHOST_NO_FD);
        return sizeof(p->u64);
    case VGR_VHOST_GPU_SET_SOCKET:
        *n_fds = 1;
        return 0;
    case VGR_VHOST_GET_CONFIG:
    case VGR_VHOST_SET_CONFIG:
        p->config.offset = fuzz_mostly(in, 32);
        p->config.size = fuzz_mostly(in, VGR_VHOST_MAX_CONFIG + 1);
        return 12 + (p->config.size <= VGR_VHOST_MAX_CONFIG ? p->config.size : 8);
    default:
        return 0;
    }
}

/* A descriptor of the kind that the request takes, or rarely of another. */
static int some_fd(struct rig *r, uint32_t request)
{
    bool memory = request == VGR_VHOST_SET_MEM_TABLE || request == VGR_VHOST_ADD_MEM_REG;

    if (fuzz_rarely(&r->in))
        return fuzz_below(&r->in, 2) ? null_fd : r->sock;
    return memory != fuzz_rarely(&r->in) ? r->g.fd : r->kick;
}

static void message(struct rig *r)
{
    uint32_t buf[3 + sizeof(union payload) / 4] = {requests[fuzz_below(&r->in, N_REQUESTS)],
                                                   VGR_VHOST_VERSION};
    union payload p = {0};
    int fds[16];
    unsigned n_fds;
    uint32_t len = make_payload(r, buf[0], &p, &n_fds), cut;

    if (fuzz_below(&r->in, 2))
        buf[1] |= VGR_VHOST_NEED_REPLY;
    if (fuzz_rarely(&r->in))
        buf[1] = fuzz_u8(&r->in);
    if (fuzz_rarely(&r->in))
        len = fuzz_below(&r->in, sizeof(p));
    if (fuzz_rarely(&r->in))
        n_fds = fuzz_below(&r->in, 12);
    if (fuzz_rarely(&r->in))
        buf[0] = fuzz_u8(&r->in) % 48;
    buf[2] = fuzz_rarely(&r->in) ? fuzz_u32(&r->in) : len;
    if (fuzz_rarely(&r->in))
        fuzz_bytes(&r->in, p.bytes + fuzz_below(&r->in, 64), 8);
    for (unsigned i = 0; i < n_fds; i++)
        fds[i] = some_fd(r, buf[0]);
    memcpy(buf + 3, &p, len);
    cut = fuzz_rarely(&r->in) ? fuzz_below(&r->in, 12 + len) : 0;
    if (cut) {
        send_bytes(r, buf, cut, fds, n_fds);
        settle(r);
        n_fds = 0;
    }
    send_bytes(r, (uint8_t *)buf + cut, 12 + len - cut, fds, n_fds);
    settle(r);
}

static void say(struct rig *r, uint32_t request, const void *payload, uint32_t len, int fd)
{
    uint32_t buf[32] = {request, VGR_VHOST_VERSION, len};

    memcpy(buf + 3, payload, len);
    send_bytes(r, buf, 12 + len, &fd, fd >= 0);
    settle(r);
}

/* What QEMU says until the control queue runs. */
static void introduce(struct rig *r)
{
    struct vgr_vhost_vring_state num = {0, FUZZ_RING}, enable = {0, 1};
    struct vgr_vhost_vring_addr addr = {
        .desc = UADDR + DESC_GPA, .avail = UADDR + AVAIL_GPA, .used = UADDR + USED_GPA};
    uint64_t zero = 0;

    for (int i = 0; i < 3; i++) {
        const struct vgr_mem_range *k = &fake_ranges[i];
        struct vgr_vhost_one_region m = {.region = {k->gpa, k->size, k->uaddr, k->offset}};

        say(r, VGR_VHOST_ADD_MEM_REG, &m, sizeof(m), r->g.fd);
    }
    say(r, VGR_VHOST_SET_VRING_NUM, &num, sizeof(num), -1);
    say(r, VGR_VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1);
    say(r, VGR_VHOST_SET_VRING_KICK, &zero, sizeof(zero), r->kick);
    say(r, VGR_VHOST_SET_VRING_CALL, &zero, sizeof(zero), r->kick);
    say(r, VGR_VHOST_SET_VRING_ENABLE, &enable, sizeof(enable), -1);
    FUZZ_CHECK(r->front->v.queues[0].vq.running);
}

/* ---- The front ---- */

/* Starts one that nobody is connected to. It may have as many workers. */
static void front_init(struct front *f, unsigned workers)
{
    FUZZ_CHECK(!vgr_loop_init(&f->loop));
    f->pool = (struct vgr_worker_pool){
        .loop = &f->loop, .path = VGR_FAKE_WORKER, .limit = workers, .max_runs = 64};
    FUZZ_CHECK(!vgr_vhost_init(&f->v, &f->loop, &f->pool, &fuzz_capset, -1, NULL));
}

static void front_finish(struct front *f)
{
    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_vhost_finish(&f->v);
    FUZZ_CHECK(!f->pool.alive && !f->v.gpu.n_dying && !f->v.mem.n);
    FUZZ_CHECK(!f->v.gpu.contexts.n && !f->v.gpu.resources.n && !f->v.gpu.n_page_runs);
    vgr_loop_finish(&f->loop);
}

/* A guest whose queues do not run yet, and nobody connected. `r` is zero but for its input. */
static void rig_init(struct rig *r, struct front *front, unsigned workers)
{
    guest_init(&r->g, FUZZ_RING, 0, false);
    vgr_vq_stop(&r->g.vq);
    r->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->sock = -1;
    r->front = front;
    front_init(front, workers);
}

/* After front_finish(). */
static void rig_finish(struct rig *r)
{
    close(r->sock);
    close(r->kick);
    guest_finish(&r->g);
}

#endif
