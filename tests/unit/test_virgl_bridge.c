/* SPDX-License-Identifier: MIT
 *
 * The bridge as a monitor calls it, with a broker and workers behind it (fake_worker.c), which are
 * processes. The tests go through the functions that the library exports.
 */
#include "vgr_test.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/log.h"
#include "device/direct.h"
#include "device/listen.h"
#include "fake_monitor.h"
#include "fake_worker.h"
#include "virgl/bridge.h"

#define ARENA (1u << 20)

static char dir[] = "/tmp/vgr-test-XXXXXX", path[64];
static pid_t broker;

/* ---- The broker's process ---- */

static void __attribute__((noreturn)) be_broker(void)
{
    static struct vgr_loop loop;
    static struct vgr_worker_pool pool;
    static struct vgr_direct d;
    const struct vgr_capset cap = {
        .magic = VGR_MAGIC,
        .version_min = 1,
        .version_max = 1,
        .arena_min = ARENA,
        .arena_max = 4 * ARENA,
        .arena_default = ARENA,
    };
    char why[256];
    int fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    vgr_log_init("broker", VGR_LOG_ERROR);
    fd = vgr_listen(path, SOCK_STREAM, 0777, why, sizeof(why));
    if (fd < 0 || vgr_loop_init(&loop))
        _exit(1);
    pool = (struct vgr_worker_pool){
        .loop = &loop, .path = VGR_FAKE_WORKER, .limit = 4, .max_runs = 64};
    if (vgr_direct_init(&d, &loop, &pool, &cap, fd, path, true))
        _exit(1);
    vgr_loop_run(&loop);
    _exit(1);
}

static void start_broker(void)
{
    broker = fork();
    if (!broker)
        be_broker();
    for (int i = 0; i < 500 && access(path, F_OK); i++)
        usleep(10000);
}

static void end_broker(void)
{
    kill(broker, SIGKILL);
    waitpid(broker, NULL, 0);
    unlink(path);
}

/* Its children: processes of workers. */
static int workers(pid_t *first)
{
    char name[64], line[256] = "";
    int n = 0, used;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/%d/task/%d/children", (int)broker, (int)broker);
    f = fopen(name, "re");
    if (!f)
        return -1;
    if (fgets(line, sizeof(line), f)) {
        int pid;

        for (char *p = line; sscanf(p, "%d%n", &pid, &used) == 1; p += used) {
            if (first && !n)
                *first = pid;
            n++;
        }
    }
    fclose(f);
    return n;
}

/* All of them wait for their doorbells. */
static bool workers_sleep(void)
{
    char name[64], text[256] = "", *state;
    pid_t pid;
    FILE *f;

    if (workers(&pid) != 1)
        return true; /* only the tests with one care */
    snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    f = fopen(name, "re");
    if (!f)
        return true;
    state = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
    fclose(f);
    return !state || state[2] == 'S';
}

#define UNTIL_TRUE(condition)                                                                      \
    do {                                                                                           \
        int tries_ = 0;                                                                            \
        while (!(condition)) {                                                                     \
            assert_true(tries_++ < 2500);                                                          \
            usleep(2000);                                                                          \
            virgl_renderer_poll();                                                                 \
        }                                                                                          \
    } while (0)

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- GLib's main loop, if the monitor has one ---- */

static int (*idle_function)(void *);

__attribute__((visibility("default"))) unsigned g_idle_add_full(int priority, int (*f)(void *),
                                                                void *data, void *notify);

unsigned g_idle_add_full(int priority, int (*f)(void *), void *data, void *notify)
{
    __atomic_store_n(&idle_function, f, __ATOMIC_SEQ_CST);
    return 1;
}

/* ---- Fixtures ---- */

static int group_setup(void **state)
{
    uint32_t ver, size;

    if (!mkdtemp(dir) || mon_make_ram())
        return -1;
    snprintf(path, sizeof(path), "%s/broker", dir);
    start_broker();
    setenv("VGR_BROKER", path, 1);
    setenv("VGR_VIRGL_LOG", "error", 1);
    virgl_renderer_get_cap_set(2, &ver, &size);
    return size > MON_CAPSET ? 0 : -1;
}

static int group_teardown(void **state)
{
    end_broker();
    return rmdir(dir);
}

static int setup(void **state)
{
    memset(mon.ram, 0, MON_RAM);
    mon.n_fences = mon.submits = mon.real_fences = mon.transfers = 0;
    return mon_power_on(true);
}

static int setup_sync(void **state)
{
    setup(state);
    return mon_power_on(false);
}

static int teardown(void **state)
{
    virgl_renderer_reset();
    for (int i = 0; i < 2500 && workers(NULL); i++)
        usleep(2000);
    return workers(NULL);
}

/* Context `ctx` with its arena, resource `ctx`, in the guest's memory. */
static struct vgr_control *control_at(uint32_t ctx)
{
    return (struct vgr_control *)(mon.ram + (ctx - 1) * ARENA + ARENA / 2);
}

static struct vgr_control *open_pages(uint32_t ctx)
{
    assert_int_equal(mon_claimed(ctx), 0);
    assert_int_equal(mon_resource(ctx, ctx, (ctx - 1) * ARENA, ARENA), 0);
    assert_int_equal(mon_submit(ctx, VGR_SUBMIT_OPEN, ctx, ARENA), 0);
    assert_int_equal(virgl_renderer_context_create_fence(ctx, 0, VGR_BRIDGE_RING_LIFE, 1000 + ctx),
                     0);
    UNTIL_TRUE(__atomic_load_n(&control_at(ctx)->state, __ATOMIC_ACQUIRE) == VGR_STATE_READY);
    return control_at(ctx);
}

static void wait_fence(uint32_t ctx, uint64_t id)
{
    assert_int_equal(mon_submit(ctx, VGR_SUBMIT_WAIT, 0, 0), 0);
    assert_int_equal(virgl_renderer_context_create_fence(ctx, 0, VGR_BRIDGE_RING_WAIT, id), 0);
}

/* Holds a fence, after whatever wake-up the start has left is used up. */
static void hold_fence(uint32_t ctx, uint64_t id)
{
    uint64_t before = id + 100;

    UNTIL_TRUE(workers_sleep());
    for (;; before++) {
        wait_fence(ctx, before);
        usleep(50000);
        virgl_renderer_poll();
        if (!mon_done(before))
            break;
    }
    wait_fence(ctx, id);
    UNTIL_TRUE(mon_done(before)); /* the older one is given back */
}

/* After pages were taken away, at `start`: their worker is gone, unless patience was over first. */
static void no_worker_since(double start)
{
    double taken = now_ms() - start;

    assert_true(!workers(NULL) || taken >= VGR_BRIDGE_PATIENCE_MS);
    UNTIL_TRUE(!workers(NULL));
}

/* ---- Tests ---- */

static void capset_has_a_trailer(void **state)
{
    struct vgr_bridge_trailer t;
    uint8_t caps[512];
    uint32_t ver, size;

    memset(caps, 0xaa, sizeof(caps));
    virgl_renderer_get_cap_set(2, &ver, &size);
    assert_int_equal(ver, 1);
    assert_int_equal(size, 104 + sizeof(t));
    virgl_renderer_fill_caps(2, 1, caps);
    memcpy(&t, caps + 104, sizeof(t));
    assert_memory_equal(t.signature, VGR_BRIDGE_SIGNATURE, 16);
    assert_int_equal(t.capset.magic, VGR_MAGIC);
    assert_int_equal(t.capset.arena_max, 4 * ARENA);
    assert_int_equal(caps[MON_CAPSET - 1], 0x55);
    assert_int_equal(caps[size], 0xaa); /* not beyond its size */

    virgl_renderer_get_cap_set(1, &ver, &size);
    assert_int_equal(size, MON_CAPSET);
    virgl_renderer_get_cap_set(4, &ver, &size);
    assert_int_equal(size, 0);
}

static void graphics_pass_through(void **state)
{
    uint32_t nop[3] = {2u << 16};
    struct iovec *iov;
    int n;

    assert_int_equal(virgl_renderer_context_create(1, 2, "gl"), 0);
    assert_int_equal(mon_resource(1, 1, 0, ARENA), 0);
    assert_int_equal(virgl_renderer_submit_cmd(nop, 1, 3), 0);
    /* Ours is a no-operation there, in a context that nobody has claimed. */
    assert_int_equal(mon_submit(1, VGR_SUBMIT_OPEN, 1, ARENA), 0);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_WAIT, 0, 0), 0);
    assert_int_equal(mon.submits, 3);
    assert_int_equal(virgl_renderer_context_create_fence(1, 0, 1, 5), 0);
    assert_int_equal(mon.real_fences, 1);
    virgl_renderer_transfer_read_iov(1, 1, 0, 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(mon.transfers, 1);
    virgl_renderer_resource_detach_iov(1, &iov, &n);
    assert_ptr_equal(iov, mon.pages[1]);
    assert_int_equal(n, 2);
    virgl_renderer_resource_unref(1);
    virgl_renderer_context_destroy(1);
    assert_false(mon.context[1]);
    assert_int_equal(workers(NULL), 0);
}

static void claimed_context_is_ours(void **state)
{
    uint32_t nop[3] = {2u << 16};

    assert_int_equal(mon_claimed(1), 0);
    assert_false(mon.context[1]); /* the real one is gone */
    assert_int_equal(virgl_renderer_submit_cmd(nop, 1, 3), EINVAL);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_CLAIM, 0, 0), EINVAL);
    assert_int_equal(virgl_renderer_context_create(1, 2, "gl"), EINVAL);
    virgl_renderer_transfer_write_iov(1, 1, 0, 0, 0, NULL, 0, NULL, 0);
    /* Every fence comes back, on whichever ring. */
    for (uint32_t ring = 0; ring < 70; ring++)
        assert_int_equal(virgl_renderer_context_create_fence(1, 0, ring, 10 + ring), 0);
    for (uint32_t ring = 0; ring < 70; ring++)
        UNTIL_TRUE(mon_done(10 + ring));
    assert_int_equal(mon.submits + mon.real_fences + mon.transfers, 0);

    /* No context of Vulkan's, and none that does not exist. */
    assert_int_equal(virgl_renderer_context_create_with_flags(2, 4, 2, "vk"), 0);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_CLAIM, 0, 0), EINVAL);
    assert_true(mon.context[2]);
    assert_int_equal(mon_submit(9, VGR_SUBMIT_CLAIM, 0, 0), 0);
    assert_int_equal(mon.submits, 1);
}

static void worker_gets_the_guests_pages(void **state)
{
    struct vgr_control *ctl = open_pages(1);

    /* The arena's second half is the memory's first. */
    assert_memory_equal(mon.ram + ARENA / 2 - 8, "the end", 8);
    hold_fence(1, 50);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(50));
    assert_int_equal(ctl->done, 1);
    assert_false(mon_done(1001)); /* it lives */
    virgl_renderer_context_destroy(1);
    UNTIL_TRUE(mon_done(1001));
    assert_int_equal(workers(NULL), 0); /* that is what this fence says */
}

static void worker_gets_a_blob(void **state)
{
    struct vgr_virgl_info info;
    struct vgr_virgl_info_ext ext = {0};
    struct vgr_control *ctl;
    uint32_t type, map_info;
    uint64_t size;
    uint8_t *place = mmap(NULL, 2 * ARENA, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *map;
    int fd;

    assert_int_equal(mon_claimed(1), 0);
    assert_int_equal(mon_blob(7, 1, 2 * ARENA), 0);
    virgl_renderer_ctx_attach_resource(1, 7);
    assert_int_equal(virgl_renderer_resource_get_info(7, &info), 0);
    assert_int_equal(info.fd, -1);
    assert_int_equal(virgl_renderer_resource_get_info_ext(7, &ext), 0);
    assert_int_equal(virgl_renderer_resource_get_map_info(7, &map_info), 0);
    assert_int_equal(map_info, VGR_VIRGL_MAP_CACHED);
    assert_int_equal(virgl_renderer_resource_map(7, &map, &size), 0);
    assert_int_equal(size, 2 * ARENA);
    assert_int_equal(virgl_renderer_resource_map(7, &map, &size), -EINVAL);
    assert_int_equal(virgl_renderer_resource_map_fixed(7, place), 0);
    assert_int_equal(virgl_renderer_resource_export_blob(7, &type, &fd), 0);
    assert_int_equal(type, VGR_VIRGL_FD_TYPE_SHM);
    close(fd);

    ctl = map;
    assert_int_equal(mon_submit(1, VGR_SUBMIT_OPEN, 7, 2 * ARENA), 0);
    UNTIL_TRUE(__atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_READY);
    assert_memory_equal(place + 2 * ARENA - 8, "the end", 8);

    assert_int_equal(virgl_renderer_resource_unmap(7), 0);
    assert_int_equal(virgl_renderer_resource_unmap(7), -EINVAL);
    virgl_renderer_resource_unref(7);
    assert_int_equal(virgl_renderer_resource_get_info(7, &info), EINVAL);
    UNTIL_TRUE(!workers(NULL));
    munmap(place, 2 * ARENA);
}

static void context_number_is_reused_at_once(void **state)
{
    struct vgr_control *ctl;
    double start;

    for (unsigned i = 0; i < 10; i++) {
        open_pages(1);
        hold_fence(1, 50 + i);
        virgl_renderer_context_destroy(1);
        UNTIL_TRUE(mon_done(50 + i)); /* it does not wait for ever */
        start = now_ms();
        virgl_renderer_resource_unref(1);
        no_worker_since(start); /* nobody writes into these pages any more */
        memset(mon.ram, 0, ARENA);
    }
    /* A new one, of graphics, has nothing of the old ones. */
    assert_int_equal(virgl_renderer_context_create(1, 2, "gl"), 0);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_WAIT, 0, 0), 0);
    assert_int_equal(mon.submits, 1);
    virgl_renderer_context_destroy(1);
    ctl = open_pages(1);
    assert_int_equal(ctl->done, 0);
}

static void pages_are_free_when_they_are_taken(void **state)
{
    struct iovec *iov;
    double start;
    int n;

    open_pages(1);
    assert_int_equal(workers(NULL), 1);
    start = now_ms();
    virgl_renderer_resource_detach_iov(1, &iov, &n);
    no_worker_since(start);
    assert_int_equal(n, 2);

    open_pages(2);
    start = now_ms();
    virgl_renderer_resource_unref(2);
    no_worker_since(start);

    open_pages(3);
    virgl_renderer_ctx_detach_resource(3, 3);
    UNTIL_TRUE(!workers(NULL));
}

static void dead_worker_is_told(void **state)
{
    struct vgr_control *ctl = open_pages(1);
    pid_t pid;

    hold_fence(1, 50);
    assert_int_equal(workers(&pid), 1);
    kill(pid, SIGKILL);
    UNTIL_TRUE(mon_done(50) && mon_done(1001));
    assert_int_equal(ctl->state, VGR_STATE_FAILED);
    assert_int_equal(ctl->error, VGR_ERROR_WORKER_DIED);
    assert_non_null(strstr(ctl->error_text, "was killed by signal 9"));
    wait_fence(1, 51);
    UNTIL_TRUE(mon_done(51));

    /* Another context works. */
    open_pages(2);
}

static void broker_may_come_back(void **state)
{
    struct vgr_control *ctl = open_pages(1);

    hold_fence(1, 50);
    end_broker();
    UNTIL_TRUE(mon_done(50) && mon_done(1001));
    assert_int_equal(ctl->state, VGR_STATE_FAILED);
    assert_int_equal(ctl->error, VGR_ERROR_WORKER_DIED);

    assert_int_equal(mon_claimed(2), 0);
    assert_int_equal(mon_resource(2, 2, ARENA, ARENA), 0);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 2, ARENA), 0);
    UNTIL_TRUE(control_at(2)->state == VGR_STATE_FAILED);
    assert_non_null(strstr(control_at(2)->error_text, "cannot reach the host's broker"));

    start_broker();
    open_pages(3);
}

static void reset_drops_all(void **state)
{
    double start;

    open_pages(1);
    open_pages(2);
    hold_fence(1, 50);
    assert_int_equal(virgl_renderer_context_create(3, 2, "gl"), 0);
    assert_int_equal(mon_blob(7, 1, ARENA), 0);
    mon.n_fences = 0;
    start = now_ms();
    virgl_renderer_reset();
    no_worker_since(start); /* the guest's memory is its firmware's now */
    usleep(50000);
    assert_int_equal(mon.n_fences, 0);
    assert_int_equal(virgl_renderer_resource_unmap(7), -EINVAL);

    assert_int_equal(mon_power_on(true), 0);
    memset(mon.ram, 0, MON_RAM);
    open_pages(1);
    hold_fence(1, 60);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(60));
    assert_false(mon_done(50));
}

static void synchronous_monitor_is_called_on_its_thread(void **state)
{
    open_pages(1);
    hold_fence(1, 50);
    if (idle_function)
        idle_function(NULL); /* GLib's loop has nothing left to do */
    __atomic_store_n(&idle_function, NULL, __ATOMIC_SEQ_CST);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    for (int i = 0; i < 2500 && !__atomic_load_n(&idle_function, __ATOMIC_SEQ_CST); i++)
        usleep(2000);
    assert_non_null(idle_function);
    assert_false(mon_done(50)); /* by nobody else */
    assert_int_equal(idle_function(NULL), 0);
    assert_true(mon_done(50));

    hold_fence(1, 51);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(51));
    for (unsigned i = 0; i < mon.n_fences; i++)
        assert_true(mon.fences[i].own_thread);
}

static void fences_are_held_for_a_second(void **state)
{
    double start;

    open_pages(1);
    hold_fence(1, 50);
    start = now_ms();
    UNTIL_TRUE(mon_done(50));
    assert_true(now_ms() - start > 500);
}

/* A broker that does not answer, as one in a debugger. */
static void monitor_does_not_wait_for_the_broker(void **state)
{
    double start, slowest = 0, taken;

    kill(broker, SIGSTOP);
    for (uint32_t ctx = 1; ctx < 6; ctx++) {
        start = now_ms();
        assert_int_equal(mon_claimed(ctx), 0);
        assert_int_equal(mon_resource(ctx, ctx, (ctx - 1) * ARENA, ARENA), 0);
        assert_int_equal(mon_submit(ctx, VGR_SUBMIT_OPEN, ctx, ARENA), 0);
        assert_int_equal(
            virgl_renderer_context_create_fence(ctx, 0, VGR_BRIDGE_RING_LIFE, 1000 + ctx), 0);
        wait_fence(ctx, 50 + ctx);
        assert_int_equal(mon_submit(ctx, VGR_SUBMIT_DOORBELL, 0, 0), 0);
        virgl_renderer_context_destroy(ctx);
        taken = now_ms() - start;
        slowest = taken > slowest ? taken : slowest;
        assert_false(mon_done(1000 + ctx));
    }
    assert_true(slowest < 100);
    start = now_ms();
    virgl_renderer_resource_unref(1); /* a guest that does not keep its pages */
    assert_true(now_ms() - start < 5 * VGR_BRIDGE_PATIENCE_MS);
    kill(broker, SIGCONT);
    for (uint32_t ctx = 1; ctx < 6; ctx++)
        UNTIL_TRUE(mon_done(1000 + ctx));
    printf("slowest: %.2f ms\n", slowest);
}

static void guest_may_ask_for_anything(void **state)
{
    uint64_t sizes[] = {0, 1, 4096, ARENA - 4096, ARENA + 1, 64 * ARENA, UINT64_MAX, 1ull << 63};
    struct vgr_virgl_blob_args args = {
        .res_handle = 20, .ctx_id = 1, .blob_mem = 2, .blob_id = 77, .size = ARENA};
    unsigned n = 0;

    open_pages(1);
    assert_int_equal(mon_claimed(2), 0);
    /* Another context's arena, attached or not; one that does not exist; its own twice. */
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 1, ARENA), EINVAL);
    virgl_renderer_ctx_attach_resource(2, 1);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 1, ARENA), EINVAL);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 19, ARENA), EINVAL);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_OPEN, 1, ARENA), EINVAL);
    /* More than may be attached. */
    for (int res = 0; res < 1000; res++)
        virgl_renderer_ctx_attach_resource(2, res - 500);
    for (int res = 0; res < 1000; res++)
        virgl_renderer_ctx_detach_resource(2, res - 500);
    for (int i = -4; i < 1; i++) {
        virgl_renderer_context_destroy((uint32_t)(1000 + i));
        virgl_renderer_ctx_attach_resource(i, i);
        virgl_renderer_resource_detach_iov(i, &(struct iovec *){NULL}, &(int){0});
        n++;
    }
    assert_int_equal(mon_resource(3, 2, 2 * ARENA, ARENA), 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct vgr_control *ctl = control_at(3);

        memset(ctl, 0, sizeof(*ctl));
        assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 3, sizes[i]), EINVAL);
        assert_int_equal(ctl->error, VGR_ERROR_ARENA);
        assert_true(mon_blob(21, 2, sizes[i]) == -EINVAL);
        n++;
    }
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -EINVAL);
    args.blob_id = VGR_BRIDGE_BLOB_ID;
    args.res_handle = 1; /* a number that is taken */
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -ENOMEM);
    args.res_handle = 0;
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -ENOMEM);
    args.ctx_id = 8; /* a context that is none of ours */
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -EINVAL);
    assert_int_equal(mon_blob(22, 2, ARENA), 0);
    assert_int_equal(mon_blob(22, 2, ARENA), -EINVAL);
    assert_int_equal(mon_resource(22, 2, 0, ARENA), EINVAL);
    /* Larger than the blob. */
    virgl_renderer_ctx_attach_resource(2, 22);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 22, 2 * ARENA), EINVAL);
    virgl_renderer_resource_unref(22);

    /* None of this has hurt anybody. */
    hold_fence(1, 50);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(50));
    assert_int_equal(n, 13);
}

static void nothing_is_left(void **state)
{
    static int fds[2];
    unsigned cycles = 0;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10; i++, cycles++) {
            open_pages(1);
            hold_fence(1, 50);
            virgl_renderer_context_destroy(1);
            virgl_renderer_resource_unref(1);
            memset(mon.ram, 0, ARENA);
            mon.n_fences = 0;
        }
        UNTIL_TRUE(!workers(NULL));
        fds[round] = 0;
        for (int fd = 0; fd < 512; fd++)
            fds[round] += fcntl(fd, F_GETFD) >= 0;
    }
    assert_int_equal(fds[0], fds[1]);
    assert_int_equal(cycles, 20);
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SYNC_TEST(name) cmocka_unit_test_setup_teardown(name, setup_sync, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(capset_has_a_trailer),
        TEST(graphics_pass_through),
        TEST(claimed_context_is_ours),
        TEST(worker_gets_the_guests_pages),
        SYNC_TEST(worker_gets_the_guests_pages),
        TEST(worker_gets_a_blob),
        TEST(context_number_is_reused_at_once),
        TEST(pages_are_free_when_they_are_taken),
        TEST(dead_worker_is_told),
        TEST(broker_may_come_back),
        TEST(reset_drops_all),
        SYNC_TEST(synchronous_monitor_is_called_on_its_thread),
        TEST(fences_are_held_for_a_second),
        TEST(monitor_does_not_wait_for_the_broker),
        TEST(guest_may_ask_for_anything),
        TEST(nothing_is_left),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
