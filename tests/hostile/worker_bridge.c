/* SPDX-License-Identifier: MIT
 *
 * worker_bridge.c - a monitor with the real bridge in it, which takes its workers from a real vgr-device
 * --broker. virglrenderer is unit/fake_monitor.h's. The monitor has one lock for all of its calls; a call that
 * does not come back in time is the very thing that must not be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hostile/worker_fronts.h"
#include "unit/fake_monitor.h"

static uint64_t last_fence = 5000, life[FRONT_SLOTS];

/* A call of the monitor's thread, in a thread of its own so that we can tell how long it takes. */
struct call {
    void (*run)(struct guest *g, const size_t *halves);
    struct guest *guest;
    const size_t *halves;
    bool well, done;
};
static _Thread_local bool well;

static void *run(void *arg)
{
    struct call *c = arg;

    well = true;
    c->run(c->guest, c->halves);
    c->well = well;
    __atomic_store_n(&c->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static bool monitor_calls(void (*what)(struct guest *g, const size_t *halves), struct guest *g,
                          const size_t *halves)
{
    struct call *c = calloc(1, sizeof(*c));
    struct front *f = g->front;
    struct timespec end;
    pthread_t thread;
    bool ok = false;

    *c = (struct call){.run = what, .guest = g, .halves = halves};
    pthread_mutex_lock(&f->lock);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += FRONT_PATIENCE_MS / 1000;
    if (!f->lost && !pthread_create(&thread, NULL, run, c)) {
        if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &end))
            f->lost = true; /* the thread stays, and with it what it was given */
        else
            ok = c->well;
    }
    pthread_mutex_unlock(&f->lock);
    if (!f->lost)
        free(c);
    return ok;
}

/* ---- What the monitor's thread does ---- */

static void power_on(struct guest *g, const size_t *halves)
{
    uint32_t ver, size;

    setenv("VGR_BROKER", g->front->path, 1);
    setenv("VGR_VIRGL_LOG", "warn", 1);
    virgl_renderer_get_cap_set(1, &ver, &size);
    well = size > MON_CAPSET && !mon_power_on(true);
}

static void open_context(struct guest *g, const size_t *halves)
{
    uint32_t id = g->slot + 1;
    struct iovec *iov = mon.pages[id];
    struct vgr_virgl_create_args args = {.handle = id, .width = ATTACK_ARENA};
    unsigned submits = mon.submits;

    for (int i = 0; i < 2; i++)
        iov[i] = (struct iovec){g->front->ram + halves[i], ATTACK_ARENA / 2};
    /* A claim that virglrenderer sees is none: its guest finds the fences of that context done. */
    well = !mon_claimed(id) && mon.submits == submits &&
           !virgl_renderer_resource_create(&args, NULL, 0) &&
           !virgl_renderer_resource_attach_iov((int)id, iov, 2);
    virgl_renderer_ctx_attach_resource((int)id, (int)id);
    life[g->slot] = 0;
    well = well && !mon_submit(id, VGR_SUBMIT_OPEN, id, ATTACK_ARENA) &&
           !virgl_renderer_context_create_fence(id, 0, VGR_BRIDGE_RING_LIFE, ++last_fence);
    if (well)
        life[g->slot] = last_fence;
}

static void ring(struct guest *g, const size_t *halves)
{
    well = !mon_submit(g->slot + 1, VGR_SUBMIT_DOORBELL, 0, 0);
    virgl_renderer_poll();
}

static void wait_for_wakeup(struct guest *g, const size_t *halves)
{
    well = !mon_submit(g->slot + 1, VGR_SUBMIT_WAIT, 0, 0) &&
           !virgl_renderer_context_create_fence(g->slot + 1, 0, VGR_BRIDGE_RING_WAIT, ++last_fence);
}

static void close_context(struct guest *g, const size_t *halves)
{
    struct iovec *iov;
    int n;

    virgl_renderer_context_destroy(g->slot + 1);
    virgl_renderer_resource_detach_iov((int)g->slot + 1, &iov, &n);
    virgl_renderer_resource_unref(g->slot + 1);
}

/* ---- For worker_fronts.c ---- */

bool bridge_start(struct front *f)
{
    struct guest nobody = {.front = f};

    return monitor_calls(power_on, &nobody, NULL);
}

/* The table of fences that are done is small. Nobody waits for one while this is called, but for those of the
 * life of a worker, which may end at any time. */
static void forget_fences(void)
{
    unsigned kept = 0;

    pthread_mutex_lock(&mon.lock);
    for (unsigned i = 0; mon.n_fences > MON_FENCES / 2 && i < mon.n_fences; i++) {
        if (mon.fences[i].ring == VGR_BRIDGE_RING_LIFE)
            mon.fences[kept++] = mon.fences[i];
    }
    if (mon.n_fences > MON_FENCES / 2)
        mon.n_fences = kept;
    pthread_mutex_unlock(&mon.lock);
}

bool bridge_open(struct guest *g, const size_t *halves)
{
    forget_fences();
    return monitor_calls(open_context, g, halves);
}

bool bridge_bell(struct guest *g)
{
    if (!g->slot)
        forget_fences();
    return monitor_calls(ring, g, NULL) && (g->slot || monitor_calls(wait_for_wakeup, g, NULL));
}

bool bridge_close(struct guest *g)
{
    uint64_t end = front_now_ms() + FRONT_PATIENCE_MS;
    bool ok = monitor_calls(close_context, g, NULL);

    /* Before, the arena's pages are not the guest's again. Without a fence, nobody has them. */
    while (ok && life[g->slot] && !mon_done(life[g->slot]) && front_now_ms() < end)
        front_nap();
    return ok && (!life[g->slot] || mon_done(life[g->slot]));
}
