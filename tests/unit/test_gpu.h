/* SPDX-License-Identifier: MIT
 *
 * test_gpu.h - the device of a fake guest, to which tests send commands. Its workers are fake_worker.c,
 * its arena is the guest's region C.
 */
#ifndef VGR_TEST_GPU_H
#define VGR_TEST_GPU_H

#include "vgr_test.h"

#include <string.h>

#include "device/context.h"
#include "device/gpu.h"
#include "device/gpu_cmd.h"
#include "fake_guest.h"
#include "test_loop.h"

#define ARENA     (1ull << 20)
#define ARENA_GPA GPA_C
#define REQ       0x90000 /* of chain 0 */
#define RESP      0xa0000

struct fixture {
    struct fake_guest g;
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_gpu gpu;
    bool idle;
};

static struct fixture *current;

static inline void on_idle(struct vgr_gpu *gpu)
{
    current->idle = true;
}

static inline int setup(void **state)
{
    static struct fixture f;
    static const struct vgr_capset cap = {
        .magic = VGR_MAGIC,
        .arena_min = ARENA,
        .arena_max = 4 * ARENA,
        .arena_default = ARENA,
    };

    memset(&f, 0, sizeof(f));
    current = &f;
    guest_init(&f.g, 64, 0, false);
    if (vgr_loop_init(&f.loop))
        return -1;
    f.pool = (struct vgr_worker_pool){
        .loop = &f.loop, .path = VGR_FAKE_WORKER, .limit = 2, .max_runs = 64};
    *state = &f;
    vgr_gpu_init(&f.gpu, &f.loop, &f.pool, &cap, &f.g.mem, &f.g.vq, on_idle);
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_gpu_finish(&f->gpu);
    vgr_loop_finish(&f->loop);
    guest_finish(&f->g);
    return f->pool.alive || f->gpu.contexts.n || f->gpu.resources.n || f->gpu.n_page_runs;
}

/* Puts a command into chain `slot` (two descriptors) and has it served. */
static inline void send_cmd(struct fixture *f, unsigned slot, uint32_t type, uint32_t ctx,
                            uint64_t fence, const void *body, size_t len)
{
    struct vgr_gpu_hdr h = {
        .type = type, .ctx_id = ctx, .fence_id = fence, .flags = fence ? VGR_GPU_FLAG_FENCE : 0};
    uint8_t *req = guest_ptr(&f->g, REQ + slot * 0x800);
    struct vgr_chain c;

    memcpy(req, &h, sizeof(h));
    if (len)
        memcpy(req + sizeof(h), body, len);
    memset(guest_ptr(&f->g, RESP + slot * 0x800), 0, 0x800);
    guest_desc(&f->g, 2 * slot, REQ + slot * 0x800, (uint32_t)(sizeof(h) + len), VGR_DESC_NEXT,
               (uint16_t)(2 * slot + 1));
    guest_desc(&f->g, 2 * slot + 1, RESP + slot * 0x800, 0x800, VGR_DESC_WRITE, 0);
    guest_offer(&f->g, (uint16_t)(2 * slot));
    assert_int_equal(vgr_vq_pop(&f->g.vq, &c), 1);
    vgr_gpu_command(&f->gpu, &c);
    vgr_vq_notify(&f->g.vq);
}

static inline const struct vgr_gpu_hdr *response(struct fixture *f, unsigned slot)
{
    return guest_ptr(&f->g, RESP + slot * 0x800);
}

/* Sends in slot 0 and expects the answer at once. */
static inline uint32_t ask(struct fixture *f, uint32_t type, uint32_t ctx, const void *body,
                           size_t len)
{
    send_cmd(f, 0, type, ctx, 0, body, len);
    assert_int_equal(guest_used(&f->g, NULL), 0);
    return response(f, 0)->type;
}

static inline uint32_t ask_id(struct fixture *f, uint32_t type, uint32_t ctx, uint32_t id)
{
    uint32_t body[12] = {id};

    return ask(f, type, ctx, body, type == VGR_GPU_RESOURCE_CREATE_3D ? sizeof(body) : 8);
}

static inline uint32_t attach_backing(struct fixture *f, uint32_t id, uint64_t gpa, uint32_t len)
{
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry entry;
    } body = {{id, 1}, {gpa, len, 0}};

    return ask(f, VGR_GPU_ATTACH_BACKING, 0, &body, sizeof(body));
}

struct submit {
    struct vgr_gpu_submit cmd;
    struct vgr_submit s;
};

static inline struct submit make_submit(uint32_t op, uint32_t resource, uint64_t size)
{
    return (struct submit){
        .cmd = {.size = sizeof(struct vgr_submit)},
        .s = {.magic = VGR_MAGIC, .op = op, .resource = resource, .size = size},
    };
}

static inline uint32_t submit(struct fixture *f, uint32_t ctx, uint32_t op, uint32_t resource,
                              uint64_t size)
{
    struct submit s = make_submit(op, resource, size);

    return ask(f, VGR_GPU_SUBMIT_3D, ctx, &s, sizeof(s));
}

static inline void submit_wait(struct fixture *f, unsigned slot, uint32_t ctx, uint64_t fence)
{
    struct submit s = make_submit(VGR_SUBMIT_WAIT, 0, 0);

    send_cmd(f, slot, VGR_GPU_SUBMIT_3D, ctx, fence, &s, sizeof(s));
}

static inline struct vgr_control *control(struct fixture *f)
{
    return guest_ptr(&f->g, ARENA_GPA);
}

static inline const struct vgr_context *context(struct fixture *f, uint32_t id)
{
    return vgr_container_of(vgr_table_find(&f->gpu.contexts, id), struct vgr_context, node);
}

/* Context 1 with resource 1 attached, whose pages are the arena. */
static inline void prepare(struct fixture *f)
{
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(attach_backing(f, 1, ARENA_GPA, ARENA), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, 1), VGR_GPU_OK);
}

static inline void open_worker(struct fixture *f)
{
    prepare(f);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_OK);
    UNTIL(f, context(f, 1)->woken); /* nobody waited for it */
    assert_int_equal(control(f)->state, VGR_STATE_READY);
    submit_wait(f, 0, 1, 1);
    assert_int_equal(guest_used(&f->g, NULL), 0);
}

#endif
