/* SPDX-License-Identifier: MIT
 *
 * test_vhost.h - QEMU, played over a socket, with guest memory and a control queue.
 */
#ifndef VGR_TEST_VHOST_H
#define VGR_TEST_VHOST_H

#include "test_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "device/gpu_cmd.h"
#include "device/vhost.h"
#include "fake_guest.h"
#include "send_fds.h"

#define SIZE  16
#define REQ   0x90000
#define RESP  0xa0000
#define ARENA MIB

struct fixture {
    struct fake_guest g; /* its queue is only used to reach the rings */
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_vhost v;
    int sock, kick, call;
};

/* ---- QEMU's side ---- */

static inline void send_raw(struct fixture *f, const void *buf, size_t len, int fd)
{
    assert_int_equal(send_fds(f->sock, buf, len, &fd, fd >= 0), len);
}

static inline void send_msg(struct fixture *f, uint32_t request, uint32_t flags,
                            const void *payload, uint32_t size, int fd)
{
    uint32_t buf[256] = {request, flags, size};

    if (size)
        memcpy(buf + 3, payload, size);
    send_raw(f, buf, 12 + size, fd);
}

/* Waits for an answer of 8 bytes and returns it. */
static inline uint64_t answered(struct fixture *f)
{
    uint8_t answer[64];
    uint64_t result;
    ssize_t n;

    UNTIL(f, (n = recv(f->sock, answer, sizeof(answer), 0)) >= 0);
    assert_int_equal(n, 20);
    memcpy(&result, answer + 12, sizeof(result));
    return result;
}

/* Sends with NEED_REPLY and returns what the device says. */
static inline uint64_t confirm(struct fixture *f, uint32_t request, const void *payload,
                               uint32_t size, int fd)
{
    send_msg(f, request, 1 | VGR_VHOST_NEED_REPLY, payload, size, fd);
    return answered(f);
}

/* Asks for the base of the control queue, which stops it; answered_base() waits for it. */
static inline void ask_base(struct fixture *f)
{
    struct vgr_vhost_vring_state s = {0, 0};

    send_msg(f, VGR_VHOST_GET_VRING_BASE, 1, &s, sizeof(s), -1);
}

static inline uint16_t answered_base(struct fixture *f)
{
    return (uint16_t)(answered(f) >> 32);
}

static inline bool disconnected(struct fixture *f)
{
    char c;

    vgr_loop_turn(&f->loop, 0);
    return recv(f->sock, &c, 1, 0) == 0;
}

static inline uint64_t set_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
    struct vgr_vhost_vring_state s = {index, num};

    return confirm(f, request, &s, sizeof(s), -1);
}

static inline uint64_t add_region(struct fixture *f, int i)
{
    const struct vgr_mem_range *r = &fake_ranges[i];
    struct vgr_vhost_one_region m = {.region = {r->gpa, r->size, r->uaddr, r->offset}};

    return confirm(f, VGR_VHOST_ADD_MEM_REG, &m, sizeof(m), f->g.fd);
}

static inline void start_queue(struct fixture *f)
{
    struct vgr_vhost_vring_addr a = {
        .desc = UADDR + DESC_GPA,
        .avail = UADDR + AVAIL_GPA,
        .used = UADDR + USED_GPA,
    };
    uint64_t features = 1ull << 29 | 1ull << 32, zero = 0;

    assert_int_equal(confirm(f, VGR_VHOST_SET_FEATURES, &features, 8, -1), 0);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_NUM, 0, SIZE), 0);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_BASE, 0, f->g.avail_idx), 0);
    assert_int_equal(confirm(f, VGR_VHOST_SET_VRING_ADDR, &a, sizeof(a), -1), 0);
    assert_int_equal(confirm(f, VGR_VHOST_SET_VRING_KICK, &zero, 8, f->kick), 0);
    assert_int_equal(confirm(f, VGR_VHOST_SET_VRING_CALL, &zero, 8, f->call), 0);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 1), 0);
}

static inline void start(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(add_region(f, i), 0);
    start_queue(f);
}

/* ---- The guest's side ---- */

static inline void offer(struct fixture *f, uint32_t type, uint32_t ctx, const void *body,
                         size_t len)
{
    struct vgr_gpu_hdr h = {.type = type, .ctx_id = ctx};

    memcpy(guest_ptr(&f->g, REQ), &h, sizeof(h));
    if (len)
        memcpy((uint8_t *)guest_ptr(&f->g, REQ) + sizeof(h), body, len);
    guest_desc(&f->g, 0, REQ, (uint32_t)(sizeof(h) + len), VGR_DESC_NEXT, 1);
    guest_desc(&f->g, 1, RESP, 0x800, VGR_DESC_WRITE, 0);
    *guest_used_event(&f->g) = f->g.used_seen;
    guest_offer(&f->g, 0);
    vgr_event_signal(f->kick);
}

static inline uint32_t ask(struct fixture *f, uint32_t type, uint32_t ctx, const void *body,
                           size_t len)
{
    int head;

    offer(f, type, ctx, body, len);
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(head, 0);
    assert_true(vgr_event_read(f->call));
    return ((const struct vgr_gpu_hdr *)guest_ptr(&f->g, RESP))->type;
}

static inline void open_context(struct fixture *f)
{
    uint32_t create[12] = {1}, id[2] = {1};
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry entry;
    } backing = {{1, 1}, {GPA_C, ARENA, 0}};
    struct {
        struct vgr_gpu_submit cmd;
        struct vgr_submit s;
    } open = {{sizeof(struct vgr_submit), 0},
              {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .resource = 1, .size = ARENA}};

    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_RESOURCE_CREATE_3D, 1, create, sizeof(create)), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_ATTACH_BACKING, 1, &backing, sizeof(backing)), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, id, sizeof(id)), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_SUBMIT_3D, 1, &open, sizeof(open)), VGR_GPU_OK);
}

#endif
