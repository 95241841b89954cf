/* SPDX-License-Identifier: MIT
 *
 * Contexts that have a worker, by the commands that make, use and end them.
 */
#include "test_gpu.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "common/line.h"
#include "common/log.h"
#include "device/watchdog.h"
#include "fake_worker.h"
#include "holdings.h"

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

static void scattered_arena_is_refused(void **state)
{
    struct fixture *f = *state;
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry entries[2];
    } body = {{1, 2}, {{ARENA_GPA, ARENA / 2, 0}, {GPA_B, ARENA / 2, 0}}};

    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_ATTACH_BACKING, 0, &body, sizeof(body)), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, 1), VGR_GPU_OK);
    f->pool.max_runs = 1;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_OPEN, 1, ARENA), VGR_GPU_OK);
    assert_int_equal(control(f)->state, VGR_STATE_FAILED);
    assert_int_equal(control(f)->error, VGR_ERROR_ARENA);
    assert_non_null(strstr(control(f)->error_text, "fragmented"));

    memset(control(f), 0, VGR_CONTROL_SIZE);
    f->pool.max_runs = 2;
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
    assert_int_equal(context(f, 1)->worker.attached, VGR_ATTACHED_VM);
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

/* A worker in its guest's hands may do to the line what it likes: the front goes on. */
static void a_jammed_line_holds_nobody_up(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    control(f)->hello.features = FAKE_JAM;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    UNTIL(f, __atomic_load_n(&control(f)->done, __ATOMIC_SEQ_CST) == 2);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    while (context(f, 1)->line_fd >= 0 && vgr_line_take(context(f, 1)->line_fd) > 0) {
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(vgr_loop_turn(&f->loop, 0), 0);
    assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 1, NULL, 0), VGR_GPU_OK);
    UNTIL(f, !f->pool.alive);
}

static void a_closed_line_is_not_watched_any_more(void **state)
{
    struct fixture *f = *state;

    open_worker(f);
    control(f)->hello.features = FAKE_HANG_UP;
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
    UNTIL(f, context(f, 1)->line.fd < 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(vgr_loop_turn(&f->loop, 0), 0);
        assert_int_equal(f->loop.n_events, 0); /* its end does not come up again and again */
    }
    assert_int_equal(submit(f, 1, VGR_SUBMIT_DOORBELL, 0, 0), VGR_GPU_OK);
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

    vgr_watchdog_init(&dog, &f->loop, &f->pool, 50);
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
    vgr_watchdog_finish(&dog);
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
    vgr_loop_turn(&f->loop, 50);
    assert_int_equal(f->pool.alive, 1);
    assert_int_equal(vgr_guestmem_remove(&f->g.mem, &fake_ranges[2]), 0);
    vgr_gpu_memory_removed(&f->gpu);
    UNTIL(f, !f->pool.alive);
}

static void contexts_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    unsigned before;

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
        T(worker_gets_the_arena),
        T(arena_must_be_attached),
        T(number_of_a_gone_resource_is_not_attached),
        T(arena_is_not_shared_by_contexts),
        T(refusal_is_told_in_the_control_page),
        T(scattered_arena_is_refused),
        T(fence_is_held_until_the_worker_wakes),
        T(wakeup_before_the_wait_is_remembered_once),
        T(newer_wait_completes_the_older),
        T(a_jammed_line_holds_nobody_up),
        T(a_closed_line_is_not_watched_any_more),
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
