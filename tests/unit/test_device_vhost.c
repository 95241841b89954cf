/* SPDX-License-Identifier: MIT
 *
 * QEMU is played here (test_vhost.h).
 */
#include "vgr_test.h"

#include "test_vhost.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/un.h>

#include "common/log.h"
#include "device/listen.h"
#include "fake_worker.h"
#include "lingering.h"
#include "send_fds.h"

static int setup(void **state)
{
    static struct fixture f;
    static const struct vgr_capset cap = {
        .magic = VGR_MAGIC,
        .arena_min = ARENA,
        .arena_max = ARENA,
        .arena_default = ARENA,
    };
    int s[2];

    memset(&f, 0, sizeof(f));
    guest_init(&f.g, SIZE, 0, true);
    if (vgr_loop_init(&f.loop) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s))
        return -1;
    f.pool = (struct vgr_worker_pool){
        .loop = &f.loop, .path = VGR_FAKE_WORKER, .limit = 2, .max_runs = 64};
    f.sock = s[0];
    fcntl(f.sock, F_SETFL, O_NONBLOCK);
    f.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *state = &f;
    if (vgr_vhost_init(&f.v, &f.loop, &f.pool, &cap, -1, NULL))
        return -1;
    return vgr_vhost_connect(&f.v, s[1]);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_vhost_finish(&f->v);
    vgr_loop_finish(&f->loop);
    close(f->sock);
    close(f->kick);
    close(f->call);
    guest_finish(&f->g);
    return 0;
}

static void open_worker(struct fixture *f)
{
    open_context(f);
    assert_int_equal(f->pool.alive, 1);
}

/* ---- Tests ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    strcpy(addr.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd};

    return poll(&p, 1, 0) == 1;
}

/* The front must not be who closes what a second VM has sent. */
static void a_second_vm_is_refused_without_waiting(void **state)
{
    static struct vgr_vhost v;
    struct fixture *f = *state;
    char dir[] = "/tmp/vgr-test-XXXXXX", path[64], why[128];
    int fd, first, second[2], peer[2];

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    fd = vgr_listen(path, SOCK_STREAM, 0777, why, sizeof(why));
    assert_true(fd >= 0);
    assert_int_equal(vgr_vhost_init(&v, &f->loop, &f->pool, &f->v.gpu.capset, fd, path), 0);
    first = connect_to(path);
    UNTIL(f, v.fd >= 0);
    for (int i = 0; i < 2; i++) {
        int linger = lingering_socket(&peer[i]);

        second[i] = connect_to(path);
        assert_int_equal(send_fds(second[i], "x", 1, &linger, 1), 1);
        close(linger);
    }
    UNTIL(f, hung_up(second[0]) && hung_up(second[1]) && !vgr_discard_busy(&v.refusal));
    assert_false(hung_up(first));
    close(first);
    UNTIL(f, v.fd < 0);
    first = connect_to(path);
    UNTIL(f, v.fd >= 0);
    vgr_vhost_finish(&v);
    for (int i = 0; i < 2; i++) {
        close(second[i]);
        close(peer[i]);
    }
    close(first);
    rmdir(dir);
}

static void features_are_offered(void **state)
{
    struct fixture *f = *state;

    assert_true(confirm(f, VGR_VHOST_GET_FEATURES, NULL, 0, -1) & 1ull << 30);
    assert_true(confirm(f, VGR_VHOST_GET_PROTOCOL_FEATURES, NULL, 0, -1) & 1 << 9);
    assert_int_equal(confirm(f, VGR_VHOST_GET_QUEUE_NUM, NULL, 0, -1), 2);
    assert_int_equal(confirm(f, VGR_VHOST_GET_MAX_MEM_SLOTS, NULL, 0, -1), 32);
}

static void config_space_has_one_capset(void **state)
{
    struct fixture *f = *state;
    uint32_t config[3 + 5] = {0, 20, 0}, answer[3 + 3 + 5];
    ssize_t n;

    send_msg(f, VGR_VHOST_GET_CONFIG, 1, config, sizeof(config), -1);
    UNTIL(f, (n = recv(f->sock, answer, sizeof(answer), 0)) >= 0);
    assert_int_equal(n, sizeof(answer));
    assert_int_equal(answer[6 + 3], 1);
    /* From anywhere, up to the largest size: never more than is there. */
    config[0] = UINT32_MAX;
    send_msg(f, VGR_VHOST_GET_CONFIG, 1, config, sizeof(config), -1);
    UNTIL(f, (n = recv(f->sock, answer, sizeof(answer), 0)) >= 0);
    assert_int_equal(answer[6 + 3], 0);
}

static void queue_serves_the_guest(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
}

static void queue_does_not_run_before_it_is_enabled(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 0), 0);
    offer(f, VGR_GPU_CTX_CREATE, 1, NULL, 0);
    vgr_loop_turn(&f->loop, 50);
    assert_int_equal(guest_used(&f->g, NULL), -1);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 1), 0);
    assert_int_equal(guest_used(&f->g, NULL), 0);
}

static void queue_survives_a_new_memory_table(void **state)
{
    struct fixture *f = *state;
    struct vgr_vhost_one_region c = {.region = {GPA_C, MIB, UADDR + GPA_C, 0}};

    start(f);
    open_worker(f);
    assert_int_equal(add_region(f, 0), 1); /* is there already */
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 2, NULL, 0), VGR_GPU_OK);
    assert_int_equal(f->pool.alive, 1);
    /* The arena's region goes, and its worker. */
    assert_int_equal(confirm(f, VGR_VHOST_REM_MEM_REG, &c, sizeof(c), -1), 0);
    UNTIL(f, !f->pool.alive);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 3, NULL, 0), VGR_GPU_OK);
}

static void stop_waits_for_the_workers(void **state)
{
    struct fixture *f = *state;

    start(f);
    open_worker(f);
    ask_base(f);
    assert_int_equal(answered_base(f), f->g.avail_idx);
    assert_int_equal(f->pool.alive, 0);
    assert_int_equal(((struct vgr_control *)guest_ptr(&f->g, GPA_C))->state, VGR_STATE_FAILED);
    /* And goes on afterwards. */
    start_queue(f);
    open_worker(f);
}

/* ---- A worker that takes its time to die ---- */

/* It stays where it ends until it is let go, whoever kills it. */
static pid_t detain_worker(struct fixture *f)
{
    pid_t pid = f->pool.first->pid;

    assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT), 0);
    return pid;
}

static void let_go(pid_t pid)
{
    assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
}

/* Nothing comes for longer than the front would need. */
static bool answers(struct fixture *f)
{
    char byte;

    for (int i = 0; i < 10; i++)
        vgr_loop_turn(&f->loop, 10);
    return recv(f->sock, &byte, 1, MSG_PEEK) >= 0;
}

static void a_reset_waits_for_the_workers(void **state)
{
    struct fixture *f = *state;
    pid_t pid;

    start(f);
    open_worker(f);
    pid = detain_worker(f);
    send_msg(f, VGR_VHOST_RESET_DEVICE, 1 | VGR_VHOST_NEED_REPLY, NULL, 0, -1);
    assert_false(answers(f));
    let_go(pid);
    assert_int_equal(answered(f), 0);
    assert_int_equal(f->pool.alive, 0);
    start_queue(f);
    open_worker(f);
}

/* The stop did not wait for it for ever, but the driver that goes on does not get the pages back before. */
static void what_a_reset_forgot_is_given_back_when_its_worker_is_gone(void **state)
{
    static const uint32_t commands[] = {VGR_GPU_RESOURCE_UNREF, VGR_GPU_DETACH_BACKING};
    struct fixture *f = *state;
    uint32_t id[2] = {1};
    pid_t pid;

    start(f);
    for (int i = 0; i < 2; i++) {
        open_worker(f);
        pid = detain_worker(f);
        ask_base(f);
        answered_base(f);
        assert_int_equal(f->pool.alive, 1);
        start_queue(f);
        offer(f, commands[i], 0, id, sizeof(id));
        answers(f);
        assert_int_equal(guest_used(&f->g, NULL), -1);
        let_go(pid);
        UNTIL(f, guest_used(&f->g, NULL) >= 0);
        assert_int_equal(((const struct vgr_gpu_hdr *)guest_ptr(&f->g, RESP))->type,
                         VGR_GPU_ERR_RESOURCE_ID);
        assert_int_equal(f->pool.alive, 0);
        vgr_event_read(f->call);
        /* And nobody waits where there is none. */
        assert_int_equal(ask(f, commands[i], 0, id, sizeof(id)), VGR_GPU_ERR_RESOURCE_ID);
    }
}

/* QEMU has the queue rest first: what the guest waits for is answered all the same. */
static void what_is_held_is_answered_at_a_pause(void **state)
{
    struct fixture *f = *state;
    uint32_t id[2] = {1};
    pid_t pid;

    start(f);
    open_worker(f);
    pid = detain_worker(f);
    offer(f, VGR_GPU_RESOURCE_UNREF, 0, id, sizeof(id));
    answers(f);
    assert_int_equal(guest_used(&f->g, NULL), -1);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 0), 0);
    offer(f, VGR_GPU_CTX_DESTROY, 2, NULL, 0); /* not before it goes on */
    ask_base(f);
    answers(f);
    let_go(pid);
    assert_int_equal(answered_base(f), (uint16_t)(f->g.avail_idx - 1));
    assert_true(guest_used(&f->g, NULL) >= 0);
    assert_int_equal(guest_used(&f->g, NULL), -1);
}

static void a_queue_that_rested_goes_on(void **state)
{
    struct fixture *f = *state;
    int head;

    start(f);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 0), 0);
    offer(f, VGR_GPU_CTX_CREATE, 5, NULL, 0);
    answers(f);
    assert_int_equal(guest_used(&f->g, NULL), -1);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 1), 0);
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    vgr_event_read(f->call);
    assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 5, NULL, 0), VGR_GPU_OK);
}

static void ring_outside_of_memory_is_noticed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(add_region(f, 1), 0);
    start_queue(f);
    assert_true(f->v.not_shared_said);
    assert_false(disconnected(f));
}

static void memory_that_nobody_writes_is_noticed(void **state)
{
    struct fixture *f = *state;

    start(f);
    vgr_event_signal(f->kick);
    UNTIL(f, f->v.not_shared_said);
}

static void broken_ring_does_not_end_the_connection(void **state)
{
    struct fixture *f = *state;

    start(f);
    f->g.avail_idx += 1000;
    offer(f, VGR_GPU_CTX_CREATE, 1, NULL, 0);
    vgr_loop_turn(&f->loop, 50);
    assert_int_equal(guest_used(&f->g, NULL), -1);
    assert_int_equal(confirm(f, VGR_VHOST_GET_QUEUE_NUM, NULL, 0, -1), 2);
}

static void malformed_message_ends_the_connection(void **state)
{
    struct fixture *f = *state;

    start(f);
    open_worker(f);
    send_msg(f, VGR_VHOST_SET_FEATURES, 1, "abc", 3, -1);
    UNTIL(f, disconnected(f));
    assert_true(f->loop.stop); /* --fd */
    UNTIL(f, !f->pool.alive);
    assert_int_equal(f->v.mem.n, 0);
}

static void impossible_requests_are_refused(void **state)
{
    struct fixture *f = *state;
    struct vgr_vhost_one_region m = {.region = {0, 1ull << 60, 0, 0}};
    uint64_t queue = 7;

    assert_int_equal(confirm(f, VGR_VHOST_ADD_MEM_REG, &m, sizeof(m), f->g.fd), 1);
    assert_int_equal(confirm(f, VGR_VHOST_REM_MEM_REG, &m, sizeof(m), -1), 1);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_NUM, 2, 16), 1);
    assert_int_equal(confirm(f, VGR_VHOST_SET_VRING_KICK, &queue, 8, f->kick), 1);
    assert_int_equal(confirm(f, 99, NULL, 0, -1), 1);
    assert_false(disconnected(f));
}

/* Messages of the right form, with any contents. Whatever comes of it, nothing of ours may break. */
static void any_message_is_survived(void **state)
{
    static const struct {
        uint8_t request, size;
        bool fd;
    } forms[] = {
        {2, 8, false},   {5, 40, true},   {5, 8, false},  {8, 8, false},  {9, 40, false},
        {10, 8, false},  {11, 8, false},  {12, 8, true},  {13, 8, true},  {18, 8, false},
        {24, 32, false}, {25, 32, false}, {33, 8, true},  {34, 0, false}, {37, 40, true},
        {38, 40, false}, {12, 8, true},   {18, 8, false}, {37, 40, true}, {99, 8, true},
    };
    unsigned seed = 1, served = 0;

    teardown(state);
    for (int round = 0; round < 200; round++) {
        struct fixture *f;

        setup(state);
        f = *state;
        start(f);
        if (round % 4 == 0)
            open_worker(f);
        for (int i = 0; i < 50 && f->v.fd >= 0; i++, served++) {
            unsigned k = (unsigned)rand_r(&seed) % (sizeof(forms) / sizeof(forms[0]));
            uint32_t payload[16];

            /* Small numbers, addresses of the rings and of memory, and noise. */
            for (int j = 0; j < 16; j++) {
                static const uint32_t likely[] = {
                    0, 0, 0, 1, 8, 16, UADDR >> 32, DESC_GPA, USED_GPA, MIB, 4096, 0xfffff000};

                payload[j] = rand_r(&seed) % 16 ? likely[(unsigned)rand_r(&seed) % 12]
                                                : (uint32_t)rand_r(&seed);
            }
            if (forms[k].request == VGR_VHOST_SET_MEM_TABLE)
                payload[0] = forms[k].fd;
            else if (forms[k].size == 8)
                payload[0] %= 2;
            if (forms[k].size == 32)
                payload[1] = 20; /* a config's size */
            send_msg(f, forms[k].request, rand_r(&seed) % 16 ? 9 : 1, payload, forms[k].size,
                     !forms[k].fd          ? -1
                     : forms[k].size == 40 ? f->g.fd
                                           : f->kick);
            vgr_event_signal(f->kick);
            vgr_loop_turn(&f->loop, 0);
            while (recv(f->sock, payload, sizeof(payload), 0) > 0)
                continue;
        }
        if (round < 199)
            teardown(state);
    }
    assert_true(served > 2000); /* most of them were taken seriously */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(features_are_offered),
        T(a_second_vm_is_refused_without_waiting),
        T(config_space_has_one_capset),
        T(queue_serves_the_guest),
        T(queue_does_not_run_before_it_is_enabled),
        T(queue_survives_a_new_memory_table),
        T(stop_waits_for_the_workers),
        T(a_reset_waits_for_the_workers),
        T(what_a_reset_forgot_is_given_back_when_its_worker_is_gone),
        T(what_is_held_is_answered_at_a_pause),
        T(a_queue_that_rested_goes_on),
        T(ring_outside_of_memory_is_noticed),
        T(memory_that_nobody_writes_is_noticed),
        T(broken_ring_does_not_end_the_connection),
        T(malformed_message_ends_the_connection),
        T(impossible_requests_are_refused),
        T(any_message_is_survived),
    };

    vgr_log_init("test", VGR_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
