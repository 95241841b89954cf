/* SPDX-License-Identifier: MIT
 *
 * A front is a process here, which is killed; the test then is its successor. QEMU is played
 * (test_vhost.h), vgr-keeper is the real one.
 */
#include "vgr_test.h"

#include "test_vhost.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"

static char dir[64], front_socket[80], keeper_socket[96];
static struct vgr_keep keep;
static struct vgr_kept kept;
static pid_t front;

static void renewed(struct vgr_keep *k)
{
}

static int open_keeper(struct fixture *f)
{
    char why[256];

    return vgr_keep_open(&keep, &f->loop, VGR_KEEPER, front_socket, renewed, &kept, why,
                         sizeof(why));
}

static int init_front(struct fixture *f)
{
    static const struct vgr_capset cap = {
        .magic = VGR_MAGIC,
        .arena_min = ARENA,
        .arena_max = ARENA,
        .arena_default = ARENA,
    };

    if (vgr_loop_init(&f->loop))
        return -1;
    f->pool = (struct vgr_worker_pool){
        .loop = &f->loop, .path = VGR_FAKE_WORKER, .limit = 2, .max_runs = 64};
    return vgr_vhost_init(&f->v, &f->loop, &f->pool, &cap, -1, NULL);
}

static int setup(void **state)
{
    static struct fixture f;
    int s[2];

    memset(&f, 0, sizeof(f));
    strcpy(dir, "/tmp/vgr-keep.XXXXXX");
    if (!mkdtemp(dir) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s))
        return -1;
    snprintf(front_socket, sizeof(front_socket), "%s/vm", dir);
    snprintf(keeper_socket, sizeof(keeper_socket), "%s.keeper", front_socket);
    guest_init(&f.g, SIZE, 0, true);
    f.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    front = fork();
    if (!front) {
        close(s[0]);
        if (init_front(&f) || open_keeper(&f) || vgr_vhost_set_keeper(&f.v, &keep, NULL) ||
            vgr_vhost_connect(&f.v, s[1]))
            _exit(1);
        vgr_loop_run(&f.loop);
        _exit(0);
    }
    close(s[1]);
    f.sock = s[0];
    fcntl(f.sock, F_SETFL, O_NONBLOCK);
    *state = &f;
    if (init_front(&f))
        return -1;
    start(&f);
    return 0;
}

static void kill_front(void)
{
    assert_int_equal(kill(front, SIGKILL), 0);
    assert_int_equal(waitpid(front, NULL, 0), front);
    front = 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (front)
        kill_front();
    vgr_worker_pool_finish(&f->pool, 5000);
    vgr_vhost_finish(&f->v);
    vgr_keep_close(&keep);
    close(f->sock); /* QEMU's end: so the keeper ends, too */
    UNTIL(f, access(keeper_socket, F_OK));
    vgr_loop_finish(&f->loop);
    close(f->kick);
    close(f->call);
    guest_finish(&f->g);
    rmdir(dir);
    return 0;
}

/* The test becomes the front. */
static void succeed(struct fixture *f)
{
    assert_int_equal(open_keeper(f), 1);
    assert_int_equal(vgr_vhost_set_keeper(&f->v, &keep, &kept), 0);
}

static void offer_wait(struct fixture *f)
{
    struct {
        struct vgr_gpu_hdr h;
        struct vgr_gpu_submit cmd;
        struct vgr_submit s;
    } wait = {{.type = VGR_GPU_SUBMIT_3D, .flags = VGR_GPU_FLAG_FENCE, .fence_id = 77, .ctx_id = 1},
              {sizeof(struct vgr_submit), 0},
              {.magic = VGR_MAGIC, .op = VGR_SUBMIT_WAIT}};

    memcpy(guest_ptr(&f->g, REQ), &wait, sizeof(wait));
    guest_desc(&f->g, 0, REQ, sizeof(wait), VGR_DESC_NEXT, 1);
    guest_desc(&f->g, 1, RESP, 0x800, VGR_DESC_WRITE, 0);
    *guest_used_event(&f->g) = f->g.used_seen;
    guest_offer(&f->g, 0);
    vgr_event_signal(f->kick);
}

static void successor_goes_on(void **state)
{
    struct vgr_gpu_hdr *resp;
    struct vgr_control *ctl;
    struct fixture *f = *state;
    uint32_t id[2] = {1};
    int head = -1;

    resp = guest_ptr(&f->g, RESP);
    ctl = guest_ptr(&f->g, GPA_C);
    open_context(f);
    UNTIL(f, ctl->state == VGR_STATE_READY);
    offer_wait(f);
    /* The worker may wake the guest right at its start; the second one is held. */
    if (poll(&(struct pollfd){.fd = f->call, .events = POLLIN}, 1, 200) == 1) {
        vgr_event_read(f->call);
        assert_int_equal(guest_used(&f->g, NULL), 0);
        offer_wait(f);
        vgr_loop_turn(&f->loop, 100);
    }
    kill_front();
    assert_int_equal(guest_used(&f->g, NULL), -1);
    assert_false(disconnected(f));

    succeed(f);
    /* The fence that was held is complete, the program is told, QEMU has noticed nothing. */
    UNTIL(f, (head = guest_used(&f->g, NULL)) >= 0);
    assert_int_equal(head, 0);
    assert_true(vgr_event_read(f->call));
    assert_int_equal(resp->flags & VGR_GPU_FLAG_FENCE, VGR_GPU_FLAG_FENCE);
    assert_int_equal(resp->fence_id, 77);
    assert_int_equal(ctl->state, VGR_STATE_FAILED);
    assert_int_equal(ctl->error, VGR_ERROR_WORKER_DIED);
    assert_false(disconnected(f));
    /* What was the former one's is given back without a word, and everything begins anew. */
    assert_int_equal(ask(f, VGR_GPU_CTX_DETACH_RESOURCE, 1, id, sizeof(id)), VGR_GPU_OK);
    assert_int_equal(f->v.gpu.n_dying,
                     1); /* but not pages that a worker of the former one may still have */
    assert_int_equal(ask(f, VGR_GPU_DETACH_BACKING, 1, id, sizeof(id)), VGR_GPU_OK);
    assert_int_equal(f->v.gpu.n_dying, 0);
    assert_int_equal(ask(f, VGR_GPU_RESOURCE_UNREF, 1, id, sizeof(id)), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 1, NULL, 0), VGR_GPU_OK);
    memset(ctl, 0, sizeof(*ctl));
    open_context(f);
    assert_int_equal(f->pool.alive, 1);
    UNTIL(f, ctl->state == VGR_STATE_READY);
    /* QEMU's words reach the successor. */
    assert_int_equal(confirm(f, VGR_VHOST_GET_QUEUE_NUM, NULL, 0, -1), 2);
    assert_int_equal(set_state(f, VGR_VHOST_SET_VRING_ENABLE, 0, 0), 0);
}

/* The guest reboots, and the front dies while there is no driver. */
static void successor_serves_the_next_driver(void **state)
{
    struct fixture *f = *state;

    open_context(f);
    ask_base(f);
    assert_int_equal(answered_base(f), f->g.avail_idx);
    vgr_loop_turn(&f->loop, 100); /* it has a word with its keeper yet */
    kill_front();
    succeed(f);
    assert_true(f->v.fd >= 0);
    /* New rings, at new positions. */
    f->g.avail_idx = f->g.used_seen = 0;
    memset(guest_ptr(&f->g, AVAIL_GPA), 0, 64);
    memset(guest_ptr(&f->g, USED_GPA), 0, 256);
    start_queue(f);
    open_context(f);
    assert_int_equal(f->pool.alive, 1);
    /* It is not the other driver's any more: what is unknown is an error again. */
    assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 9, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
}

/* QEMU would wait for ever for the answer that the former front owed. */
static void death_in_a_request_gives_the_connection_up(void **state)
{
    struct fixture *f = *state;
    uint32_t half[2] = {VGR_VHOST_GET_FEATURES, 1};

    send_raw(f, half, sizeof(half), -1);
    vgr_loop_turn(&f->loop, 200);
    kill_front();
    succeed(f);
    assert_int_equal(f->v.fd, -1);
    assert_true(disconnected(f));
}

/* An access behind the end of a file would be the successor's death. */
static void record_that_is_too_short_is_refused(void **state)
{
    struct fixture *f = *state;
    int record = memfd_create("short", MFD_CLOEXEC);

    assert_true(record >= 0);
    assert_int_equal(ftruncate(record, 4096), 0);
    kill_front();
    assert_int_equal(open_keeper(f), 1);
    assert_true(dup3(record, kept.fds[kept.head.n_watched], O_CLOEXEC) >= 0);
    close(record);
    assert_int_equal(vgr_vhost_set_keeper(&f->v, &keep, &kept), -EINVAL);
    assert_int_equal(f->v.fd, -1);
    assert_int_equal(f->v.mem.n, 0);
}

static void second_front_is_turned_away(void **state)
{
    struct fixture *f = *state;

    assert_true(open_keeper(f) < 0);
    keep.watch.fd = -1;
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    kill_front();
}

/* Without a front, the end of QEMU is the end of the keeper: see teardown. */
static void keeper_ends_with_its_vm(void **state)
{
    kill_front();
    assert_int_equal(access(keeper_socket, F_OK), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(successor_goes_on),
        T(successor_serves_the_next_driver),
        T(death_in_a_request_gives_the_connection_up),
        T(record_that_is_too_short_is_refused),
        T(second_front_is_turned_away),
        T(keeper_ends_with_its_vm),
    };

    vgr_log_init("test", VGR_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
