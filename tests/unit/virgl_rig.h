/* SPDX-License-Identifier: MIT
 *
 * virgl_rig.h - a monitor with the bridge in it (fake_monitor.h), and behind it a broker with workers
 * that do nothing (fake_worker.c), which are processes.
 */
#ifndef VGR_VIRGL_RIG_H
#define VGR_VIRGL_RIG_H

#include "vgr_test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

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

static inline void __attribute__((noreturn)) be_broker(void)
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

/* Its socket is there a moment before it listens. */
static inline bool broker_listens(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool listens;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    listens = !connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    close(fd);
    return listens;
}

static inline void start_broker(void)
{
    broker = fork();
    if (!broker)
        be_broker();
    for (int i = 0; i < 6000 && !broker_listens(); i++)
        usleep(10000);
}

static inline void end_broker(void)
{
    kill(broker, SIGKILL);
    waitpid(broker, NULL, 0);
    unlink(path);
}

/* Its children: processes of workers. */
static inline int workers(pid_t *first)
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
static inline bool workers_sleep(void)
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
            assert_true(tries_++ < 30000);                                                         \
            usleep(2000);                                                                          \
            virgl_renderer_poll();                                                                 \
        }                                                                                          \
    } while (0)

static inline double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- Fixtures ---- */

static inline int group_setup(void **state)
{
    uint32_t ver, size;

    if (!mkdtemp(dir) || mon_make_ram())
        return -1;
    snprintf(path, sizeof(path), "%s/broker", dir);
    start_broker();
    setenv("VGR_BROKER", path, 1);
    setenv("VGR_VIRGL_LOG", "error", 1);
    virgl_renderer_get_cap_set(1, &ver, &size);
    return size > MON_CAPSET ? 0 : -1;
}

static inline int group_teardown(void **state)
{
    end_broker();
    return rmdir(dir);
}

static inline int setup(void **state)
{
    memset(mon.ram, 0, MON_RAM);
    mon.n_fences = mon.submits = mon.real_fences = mon.transfers = 0;
    return mon_power_on(true);
}

static inline int teardown(void **state)
{
    virgl_renderer_reset();
    for (int i = 0; i < 30000 && workers(NULL); i++)
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

static inline void wait_fence(uint32_t ctx, uint64_t id)
{
    assert_int_equal(mon_submit(ctx, VGR_SUBMIT_WAIT, 0, 0), 0);
    assert_int_equal(virgl_renderer_context_create_fence(ctx, 0, VGR_BRIDGE_RING_WAIT, id), 0);
}

/* Holds a fence, after whatever wake-up the start has left is used up. */
static inline void hold_fence(uint32_t ctx, uint64_t id)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
