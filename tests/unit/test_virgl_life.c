/* SPDX-License-Identifier: MIT
 *
 * The bridge when things end: contexts, workers, the broker, the machine; and when they do not.
 */
#include "virgl_rig.h"

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "holdings.h"
#include "virgl/link.h"

/* Descriptors of this monitor: for six contexts, which the queue of a stopped broker has room for. */
#define FILES 96

/* After pages were taken away, at `start`: their worker is gone, unless patience was over first. */
static void no_worker_since(double start)
{
    double taken = now_ms() - start;

    assert_true(!workers(NULL) || taken >= VGR_BRIDGE_PATIENCE_MS);
    UNTIL_TRUE(!workers(NULL));
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

/* It may come before the bridge's thread has seen the context. */
static void an_early_doorbell_is_heard(void **state)
{
    for (uint32_t ctx = 1; ctx <= 3; ctx++) {
        assert_int_equal(mon_claimed(ctx), 0);
        assert_int_equal(mon_resource(ctx, ctx, (ctx - 1) * ARENA, ARENA), 0);
        control_at(ctx)->hello.features = FAKE_FAIL; /* what the worker does when it hears one */
        assert_int_equal(mon_submit(ctx, VGR_SUBMIT_OPEN, ctx, ARENA), 0);
        assert_int_equal(mon_submit(ctx, VGR_SUBMIT_DOORBELL, 0, 0), 0);
        UNTIL_TRUE(__atomic_load_n(&control_at(ctx)->state, __ATOMIC_ACQUIRE) == VGR_STATE_FAILED);
        assert_string_equal(control_at(ctx)->error_text, "said the worker");
        virgl_renderer_context_destroy(ctx);
    }
}

/* A worker in its guest's hands jams the line: the monitor's thread goes on. */
static void a_jammed_line_does_not_stop_the_monitor(void **state)
{
    struct vgr_control *ctl = open_pages(1);

    ctl->hello.features = FAKE_JAM;
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(__atomic_load_n(&ctl->done, __ATOMIC_SEQ_CST) == 2);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    virgl_renderer_context_destroy(1);
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

/* Has the broker shown a worker to the bridge? */
static bool has_pidfd(void)
{
    char link[64], name[64] = "";
    bool found = false;

    for (int fd = 3; fd < FILES && !found; fd++) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        found = readlink(link, name, sizeof(name) - 1) > 0 && strstr(name, "pidfd");
    }
    return found;
}

/* A broker that dies takes its workers with it, but its connections end before they do. */
static void a_worker_outlives_its_broker(void **state)
{
    struct iovec *iov;
    pid_t worker;
    int n;

    open_pages(1);
    assert_int_equal(workers(&worker), 1);
    UNTIL_TRUE(has_pidfd());
    assert_int_equal(ptrace(PTRACE_SEIZE, worker, NULL, PTRACE_O_TRACEEXIT),
                     0); /* it stays there */
    end_broker();
    UNTIL_TRUE(control_at(1)->state == VGR_STATE_FAILED);
    usleep(50000);
    assert_false(mon_done(1001));
    assert_true(vgr_links_have_ram());
    virgl_renderer_context_destroy(1);
    usleep(50000);
    assert_false(mon_done(1001));
    assert_int_equal(ptrace(PTRACE_DETACH, worker, NULL, NULL), 0);
    virgl_renderer_resource_detach_iov(1, &iov, &n);
    UNTIL_TRUE(mon_done(1001));
    assert_false(vgr_links_have_ram());
    start_broker();
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

/* It does nothing more when this returns. */
static void stop_broker(void)
{
    siginfo_t si;

    assert_int_equal(kill(broker, SIGSTOP), 0);
    assert_int_equal(waitid(P_PID, (id_t)broker, &si, WSTOPPED), 0);
    assert_int_equal(si.si_code, CLD_STOPPED);
}

/* Who waits for a stopped broker waits for ever; who does not may still be slow on a busy machine. */
#define NOT_FOR_EVER_MS 20000

/* A broker that does not answer, as one in a debugger. */
static void monitor_does_not_wait_for_the_broker(void **state)
{
    double start, slowest = 0, taken;

    stop_broker();
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
    assert_true(slowest < NOT_FOR_EVER_MS);
    start = now_ms();
    virgl_renderer_resource_unref(1); /* a guest that does not keep its pages */
    assert_true(now_ms() - start < NOT_FOR_EVER_MS);
    kill(broker, SIGCONT);
    for (uint32_t ctx = 1; ctx < 6; ctx++)
        UNTIL_TRUE(mon_done(1000 + ctx));
    printf("slowest: %.2f ms\n", slowest);
}

/* A guest cannot take all of the monitor's descriptors: neither by blobs nor by arenas. The broker is
 * stopped meanwhile, since it has a limit of its own. */
static void descriptors_are_left_to_the_monitor(void **state)
{
    const uint32_t limit = vgr_links_limit(), first = 1000;
    const unsigned before = count_fds();
    int fd;

    assert_int_equal(limit, FILES / 16);
    stop_broker();
    for (uint32_t i = 0; i < limit; i++) {
        assert_int_equal(mon_claimed(i + 1), 0);
        assert_int_equal(mon_blob(first + i, i + 1, ARENA), 0);
    }
    assert_int_equal(mon_blob(first + limit, 1, ARENA), -ENOMEM);
    virgl_renderer_resource_unref(first);
    assert_int_equal(mon_blob(first, 1, ARENA), 0);

    for (uint32_t i = 0; i < limit; i++) {
        virgl_renderer_ctx_attach_resource((int)i + 1, (int)(first + i));
        assert_int_equal(mon_submit(i + 1, VGR_SUBMIT_OPEN, first + i, ARENA), 0);
    }
    assert_int_equal(mon_claimed(limit + 1), 0);
    assert_int_equal(mon_resource(limit + 1, limit + 1, limit * ARENA, ARENA), 0);
    assert_int_equal(mon_submit(limit + 1, VGR_SUBMIT_OPEN, limit + 1, ARENA), EINVAL);
    assert_int_equal(control_at(limit + 1)->state, VGR_STATE_FAILED);
    assert_int_equal(control_at(limit + 1)->error, VGR_ERROR_LIMIT);
    assert_non_null(strstr(control_at(limit + 1)->error_text, "the monitor's limit of"));

    fd = memfd_create("another", MFD_CLOEXEC);
    assert_true(fd >= 0 && fd < FILES / 2);
    close(fd);
    virgl_renderer_reset();
    kill(broker, SIGCONT);
    UNTIL_TRUE(!vgr_links_full() && count_fds() <= before && !workers(NULL));
    assert_int_equal(mon_power_on(true), 0);
    memset(mon.ram, 0, MON_RAM);
    open_pages(1);
}

static void nothing_is_left(void **state)
{
    unsigned fds[2];
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
        fds[round] = count_fds();
    }
    assert_int_equal(fds[0], fds[1]);
    assert_int_equal(cycles, 20);
}

/* The library measures its monitor when it is loaded. */
static void begin_with_few_descriptors(char **argv)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur == FILES)
        return;
    files.rlim_cur = FILES;
    if (!setrlimit(RLIMIT_NOFILE, &files))
        execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(context_number_is_reused_at_once),
        TEST(pages_are_free_when_they_are_taken),
        TEST(an_early_doorbell_is_heard),
        TEST(a_jammed_line_does_not_stop_the_monitor),
        TEST(dead_worker_is_told),
        TEST(broker_may_come_back),
        TEST(a_worker_outlives_its_broker),
        TEST(reset_drops_all),
        TEST(monitor_does_not_wait_for_the_broker),
        TEST(descriptors_are_left_to_the_monitor),
        TEST(nothing_is_left),
    };

    begin_with_few_descriptors(argv);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
