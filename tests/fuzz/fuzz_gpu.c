/* SPDX-License-Identifier: MIT
 *
 * fuzz_gpu.c - the front's virtqueue and virtio-gpu commands, from the guest's kernel.
 *
 * Theory of operation
 * -------------------
 *
 * A virtual GPU and its control queue, in this process, on guest memory made of a memfd. The input
 * becomes actions of the guest (gpu_guest.h), kicks, and what else may happen in between: the device
 * is reset, memory is unplugged, the event loop learns of a worker's end.
 *
 * The first byte of an input says if workers may be started at all. Those that are, are processes, as
 * in production, but of a program that does nothing (tests/unit/fake_worker.c); since they take most
 * of the time, few inputs have them. The others see the limit of contexts reached.
 *
 * No turn of the loop may have more work than VGR_LOOP_MOST_UNITS. At the end everything must be gone:
 * contexts, resources, page lists, processes.
 */
#include "fuzz.h"

#include <signal.h>

#include "common/log.h"
#include "device/context.h"
#include "device/gpu.h"
#include "device/vhost_queue.h"
#include "gpu_guest.h"
#include "test_loop.h"

#define ACTIONS 64

struct rig {
    struct fuzz_in in;
    struct fake_guest g;
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_vhost_queue q;
    struct vgr_gpu gpu;
    bool had_list;
};

static void serve_chain(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    vgr_gpu_command(&vgr_container_of(q, struct rig, q)->gpu, c);
}

static void workers_gone(struct vgr_gpu *gpu)
{
    FUZZ_CHECK(!gpu->n_dying);
}

static void start_queue(struct rig *r)
{
    r->q.size = FUZZ_RING;
    r->q.addr = (struct vgr_vhost_vring_addr){
        .desc = UADDR + DESC_GPA, .avail = UADDR + AVAIL_GPA, .used = UADDR + USED_GPA};
    r->q.has_addr = r->q.enabled = true;
    r->q.broken = false;
    r->q.event_idx = fuzz_below(&r->in, 2);
    vgr_vhost_queue_set_kick(&r->q, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void kick(struct rig *r)
{
    if (r->q.kick_fd >= 0)
        vgr_event_signal(r->q.kick_fd);
    vgr_loop_turn(&r->loop, 0);
}

static void setup(struct rig *r)
{
    bool workers = fuzz_u8(&r->in) < 0x10;

    guest_init(&r->g, FUZZ_RING, 0, false);
    vgr_vq_stop(&r->g.vq); /* the one in r->q is used */
    FUZZ_CHECK(!vgr_loop_init(&r->loop));
    r->pool = (struct vgr_worker_pool){
        .loop = &r->loop, .path = VGR_FAKE_WORKER, .limit = workers ? 2 : 0, .max_runs = 64};
    vgr_vhost_queue_init(&r->q, &r->loop, &r->g.mem, 0);
    r->q.serve = serve_chain;
    vgr_gpu_init(&r->gpu, &r->loop, &r->pool, &fuzz_capset, &r->g.mem, &r->q.vq, workers_gone);
    vgr_vhost_queue_set_call(&r->q, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    start_queue(r);
    if (workers) {
        program_starts(&r->g);
        kick(r);
        FUZZ_CHECK(r->pool.alive == 1);
    }
}

static void teardown(struct rig *r)
{
    vgr_worker_pool_finish(&r->pool, 5000);
    vgr_gpu_finish(&r->gpu);
    FUZZ_CHECK(!r->pool.alive && !r->gpu.n_dying);
    FUZZ_CHECK(!r->gpu.contexts.n && !r->gpu.resources.n && !r->gpu.n_page_runs);
    vgr_vhost_queue_finish(&r->q);
    vgr_loop_finish(&r->loop);
    guest_finish(&r->g);
}

static void unplug(struct rig *r)
{
    int region = (int)fuzz_below(&r->in, 2) + 1; /* B or C: the rings are in A */

    if (vgr_guestmem_remove(&r->g.mem, &fake_ranges[region]))
        FUZZ_CHECK(!vgr_guestmem_add(&r->g.mem, &fake_ranges[region], dup(r->g.fd)));
    else
        vgr_gpu_memory_removed(&r->gpu);
}

static void act(struct rig *r)
{
    uint8_t what = fuzz_u8(&r->in);

    if (what < 0xc0) {
        guest_command(&r->in, &r->g);
        kick(r);
    } else if (what < 0xd0) {
        guest_command(&r->in, &r->g); /* to be served together with the next */
    } else if (what < 0xf0) {
        guest_scribbles(&r->in, &r->g);
    } else if (what < 0xf1 && !r->had_list) {
        r->had_list = true; /* they take long */
        guest_long_list(&r->in, &r->g);
        kick(r);
    } else if (what < 0xf6) {
        vgr_loop_turn(&r->loop, r->pool.alive ? 20 : 0);
    } else if (what < 0xf8) {
        unplug(r);
    } else if (what < 0xfc) {
        vgr_gpu_reset(&r->gpu, "fuzzed");
    } else {
        vgr_vhost_queue_reset(&r->q);
        start_queue(r);
    }
    FUZZ_CHECK(r->gpu.contexts.n <= VGR_GPU_MAX_CONTEXTS);
    FUZZ_CHECK(r->gpu.n_page_runs <= VGR_GPU_MAX_PAGE_RUNS);
    FUZZ_CHECK(r->loop.record.most_units <= VGR_LOOP_MOST_UNITS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    signal(SIGPIPE, SIG_IGN);
    vgr_log_init("fuzz", VGR_LOG_ERROR);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;

    memset(&r, 0, sizeof(r));
    r.in = (struct fuzz_in){data, size};
    setup(&r);
    for (int i = 0; i < ACTIONS && r.in.left; i++)
        act(&r);
    teardown(&r);
    return 0;
}
