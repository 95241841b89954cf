/* SPDX-License-Identifier: MIT */
#include "device/context.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/line.h"
#include "common/log.h"
#include "device/control.h"

/* ---- The control page, in guest memory. It is the first page of the arena. ---- */

struct page {
    const struct vgr_guestmem *mem;
    uint64_t gpa;
};

static int page_read(void *opaque, size_t offset, void *buf, size_t len)
{
    const struct page *p = opaque;

    return vgr_guestmem_read(p->mem, p->gpa + offset, buf, len);
}

static int page_write(void *opaque, size_t offset, const void *buf, size_t len)
{
    const struct page *p = opaque;

    return vgr_guestmem_write(p->mem, p->gpa + offset, buf, len);
}

static bool has_control_page(const struct vgr_resource *res)
{
    return res->pages.n && res->pages.runs[0].gpa % VGR_CONTROL_SIZE == 0 &&
           res->pages.runs[0].len >= VGR_CONTROL_SIZE;
}

static void tell_page(struct vgr_gpu *gpu, uint64_t gpa, enum vgr_error error, const char *text)
{
    struct page page = {gpu->mem, gpa};
    struct vgr_control_io io = {page_read, page_write, &page};

    vgr_control_fail(&io, error, text);
}

static void tell(struct vgr_gpu *gpu, const struct vgr_resource *res, enum vgr_error error,
                 const char *text)
{
    if (has_control_page(res))
        tell_page(gpu, res->pages.runs[0].gpa, error, text);
}

/* From here on until forget_page(), a successor tells the guest that we died. */
static void note_page(struct vgr_context *c, const struct vgr_resource *res)
{
    struct vgr_gpu_record *record = c->gpu->record;

    for (unsigned i = 0; record && i < VGR_GPU_MAX_CONTEXTS && !c->noted; i++) {
        if (!record->pages[i])
            c->noted = &record->pages[i];
    }
    if (c->noted)
        __atomic_store_n(c->noted, res->pages.runs[0].gpa + 1, __ATOMIC_RELEASE);
}

/* Before the guest gets its pages back. */
static void forget_page(struct vgr_context *c)
{
    if (c->noted)
        __atomic_store_n(c->noted, 0, __ATOMIC_RELEASE);
    c->noted = NULL;
}

unsigned vgr_context_adopt(struct vgr_gpu *gpu, const char *why)
{
    unsigned n = 0;

    for (unsigned i = 0; gpu->record && i < VGR_GPU_MAX_CONTEXTS; i++) {
        if (!gpu->record->pages[i])
            continue;
        tell_page(gpu, gpu->record->pages[i] - 1, VGR_ERROR_WORKER_DIED, why);
        gpu->record->pages[i] = 0;
        n++;
    }
    return n;
}

/* ---- Life ---- */

struct vgr_context *vgr_context_new(struct vgr_gpu *gpu)
{
    struct vgr_context *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->gpu = gpu;
    c->line.fd = c->line_fd = -1;
    return c;
}

static void close_line(struct vgr_context *c)
{
    vgr_loop_del(c->gpu->loop, &c->line);
    if (c->line_fd >= 0)
        close(c->line_fd);
    c->line_fd = -1;
}

static void complete_fence(struct vgr_context *c)
{
    vgr_gpu_release(c->gpu, &c->fence);
}

static void context_free(struct vgr_context *c)
{
    close_line(c);
    forget_page(c);
    if (c->arena)
        c->arena->user = NULL;
    free(c);
}

void vgr_context_destroy(struct vgr_context *c)
{
    const uint64_t *front = c->worker.front;

    complete_fence(c);
    forget_page(c);
    if (c->opened) {
        vgr_log_often(&c->gpu->pool->log, VGR_LOG_INFO, "context %u closed", c->worker.number);
        vgr_debug("context %u: %llu submits, %llu doorbells, %llu waits (%llu held, %llu timed "
                  "out), %llu wake-ups",
                  c->worker.number, (unsigned long long)c->n_submits,
                  (unsigned long long)front[VGR_FRONT_DOORBELLS],
                  (unsigned long long)front[VGR_FENCES], (unsigned long long)front[VGR_FENCES_HELD],
                  (unsigned long long)front[VGR_FENCES_EXPIRED],
                  (unsigned long long)front[VGR_FRONT_WAKEUPS]);
    }
    if (!vgr_worker_alive(&c->worker)) {
        context_free(c);
        return;
    }
    c->destroyed = true;
    c->gpu->n_dying++;
    vgr_worker_kill(&c->worker);
}

static void worker_exited(struct vgr_worker *w, const char *reason)
{
    struct vgr_context *c = vgr_container_of(w, struct vgr_context, worker);
    struct vgr_gpu *gpu = c->gpu;
    struct vgr_resource *res = c->arena;
    char text[128];

    close_line(c);
    c->arena = NULL;
    if (res && w->over_limit[0]) {
        tell(gpu, res, VGR_ERROR_LIMIT, w->over_limit);
    } else if (res && !w->killed) {
        snprintf(text, sizeof(text), "the host's worker process %s", reason);
        tell(gpu, res, VGR_ERROR_WORKER_DIED, text);
    }
    complete_fence(c);
    forget_page(c);
    if (res)
        vgr_resource_unused(gpu, res);
    vgr_vq_notify(gpu->vq);
    if (!c->destroyed)
        return;
    context_free(c);
    vgr_gpu_one_gone(gpu);
}

void vgr_context_fail(struct vgr_context *c, enum vgr_error error, const char *text)
{
    vgr_worker_kill(&c->worker); /* first: it must not write its own reason at the same time */
    if (c->arena)
        tell(c->gpu, c->arena, error, text);
    complete_fence(c);
}

static void tell_over_limit(struct vgr_worker *w)
{
    struct vgr_context *c = vgr_container_of(w, struct vgr_context, worker);

    vgr_context_fail(c, VGR_ERROR_LIMIT, w->over_limit);
    vgr_vq_notify(c->gpu->vq);
}

/* ---- Waking each other ---- */

static void worker_wakes(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_context *c = vgr_container_of(watch, struct vgr_context, line);
    int got;

    if (c->worker.killed) {
        vgr_loop_del(c->gpu->loop, watch);
        return;
    }
    vgr_cost_begin(&c->cost);
    got = vgr_line_take(watch->fd);
    vgr_loop_charge(c->gpu->loop, VGR_WORK_CALLS, 1);
    vgr_worker_cost(&c->worker, vgr_cost_end(&c->cost));
    if (got < 0)
        vgr_loop_del(c->gpu->loop, watch); /* the worker will not wake anybody any more */
    if (got <= 0)
        return;
    c->worker.front[VGR_FRONT_WAKEUPS]++;
    if (!c->fence.used) {
        c->woken = true;
        return;
    }
    complete_fence(c);
    vgr_vq_notify(c->gpu->vq);
}

/* The worker may sleep, and the guest would wait for it. */
static void doorbell_lost(struct vgr_context *c, int err)
{
    char text[128];

    snprintf(text, sizeof(text), "the host cannot wake the worker: %s", strerror(-err));
    vgr_log_often(&c->gpu->log, VGR_LOG_ERROR, "guest context %u: %s", c->node.id, text);
    vgr_context_fail(c, VGR_ERROR_INTERNAL, text);
}

void vgr_context_doorbell(struct vgr_context *c)
{
    int err;

    c->worker.front[VGR_FRONT_DOORBELLS]++;
    vgr_loop_charge(c->gpu->loop, VGR_WORK_CALLS, 1);
    if (c->line_fd < 0 || c->worker.killed)
        return;
    vgr_cost_begin(&c->cost);
    err = vgr_line_ring(c->line_fd);
    vgr_worker_cost(&c->worker, vgr_cost_end(&c->cost));
    if (err && !c->worker.killed)
        doorbell_lost(c, err);
}

struct vgr_held *vgr_context_wait(struct vgr_context *c)
{
    c->worker.front[VGR_FENCES]++;
    complete_fence(c);
    if (!vgr_worker_alive(&c->worker) || (c->worker.killed && !c->worker.tell_at))
        return NULL;
    if (c->woken) {
        c->woken = false;
        return NULL;
    }
    c->worker.front[VGR_FENCES_HELD]++;
    c->fence_until = vgr_now_ms() + VGR_GPU_HOLD_MS;
    vgr_gpu_arm_timer(c->gpu, VGR_GPU_HOLD_MS);
    return &c->fence;
}

uint64_t vgr_context_expire(struct vgr_context *c, uint64_t now)
{
    if (!c->fence.used)
        return 0;
    if (c->fence_until > now)
        return c->fence_until;
    c->worker.front[VGR_FENCES_EXPIRED]++;
    complete_fence(c);
    return 0;
}

/* ---- Opening ---- */

static int start_worker(struct vgr_context *c, struct vgr_worker_job *job)
{
    int err = vgr_line_make(&c->line_fd, &job->line);

    if (err)
        return err;
    err = vgr_loop_add(c->gpu->loop, &c->line, c->line_fd, EPOLLIN, worker_wakes);
    if (!err)
        err = vgr_worker_start(c->gpu->pool, &c->worker, job, worker_exited);
    close(job->line);
    if (err) {
        close_line(c);
        return err;
    }
    c->worker.attached = VGR_ATTACHED_VM;
    c->worker.tell = tell_over_limit;
    return 0;
}

static int refuse(struct vgr_context *c, struct vgr_resource *res, enum vgr_error error,
                  const char *text)
{
    vgr_log_often(&c->gpu->log, VGR_LOG_WARN, "guest context %u: %s", c->node.id, text);
    c->gpu->pool->refused++;
    tell(c->gpu, res, error, text);
    return 0;
}

int vgr_context_open(struct vgr_context *c, struct vgr_resource *res, uint64_t size)
{
    const struct vgr_capset *cap = &c->gpu->capset;
    struct vgr_worker_job job = {0};
    char text[160];
    int err;

    if (c->opened || res->user || !has_control_page(res))
        return -EINVAL;
    if (size < cap->arena_min || size > cap->arena_max || size % VGR_CONTROL_SIZE) {
        snprintf(text, sizeof(text),
                 "an arena of %llu bytes: the host takes %llu to %llu, multiples of 4096",
                 (unsigned long long)size, (unsigned long long)cap->arena_min,
                 (unsigned long long)cap->arena_max);
        return refuse(c, res, VGR_ERROR_ARENA, text);
    }

    err = vgr_pages_to_arena(&res->pages, c->gpu->mem, size, c->gpu->pool->max_runs, &job.arena);
    if (err) {
        snprintf(text, sizeof(text), "the arena's memory: %s",
                 err == -E2BIG    ? "too fragmented in the guest, take a smaller arena"
                 : err == -EFAULT ? "not in the guest's memory"
                 : err == -EINVAL ? "smaller than the arena, or not made of pages"
                                  : strerror(-err));
        return refuse(c, res, VGR_ERROR_ARENA, text);
    }
    note_page(c, res);
    err = start_worker(c, &job);
    free((void *)job.arena.runs);
    if (err)
        forget_page(c);
    if (err == -EUSERS) {
        snprintf(text, sizeof(text), "the host's limit of %u contexts is reached",
                 c->gpu->pool->limit);
        return refuse(c, res, VGR_ERROR_LIMIT, text);
    }
    if (err) {
        snprintf(text, sizeof(text), "the host cannot start a worker: %s", strerror(-err));
        return refuse(c, res, VGR_ERROR_INTERNAL, text);
    }
    c->opened = true;
    c->arena = res;
    res->user = c;
    vgr_log_often(&c->gpu->pool->log, VGR_LOG_INFO,
                  "context %u opened by guest context %u, arena %llu MiB", c->worker.number,
                  c->node.id, (unsigned long long)(size >> 20));
    return 0;
}
