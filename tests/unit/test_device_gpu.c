/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include "test_loop.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "device/context.h"
#include "device/gpu.h"
#include "device/gpu_cmd.h"
#include "device/watchdog.h"
#include "fake_guest.h"
#include "fake_worker.h"

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

static void on_idle(struct vgr_gpu *gpu)
{
    current->idle = true;
}

static int setup(void **state)
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
    f.pool = (struct vgr_worker_pool){.loop = &f.loop, .path = VGR_FAKE_WORKER, .limit = 2};
    *state = &f;
    return vgr_gpu_init(&f.gpu, &f.loop, &f.pool, &cap, &f.g.mem, &f.g.vq, on_idle);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_gpu_finish(&f->gpu);
    vgr_loop_finish(&f->loop);
    guest_finish(&f->g);
    return f->pool.alive || f->gpu.contexts.n || f->gpu.resources.n || f->gpu.n_page_runs;
}

/* Puts a command into chain `slot` (two descriptors) and has it served. */
static void send_cmd(struct fixture *f, unsigned slot, uint32_t type, uint32_t ctx, uint64_t fence,
                     const void *body, size_t len)
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

static const struct vgr_gpu_hdr *response(struct fixture *f, unsigned slot)
{
    return guest_ptr(&f->g, RESP + slot * 0x800);
}

/* Sends in slot 0 and expects the answer at once. */
static uint32_t ask(struct fixture *f, uint32_t type, uint32_t ctx, const void *body, size_t len)
{
    send_cmd(f, 0, type, ctx, 0, body, len);
    assert_int_equal(guest_used(&f->g, NULL), 0);
    return response(f, 0)->type;
}

static uint32_t ask_id(struct fixture *f, uint32_t type, uint32_t ctx, uint32_t id)
{
    uint32_t body[12] = {id};

    return ask(f, type, ctx, body, type == VGR_GPU_RESOURCE_CREATE_3D ? sizeof(body) : 8);
}

static uint32_t attach_backing(struct fixture *f, uint32_t id, uint64_t gpa, uint32_t len)
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

static struct submit make_submit(uint32_t op, uint32_t resource, uint64_t size)
{
    return (struct submit){
        .cmd = {.size = sizeof(struct vgr_submit)},
        .s = {.magic = VGR_MAGIC, .op = op, .resource = resource, .size = size},
    };
}

static uint32_t submit(struct fixture *f, uint32_t ctx, uint32_t op, uint32_t resource,
                       uint64_t size)
{
    struct submit s = make_submit(op, resource, size);

    return ask(f, VGR_GPU_SUBMIT_3D, ctx, &s, sizeof(s));
}

static void submit_wait(struct fixture *f, unsigned slot, uint32_t ctx, uint64_t fence)
{
    struct submit s = make_submit(VGR_SUBMIT_WAIT, 0, 0);

    send_cmd(f, slot, VGR_GPU_SUBMIT_3D, ctx, fence, &s, sizeof(s));
}

static struct vgr_control *control(struct fixture *f)
{
    return guest_ptr(&f->g, ARENA_GPA);
}

static const struct vgr_context *context(struct fixture *f, uint32_t id)
{
    return vgr_container_of(vgr_table_find(&f->gpu.contexts, id), struct vgr_context, node);
}

/* Context 1 with resource 1 attached, whose pages are the arena. */
static void prepare(struct fixture *f)
{
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(attach_backing(f, 1, ARENA_GPA, ARENA), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, 1), VGR_GPU_OK);
}

static void open_worker(struct fixture *f)
{
    prepare(f);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_OK);
    UNTIL(f, context(f, 1)->woken); /* nobody waited for it */
    assert_int_equal(control(f)->state, VGR_STATE_READY);
    submit_wait(f, 0, 1, 1);
    assert_int_equal(guest_used(&f->g, NULL), 0);
}

/* ---- Questions ---- */

static void capset_is_found_and_read(void **state)
{
    struct fixture *f = *state;
    const struct vgr_gpu_capset_info *info = (const void *)(response(f, 0) + 1);
    const struct vgr_capset *cap = (const void *)(response(f, 0) + 1);
    struct vgr_gpu_get_capset cmd = {VGR_CAPSET_ID, 1};

    assert_int_equal(ask_id(f, VGR_GPU_GET_CAPSET_INFO, 0, 0), VGR_GPU_OK_CAPSET_INFO);
    assert_int_equal(info->id, VGR_CAPSET_ID);
    assert_int_equal(info->max_size, sizeof(*cap));
    assert_int_equal(ask(f, VGR_GPU_GET_CAPSET, 0, &cmd, sizeof(cmd)), VGR_GPU_OK_CAPSET);
    assert_int_equal(cap->magic, VGR_MAGIC);
    assert_int_equal(ask_id(f, VGR_GPU_GET_CAPSET_INFO, 0, 1), VGR_GPU_ERR_PARAMETER);
    cmd.id = 2;
    assert_int_equal(ask(f, VGR_GPU_GET_CAPSET, 0, &cmd, sizeof(cmd)), VGR_GPU_ERR_PARAMETER);
}

static void there_is_no_display(void **state)
{
    struct fixture *f = *state;
    const struct vgr_gpu_display *d = (const void *)(response(f, 0) + 1);

    send_cmd(f, 0, VGR_GPU_GET_DISPLAY_INFO, 0, 0, NULL, 0);
    uint32_t len;
    assert_int_equal(guest_used(&f->g, &len), 0);
    assert_int_equal(len, 24 + 16 * 24);
    assert_int_equal(response(f, 0)->type, VGR_GPU_OK_DISPLAY_INFO);
    assert_int_equal(d->enabled, 0);
}

static void unknown_and_short_commands_are_answered(void **state)
{
    struct fixture *f = *state;
    struct vgr_chain c;

    assert_int_equal(ask(f, 0x10a, 0, NULL, 0), VGR_GPU_ERR_UNSPEC);
    assert_int_equal(ask(f, 0xffffffff, 0, NULL, 0), VGR_GPU_ERR_UNSPEC);
    assert_int_equal(ask(f, VGR_GPU_RESOURCE_CREATE_3D, 0, NULL, 0), VGR_GPU_ERR_PARAMETER);
    assert_int_equal(ask(f, VGR_GPU_SUBMIT_3D, 1, NULL, 0), VGR_GPU_ERR_PARAMETER);
    guest_desc(&f->g, 0, REQ, 10, VGR_DESC_NEXT, 1); /* not even a header */
    guest_desc(&f->g, 1, RESP, 10, VGR_DESC_WRITE, 0);
    guest_offer(&f->g, 0);
    assert_int_equal(vgr_vq_pop(&f->g.vq, &c), 1);
    vgr_gpu_command(&f->gpu, &c);
    assert_int_equal(guest_used(&f->g, NULL), 0);
    assert_int_equal(response(f, 0)->type, VGR_GPU_ERR_UNSPEC);
}

static void fence_is_echoed(void **state)
{
    struct fixture *f = *state;

    send_cmd(f, 3, VGR_GPU_CTX_CREATE, 9, 0x1122334455667788, NULL, 0);
    assert_int_equal(guest_used(&f->g, NULL), 6);
    assert_int_equal(response(f, 3)->flags, VGR_GPU_FLAG_FENCE);
    assert_int_equal(response(f, 3)->fence_id, 0x1122334455667788);
    assert_int_equal(response(f, 3)->ctx_id, 9);
}

/* ---- Tables ---- */

static void numbers_are_checked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 0, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 2, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 0), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, 2), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 2, 1), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_DETACH_RESOURCE, 1, 1), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 2), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_DETACH_BACKING, 0, 2), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(attach_backing(f, 2, 0, 4096), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_ERR_RESOURCE_ID);
}

static void resources_and_contexts_are_limited(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 1; i <= VGR_GPU_MAX_RESOURCES; i++)
        assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, i), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 99999), VGR_GPU_ERR_OUT_OF_MEMORY);
    for (uint32_t i = 1; i <= VGR_GPU_MAX_CONTEXTS; i++)
        assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, i, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 99999, NULL, 0), VGR_GPU_ERR_OUT_OF_MEMORY);
    for (uint32_t i = 1; i <= VGR_GPU_MAX_ATTACHED; i++)
        assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, i), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, VGR_GPU_MAX_ATTACHED + 1),
                     VGR_GPU_ERR_OUT_OF_MEMORY);
}

static void page_list_must_fit_its_count(void **state)
{
    struct fixture *f = *state;
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry entry;
    } body = {{1, UINT32_MAX}, {0, 4096, 0}};

    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_ATTACH_BACKING, 0, &body, sizeof(body)), VGR_GPU_ERR_PARAMETER);
    assert_int_equal(attach_backing(f, 1, 0, 0), VGR_GPU_ERR_PARAMETER);
    assert_int_equal(attach_backing(f, 1, 0, 4096), VGR_GPU_OK);
    assert_int_equal(attach_backing(f, 1, 0, 4096), VGR_GPU_ERR_UNSPEC);
    assert_int_equal(f->gpu.n_page_runs, 1);
    assert_int_equal(ask_id(f, VGR_GPU_DETACH_BACKING, 0, 1), VGR_GPU_OK);
    assert_int_equal(f->gpu.n_page_runs, 0);
    assert_int_equal(attach_backing(f, 1, 0, 4096), VGR_GPU_OK);
}

/* ---- Contexts with a worker ---- */

static void worker_gets_the_arena(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    assert_memory_equal(guest_ptr(&f->g, ARENA_GPA + ARENA - 8), "the end", 8);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_ERR_PARAMETER);
}

static void arena_must_be_attached(void **state)
{
    struct fixture *f = *state;

    prepare(f);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_DETACH_RESOURCE, 1, 1), VGR_GPU_OK);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(submit(f, 2, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_ERR_CONTEXT_ID);
}

static void number_of_a_gone_resource_is_not_attached(void **state)
{
    struct fixture *f = *state;

    prepare(f);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(attach_backing(f, 1, ARENA_GPA, ARENA), VGR_GPU_OK);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_ERR_RESOURCE_ID);
}

static void arena_is_not_shared_by_contexts(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 2, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 2, 1), VGR_GPU_OK);
    assert_int_equal(submit(f, 2, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_ERR_PARAMETER);
}

static void refusal_is_told_in_the_control_page(void **state)
{
    struct fixture *f = *state;

    prepare(f);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA - 4096), VGR_GPU_OK);
    assert_int_equal(control(f)->state, VGR_STATE_FAILED);
    assert_int_equal(control(f)->error, VGR_ERROR_ARENA);
    assert_non_null(strstr(control(f)->error_text, "host takes 1048576 to 4194304"));

    memset(control(f), 0, VGR_CONTROL_SIZE);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, 2 * ARENA), VGR_GPU_OK);
    assert_int_equal(control(f)->error, VGR_ERROR_ARENA);

    memset(control(f), 0, VGR_CONTROL_SIZE);
    f->pool.limit = 0;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_OK);
    assert_int_equal(control(f)->error, VGR_ERROR_LIMIT);
    assert_int_equal(f->pool.refused, 3);

    /* None of this has used the context up. */
    memset(control(f), 0, VGR_CONTROL_SIZE);
    f->pool.limit = 1;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_OK);
    UNTIL(f, control(f)->state == VGR_STATE_READY);
}

static void fence_is_held_until_the_worker_wakes(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    submit_wait(f, 5, 1, 77);
    assert_int_equal(guest_used(&f->g, NULL), -1);
    guest_interrupted(&f->g);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    guest_interrupted(&f->g);
    int head = -1;
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(head, 10);
    assert_true(guest_interrupted(&f->g));
    assert_int_equal(response(f, 5)->fence_id, 77);
    assert_int_equal(control(f)->done, 1);
    /* The operator is told of all that went through here: one wake-up was for READY. */
    assert_true(context(f, 1)->worker.relayed);
    assert_int_equal(context(f, 1)->worker.front[VGR_FRONT_DOORBELLS], 1);
    assert_int_equal(context(f, 1)->worker.front[VGR_FRONT_WAKEUPS], 2);
    assert_int_equal(context(f, 1)->worker.front[VGR_FENCES_HELD], 1);
    assert_int_equal(context(f, 1)->worker.front[VGR_FENCES_EXPIRED], 0);
}

static void wakeup_before_the_wait_is_remembered_once(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    UNTIL(f, context(f, 1)->woken);
    submit_wait(f, 5, 1, 77);
    assert_int_equal(guest_used(&f->g, NULL), 10);
    submit_wait(f, 6, 1, 78);
    assert_int_equal(guest_used(&f->g, NULL), -1);
}

static void newer_wait_completes_the_older(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    submit_wait(f, 5, 1, 77);
    submit_wait(f, 6, 1, 78);
    assert_int_equal(guest_used(&f->g, NULL), 10);
    assert_int_equal(guest_used(&f->g, NULL), -1);
}

static void fence_is_not_held_for_ever(void **state)
{
    struct fixture *f = *state;
    uint64_t start;
    int head = -1;

    open_worker(f);
    start = vgr_now_ms();
    submit_wait(f, 5, 1, 77);
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(head, 10);
    assert_true(vgr_now_ms() - start >= VGR_GPU_HOLD_MS - 10);
    assert_int_equal(context(f, 1)->worker.front[VGR_FENCES_EXPIRED], 1);
}

static void wait_without_worker_or_fence_is_answered_at_once(void **state)
{
    struct fixture *f = *state;

    prepare(f);
    submit_wait(f, 5, 1, 77);
    assert_int_equal(guest_used(&f->g, NULL), 10);
    submit_wait(f, 5, 1, 0);
    assert_int_equal(guest_used(&f->g, NULL), 10);
}

static void dead_worker_is_told_and_fence_completed(void **state)
{
    struct fixture *f = *state;
    int head = -1;

    open_worker(f);
    control(f)->hello.features = FAKE_EXIT;
    submit_wait(f, 5, 1, 77);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(head, 10);
    assert_int_equal(control(f)->state, VGR_STATE_FAILED);
    assert_int_equal(control(f)->error, VGR_ERROR_WORKER_DIED);
    assert_string_equal(control(f)->error_text, "the host's worker process exited with status 7");
    /* The context is still answered. */
    submit_wait(f, 5, 1, 78);
    assert_int_equal(guest_used(&f->g, NULL), 10);
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_OK);
}

static void signal_is_named(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    control(f)->hello.features = FAKE_ABORT;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    UNTIL(f, control(f)->state == VGR_STATE_FAILED);
    assert_string_equal(control(f)->error_text,
                        "the host's worker process was killed by signal 6 (Aborted)");
}

static void reason_of_the_worker_is_kept(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    control(f)->hello.features = FAKE_FAIL;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    UNTIL(f, !f->pool.alive);
    assert_int_equal(control(f)->error, VGR_ERROR_GRAPH);
    assert_string_equal(control(f)->error_text, "said the worker");
}

static void an_endless_graph_is_told(void **state)
{
    struct fixture *f = *state;
    struct vgr_watchdog dog;
    struct vgr_counts_page *page;
    int head;

    assert_int_equal(vgr_watchdog_init(&dog, &f->loop, &f->pool, 50), 0);
    open_worker(f);
    submit_wait(f, 5, 1, 77);
    page = mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                context(f, 1)->worker.counts_fd, 0);
    assert_true(page != MAP_FAILED);
    vgr_counts_begin(page, VGR_COUNTER_COMPUTING);
    munmap(page, VGR_COUNTS_SIZE);
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0); /* the fence is not kept */
    assert_int_equal(head, 10);
    assert_true(guest_interrupted(&f->g));
    assert_int_equal(control(f)->state, VGR_STATE_FAILED);
    assert_int_equal(control(f)->error, VGR_ERROR_LIMIT);
    assert_non_null(strstr(control(f)->error_text, "a graph ran longer"));
    UNTIL(f, !f->pool.alive);
    assert_int_equal(control(f)->error, VGR_ERROR_LIMIT);
    submit_wait(f, 5, 1, 78); /* the context is still answered */
    assert_int_equal(guest_used(&f->g, NULL), 10);
    vgr_watchdog_finish(&dog, &f->loop);
}

/* The guest reuses the pages when it has the answer. */
static void pages_are_given_back_after_the_worker(void **state)
{
    struct fixture *f = *state;
    uint32_t id[2] = {1};
    int head = -1;

    open_worker(f);
    send_cmd(f, 4, VGR_GPU_DETACH_BACKING, 0, 0, id, sizeof(id));
    send_cmd(f, 5, VGR_GPU_RESOURCE_UNREF, 0, 0, id, sizeof(id));
    assert_int_equal(guest_used(&f->g, NULL), -1);
    assert_int_equal(f->pool.alive, 1);
    /* The number is not free yet, but nobody can use the resource any more either. */
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_ERR_RESOURCE_ID);
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(f->pool.alive, 0);
    assert_int_equal(head, 8);
    assert_int_equal(guest_used(&f->g, NULL), 10);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
}

static void destroyed_context_completes_its_fence_at_once(void **state)
{
    struct fixture *f = *state;
    uint32_t id[2] = {1};
    int head = -1;

    open_worker(f);
    submit_wait(f, 5, 1, 77);
    send_cmd(f, 6, VGR_GPU_CTX_DESTROY, 1, 0, NULL, 0);
    assert_int_equal(guest_used(&f->g, NULL), 10);
    assert_int_equal(guest_used(&f->g, NULL), 12);
    assert_int_equal(f->gpu.n_dying, 1);
    /* The number is free for a new context while the old worker still ends. */
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    send_cmd(f, 7, VGR_GPU_RESOURCE_UNREF, 0, 0, id, sizeof(id));
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(head, 14);
    UNTIL(f, f->idle);
    assert_int_equal(f->gpu.n_dying, 0);
}

static void detached_arena_ends_the_worker(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_DETACH_RESOURCE, 1, 1), VGR_GPU_OK);
    UNTIL(f, !f->pool.alive);
}

static void reset_gives_everything_back(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    submit_wait(f, 5, 1, 77);
    vgr_gpu_reset(&f->gpu, "because");
    assert_int_equal(guest_used(&f->g, NULL), 10);
    assert_int_equal(control(f)->state, VGR_STATE_FAILED);
    assert_string_equal(control(f)->error_text, "because");
    assert_int_equal(f->gpu.contexts.n + f->gpu.resources.n + f->gpu.n_page_runs, 0);
    UNTIL(f, f->idle);
    open_worker(f);
}

static void removed_memory_ends_its_contexts(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    vgr_gpu_memory_removed(&f->gpu);
    serve_loop(&f->loop, 50);
    assert_int_equal(f->pool.alive, 1);
    assert_int_equal(vgr_guestmem_remove(&f->g.mem, &fake_ranges[2]), 0);
    vgr_gpu_memory_removed(&f->gpu);
    UNTIL(f, !f->pool.alive);
}

static int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void contexts_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    int before;

    assert_int_equal(vgr_worker_pool_prepare(&f->pool), 0);
    before = count_fds();
    for (int i = 0; i < 50; i++) {
        open_worker(f);
        assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 1, NULL, 0), VGR_GPU_OK);
        UNTIL(f, !f->pool.alive);
        assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_OK);
    }
    assert_int_equal(count_fds(), before);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(capset_is_found_and_read),
        T(there_is_no_display),
        T(unknown_and_short_commands_are_answered),
        T(fence_is_echoed),
        T(numbers_are_checked),
        T(resources_and_contexts_are_limited),
        T(page_list_must_fit_its_count),
        T(worker_gets_the_arena),
        T(arena_must_be_attached),
        T(number_of_a_gone_resource_is_not_attached),
        T(arena_is_not_shared_by_contexts),
        T(refusal_is_told_in_the_control_page),
        T(fence_is_held_until_the_worker_wakes),
        T(wakeup_before_the_wait_is_remembered_once),
        T(newer_wait_completes_the_older),
        T(fence_is_not_held_for_ever),
        T(wait_without_worker_or_fence_is_answered_at_once),
        T(dead_worker_is_told_and_fence_completed),
        T(signal_is_named),
        T(reason_of_the_worker_is_kept),
        T(an_endless_graph_is_told),
        T(pages_are_given_back_after_the_worker),
        T(destroyed_context_completes_its_fence_at_once),
        T(detached_arena_ends_the_worker),
        T(reset_gives_everything_back),
        T(removed_memory_ends_its_contexts),
        T(contexts_leave_nothing_behind),
    };

    vgr_log_init("test", VGR_LOG_ERROR);
    setenv("VGR_TEST_SECRET", "must not reach the worker", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
