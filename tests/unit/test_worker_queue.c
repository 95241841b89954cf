/* SPDX-License-Identifier: MIT
 *
 * Queues of a worker's context: opening, order, copies. Each further queue is served by a thread of its
 * own, as in a worker; the tests are the guest, and the first queue's thread where they say so. Both
 * devices are the CPU.
 */
#include "test_worker.h"

#include <pthread.h>
#include <time.h>

#include "worker/queue.h"

#define PAGE2   (DATA + (64u << 10)) /* of the second queue; its ring follows */
#define RING2   VGR_RING_MIN
#define PAGE3   (PAGE2 + 4096u + RING2)
#define ROUNDS  2000
#define SECONDS 20

static unsigned threads; /* atomic; that serve queues now */

static void *serve(void *queue)
{
    vgr_ctx_loop(queue);
    __atomic_sub_fetch(&threads, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

#define UNTIL(what)                                                                                \
    do {                                                                                           \
        for (int n_ = 0; !(what); n_++) {                                                          \
            if (n_ > SECONDS * 5000)                                                               \
                fail_msg("never: %s", #what);                                                      \
            nap();                                                                                 \
        }                                                                                          \
    } while (0)

/* A context of three equal devices with one queue. */
static int setup_three(void **state)
{
    struct rig *r;
    int ret;

    backends.device[1] = backends.device[2] = backends.device[0];
    backends.n = 3;
    setup(state);
    r = *state;
    r->shared.serve = serve;
    ret = vgr_ctx_handshake(r->c);
    threads = 0;
    return ret;
}

static void ring_doorbell(struct rig *r)
{
    vgr_line_ring(r->line);
}

static int teardown_three(void **state)
{
    struct rig *r = *state;

    /* End the threads that still serve. */
    __atomic_store_n(&r->shared.failed, VGR_CTX_FAILED, __ATOMIC_SEQ_CST);
    for (int i = 0; __atomic_load_n(&threads, __ATOMIC_SEQ_CST); i++) {
        assert_true(i < SECONDS * 5000);
        ring_doorbell(r);
        pthread_mutex_lock(&r->shared.lock);
        pthread_cond_broadcast(&r->shared.advanced);
        pthread_mutex_unlock(&r->shared.lock);
        nap();
    }
    for (int i = 1; i < 3; i++) {
        struct vgr_ctx *q = r->shared.queue[i];

        if (!q)
            continue;
        for (uint32_t b = 1; b <= VGR_CTX_MAX_BUFFERS; b++) {
            if (q->buffers[b].buffer)
                ggml_backend_buffer_free(q->buffers[b].buffer);
        }
        for (uint32_t b = 1; b <= VGR_CTX_MAX_STREAMS; b++) {
            if (q->streams[b].backend)
                ggml_backend_free(q->streams[b].backend);
        }
        free(q->record);
        free(q->payload);
        free(q);
    }
    for (int i = 0; i < 3; i++) {
        if (r->shared.sleep_fd[i] > 0)
            close(r->shared.sleep_fd[i]);
    }
    backends.n = 1;
    return teardown(state);
}

/* The guest's side of a queue. */
struct guest {
    struct rig *r;
    uint32_t number;
    struct vgr_ring_producer ring;
};

static int open_queue(struct rig *r, uint32_t device, uint32_t off)
{
    struct vgr_cmd_queue_open m = {.device = device, .off = off, .ring_size = RING2};
    int ret;

    __atomic_add_fetch(&threads, 1, __ATOMIC_SEQ_CST);
    ret = RUN(r, m, VGR_CMD_QUEUE_OPEN);
    if (ret)
        __atomic_sub_fetch(&threads, 1, __ATOMIC_SEQ_CST);
    return ret;
}

static struct guest guest_of(struct rig *r, uint32_t number, uint32_t off)
{
    struct guest g = {.r = r, .number = number};

    assert_int_equal(open_queue(r, number, off), 0);
    vgr_ring_producer_init(&g.ring, r->c->arena.base + off,
                           r->c->arena.base + off + VGR_CONTROL_SIZE, RING2);
    return g;
}

static uint64_t push(struct guest *g, void *cmd, uint16_t op, uint32_t size)
{
    struct vgr_cmd *h = cmd;
    uint64_t seq;
    void *at;

    h->op = op;
    h->size = size;
    UNTIL((at = vgr_ring_reserve(&g->ring, size)));
    memcpy(at, cmd, size);
    seq = vgr_ring_commit(&g->ring, size);
    if (vgr_ring_publish(&g->ring))
        ring_doorbell(g->r);
    return seq;
}

#define PUSH(g, cmd, op) push(g, &(cmd), op, sizeof(cmd))

static uint64_t wait_for(struct guest *g, uint32_t queue, uint64_t seq)
{
    struct vgr_cmd_queue_wait m = {.queue = queue, .seq = seq};

    return PUSH(g, m, VGR_CMD_QUEUE_WAIT);
}

static void done(struct guest *g, uint64_t seq)
{
    UNTIL(vgr_ring_done(&g->ring) >= seq ||
          __atomic_load_n(&g->r->ctl->state, __ATOMIC_SEQ_CST) == VGR_STATE_FAILED);
    assert_int_equal(g->r->ctl->state, VGR_STATE_READY);
}

static void assert_ends(struct rig *r, enum vgr_error code, const char *text)
{
    UNTIL(__atomic_load_n(&r->ctl->state, __ATOMIC_SEQ_CST) == VGR_STATE_FAILED);
    assert_int_equal(r->ctl->error, code);
    assert_non_null(strstr(r->ctl->error_text, text));
}

static uint64_t alloc_in(struct guest *g, uint32_t handle, uint64_t size)
{
    struct vgr_cmd_alloc a = {
        .buffer = handle, .device = g->number, .size = size, .reply_off = DATA + 16 * g->number};

    return PUSH(g, a, VGR_CMD_BUFFER_ALLOC);
}

/* ---- Opening ---- */

static void test_a_queue_has_its_own_handles(void **state)
{
    struct rig *r = *state;
    struct guest g = guest_of(r, 1, PAGE2);
    struct vgr_cmd_data set = {.buffer = 5, .len = 64, .data_off = DATA + 1024};
    struct vgr_cmd_data get = {.buffer = 5, .len = 64, .data_off = DATA + 2048};

    memset(r->c->arena.base + DATA + 1024, 0x77, 64);
    alloc_in(&g, 5, 4096);
    PUSH(&g, set, VGR_CMD_SET);
    done(&g, PUSH(&g, get, VGR_CMD_GET));
    assert_memory_equal(r->c->arena.base + DATA + 1024, r->c->arena.base + DATA + 2048, 64);
    /* The same handle in the first queue is another buffer. */
    alloc(r, 5, 64);
    assert_int_equal(r->c->buffers[5].size, 64);
    assert_int_equal(r->shared.queue[1]->buffers[5].size, 4096);
    assert_int_equal(r->c->counts[0].queues, 2);
    assert_int_equal(r->c->counts[1].counters[VGR_COUNTER_COMMANDS], 3);
}

static void test_bad_queues_are_refused(void **state)
{
    struct rig *r = *state;
    const struct vgr_cmd_queue_open good = {.device = 1, .off = PAGE2, .ring_size = RING2};
    struct {
        uint32_t device, off, ring_size;
        enum vgr_error code;
    } bad[] = {
        {0, PAGE2, RING2, VGR_ERROR_HANDLE},
        {3, PAGE2, RING2, VGR_ERROR_HANDLE},
        {UINT32_MAX, PAGE2, RING2, VGR_ERROR_HANDLE},
        {1, PAGE2 + 8, RING2, VGR_ERROR_RANGE},
        {1, 0, RING2, VGR_ERROR_RANGE}, /* the control page */
        {1, ARENA - 4096, RING2, VGR_ERROR_RANGE},
        {1, 0xfffff000u, RING2, VGR_ERROR_RANGE},
        {1, PAGE2, RING2 + 8, VGR_ERROR_RANGE},
        {1, PAGE2, 4096, VGR_ERROR_RANGE},
        {1, PAGE2, 1u << 31, VGR_ERROR_RANGE},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct vgr_cmd_queue_open m = good;

        m.device = bad[i].device;
        m.off = bad[i].off;
        m.ring_size = bad[i].ring_size;
        r->ctl->state = VGR_STATE_READY;
        r->shared.failed = VGR_CTX_ALIVE;
        assert_failed(r, RUN(r, m, VGR_CMD_QUEUE_OPEN), bad[i].code);
        assert_null(r->shared.queue[1]);
    }
}

static void test_a_device_in_use_stays_where_it_is(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_alloc a = {.buffer = 1, .device = 1, .size = 64, .reply_off = DATA};

    assert_int_equal(RUN(r, a, VGR_CMD_BUFFER_ALLOC), 0);
    assert_failed(r, open_queue(r, 1, PAGE2), VGR_ERROR_HANDLE);
}

static void test_a_device_that_cannot_gets_none(void **state)
{
    struct rig *r = *state;

    r->c->backends.device[1].own_queue = false;
    assert_failed(r, open_queue(r, 1, PAGE2), VGR_ERROR_HANDLE);
}

static void test_a_device_has_one_queue(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_alloc a = {.buffer = 1, .device = 1, .size = 64, .reply_off = DATA};

    guest_of(r, 1, PAGE2);
    assert_failed(r, RUN(r, a, VGR_CMD_BUFFER_ALLOC), VGR_ERROR_HANDLE);
}

static void test_a_queue_is_not_opened_twice(void **state)
{
    struct rig *r = *state;

    guest_of(r, 1, PAGE2);
    assert_failed(r, open_queue(r, 1, PAGE3), VGR_ERROR_HANDLE);
}

static void test_further_queues_open_none(void **state)
{
    struct rig *r = *state;
    struct guest g = guest_of(r, 1, PAGE2);
    struct vgr_cmd_queue_open m = {.device = 2, .off = PAGE3, .ring_size = RING2};

    PUSH(&g, m, VGR_CMD_QUEUE_OPEN);
    assert_ends(r, VGR_ERROR_COMMAND, "in queue 0");
}

static void test_a_queue_serves_no_other_device(void **state)
{
    struct rig *r = *state;
    struct guest g = guest_of(r, 1, PAGE2);
    struct vgr_cmd_alloc a = {.buffer = 1, .device = 2, .size = 64, .reply_off = DATA};

    PUSH(&g, a, VGR_CMD_BUFFER_ALLOC);
    assert_ends(r, VGR_ERROR_HANDLE, "another queue");
}

/* ---- Order and copies ---- */

/* A number goes back and forth between two buffers, and each copy is followed by what would destroy its
 * source if it came too early. */
static void test_copies_keep_the_order_of_both_queues(void **state)
{
    struct rig *r = *state;
    struct guest a = guest_of(r, 1, PAGE2), b = guest_of(r, 2, PAGE3), *at = &a, *to = &b;
    struct vgr_cmd_data get = {.buffer = 1, .len = 4096, .data_off = DATA + 4096};
    uint64_t seq = 0;

    alloc_in(&a, 1, 4096);
    alloc_in(&b, 1, 4096);
    for (int round = 0; round < ROUNDS; round++) {
        struct vgr_cmd_memset fill = {.buffer = 1, .value = (uint8_t)round, .len = 4096};
        struct vgr_cmd_memset spoil = {.buffer = 1, .value = 0xee, .len = 4096};
        struct vgr_cmd_copy copy = {
            .dst = 1, .src = 1, .len = 4096, .src_queue = (uint16_t)at->number};
        struct guest *other = at;

        wait_for(to, at->number, PUSH(at, fill, VGR_CMD_MEMSET));
        seq = PUSH(to, copy, VGR_CMD_COPY);
        wait_for(at, to->number, seq);
        PUSH(at, spoil, VGR_CMD_MEMSET);
        at = to;
        to = other;
        if (round % 50 == 49) {
            done(at, PUSH(at, get, VGR_CMD_GET));
            for (int i = 0; i < 4096; i++)
                assert_int_equal(r->c->arena.base[get.data_off + i], (uint8_t)round);
        }
    }
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
}

/* Eight downloads, and another queue that waits for the last: the device is waited for once. */
static void test_a_wait_from_elsewhere_is_one_wait_for_the_device(void **state)
{
    struct rig *r = *state;
    struct guest a, b;
    struct vgr_cmd_stream open = {.stream = 1, .device = 1};
    struct vgr_cmd_data get = {.buffer = 1, .stream = 1, .len = 64, .data_off = DATA + 4096};
    struct vgr_ctx *q;
    uint64_t seq = 0;

    r->c->backends.device[1].async = true;
    a = guest_of(r, 1, PAGE2);
    b = guest_of(r, 2, PAGE3);
    q = r->shared.queue[1];
    alloc_in(&a, 1, 4096);
    done(&a, PUSH(&a, open, VGR_CMD_STREAM_OPEN));
    assert_int_equal(q->counts->counters[VGR_COUNTER_SYNCS], 0);

    pthread_mutex_lock(&q->running);
    for (int i = 0; i < 8; i++)
        seq = PUSH(&a, get, VGR_CMD_GET);
    seq = wait_for(&b, 1, seq);
    UNTIL(vgr_queue_wanted(q));
    pthread_mutex_unlock(&q->running);
    done(&b, seq);
    assert_int_equal(q->counts->counters[VGR_COUNTER_SYNCS], 1);
}

static void test_bad_copies_end_the_context(void **state)
{
    struct rig *r = *state;
    struct guest g = guest_of(r, 1, PAGE2);
    const struct vgr_cmd_copy good = {.dst = 1, .src = 1, .len = 64, .src_queue = 1};
    struct vgr_cmd_copy bad[] = {good, good, good, good, good, good};

    done(&g, alloc_in(&g, 1, 4096));
    alloc(r, 1, 4096);
    assert_int_equal(r->c->number, 0);
    pthread_mutex_lock(&r->c->running); /* as its thread would */
    assert_int_equal(RUN(r, bad[0], VGR_CMD_COPY), 0);
    bad[0].src = 2;
    bad[1].src = UINT32_MAX;
    bad[2].src_offset = 4090;
    bad[3].src_offset = UINT64_MAX;
    bad[4].src_queue = 2;
    bad[5].src_queue = 0xffff;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        r->ctl->state = VGR_STATE_READY;
        __atomic_store_n(&r->shared.failed, VGR_CTX_ALIVE, __ATOMIC_SEQ_CST);
        assert_failed(r, RUN(r, bad[i], VGR_CMD_COPY),
                      i == 2 || i == 3 ? VGR_ERROR_RANGE : VGR_ERROR_HANDLE);
    }
    pthread_mutex_unlock(&r->c->running);
}

static void test_waiting_for_no_queue_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct vgr_cmd_queue_wait none = {.queue = 2, .seq = 1}, far = {.queue = 99, .seq = 1},
                              own = {.queue = 0, .seq = 1};

    assert_failed(r, RUN(r, none, VGR_CMD_QUEUE_WAIT), VGR_ERROR_HANDLE);
    r->shared.failed = VGR_CTX_ALIVE;
    assert_failed(r, RUN(r, far, VGR_CMD_QUEUE_WAIT), VGR_ERROR_HANDLE);
    r->shared.failed = VGR_CTX_ALIVE;
    assert_failed(r, RUN(r, own, VGR_CMD_QUEUE_WAIT), VGR_ERROR_HANDLE);
}

static void test_waiting_for_what_was_never_sent_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct guest a = guest_of(r, 1, PAGE2), b = guest_of(r, 2, PAGE3);
    struct vgr_cmd sync = {0};

    done(&b, PUSH(&b, sync, VGR_CMD_SYNC));
    UNTIL(__atomic_load_n(&b.ring.ctl->asleep, __ATOMIC_SEQ_CST)); /* it is woken to find out */
    wait_for(&a, 2, 2);
    assert_ends(r, VGR_ERROR_COMMAND, "never sent");
}

static void test_waiting_in_a_circle_ends_the_context(void **state)
{
    struct rig *r = *state;
    struct guest a = guest_of(r, 1, PAGE2), b = guest_of(r, 2, PAGE3);
    struct vgr_cmd sync = {0};

    wait_for(&a, 2, 2);
    PUSH(&b, sync, VGR_CMD_SYNC);
    wait_for(&b, 1, 2);
    PUSH(&a, sync, VGR_CMD_SYNC);
    /* Whichever of the two finds it; or b slept before its second command came. */
    UNTIL(__atomic_load_n(&r->ctl->state, __ATOMIC_SEQ_CST) == VGR_STATE_FAILED);
    assert_int_equal(r->ctl->error, VGR_ERROR_COMMAND);
    assert_non_null(strstr(r->ctl->error_text, "wait"));
}

/* The waiter says what it needs: the other queue's commands are complete before anybody else asks. */
static void test_a_queue_goes_on_when_the_other_is_done(void **state)
{
    struct rig *r = *state;
    struct guest a = guest_of(r, 1, PAGE2), b = guest_of(r, 2, PAGE3);
    struct vgr_cmd sync = {0};

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t seq = PUSH(&a, sync, VGR_CMD_SYNC);

        wait_for(&b, 1, seq);
        seq = PUSH(&b, sync, VGR_CMD_SYNC);
        wait_for(&a, 2, seq);
        if (round % 100 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); /* both sleep */
    }
    done(&a, PUSH(&a, sync, VGR_CMD_SYNC));
    done(&b, PUSH(&b, sync, VGR_CMD_SYNC));
    assert_int_equal(r->ctl->state, VGR_STATE_READY);
}

#define Q(name) cmocka_unit_test_setup_teardown(name, setup_three, teardown_three)

int main(void)
{
    const struct CMUnitTest tests[] = {
        Q(test_a_queue_has_its_own_handles),
        Q(test_bad_queues_are_refused),
        Q(test_a_device_in_use_stays_where_it_is),
        Q(test_a_device_that_cannot_gets_none),
        Q(test_a_device_has_one_queue),
        Q(test_a_queue_is_not_opened_twice),
        Q(test_further_queues_open_none),
        Q(test_a_queue_serves_no_other_device),
        Q(test_copies_keep_the_order_of_both_queues),
        Q(test_a_wait_from_elsewhere_is_one_wait_for_the_device),
        Q(test_bad_copies_end_the_context),
        Q(test_waiting_for_no_queue_ends_the_context),
        Q(test_waiting_for_what_was_never_sent_ends_the_context),
        Q(test_waiting_in_a_circle_ends_the_context),
        Q(test_a_queue_goes_on_when_the_other_is_done),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
