/* SPDX-License-Identifier: MIT */
#include "device/gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "device/attach.h"
#include "device/context.h"
#include "device/gpu_cmd.h"
#include "device/gpu_info.h"

/* System calls of an OPEN but for the start of the process, and of the end of a context with a worker: events,
 * their watches, files, memory, lines of the log. */
#define OPEN_CALLS 16u
#define END_CALLS  8u

/* One command being served. A handler returns the type of the response, may set a payload for it,
 * and a place to hold the chain in. */
struct request {
    struct vgr_gpu *gpu;
    struct vgr_chain *chain;
    struct vgr_gpu_hdr hdr;
    const void *payload;
    size_t payload_len;
    struct vgr_held *hold;
};

/* ---- Tables ---- */

static struct vgr_context *find_context(const struct vgr_gpu *gpu, uint32_t id)
{
    struct vgr_table_node *n = vgr_table_find(&gpu->contexts, id);

    return n ? vgr_container_of(n, struct vgr_context, node) : NULL;
}

static struct vgr_resource *find_resource(const struct vgr_gpu *gpu, uint32_t id)
{
    struct vgr_table_node *n = vgr_table_find(&gpu->resources, id);
    struct vgr_resource *res = n ? vgr_container_of(n, struct vgr_resource, node) : NULL;

    return res && !res->unref.used ? res : NULL;
}

/* The answer to a command that ends or rings what we do not know. */
static uint32_t unknown(const struct request *r, uint32_t error)
{
    return r->gpu->adopted ? VGR_GPU_OK : error;
}

/* The same, where the guest takes the answer to mean that the pages are its own again. A reset has forgotten the
 * resource, and the workers that it killed may not be gone. */
static uint32_t forgotten(struct request *r)
{
    bool waits = r->gpu->n_dying && r->gpu->n_late < VGR_GPU_MAX_LATE;
    struct vgr_late *late = waits ? calloc(1, sizeof(*late)) : NULL;

    if (late) {
        r->gpu->n_late++;
        late->next = r->gpu->late;
        r->gpu->late = late;
        r->hold = &late->held;
    }
    return unknown(r, VGR_GPU_ERR_RESOURCE_ID);
}

static void charge(struct vgr_gpu *gpu, enum vgr_work kind, uint64_t n)
{
    vgr_loop_charge(gpu->loop, kind, n);
}

static void drop_pages(struct vgr_gpu *gpu, struct vgr_resource *res)
{
    charge(gpu, VGR_WORK_ENTRIES, res->pages.n / 16); /* its memory may go back to the system */
    gpu->n_page_runs -= res->pages.n;
    vgr_pages_free(&res->pages);
}

static void resource_free(struct vgr_gpu *gpu, struct vgr_resource *res)
{
    vgr_table_remove(&gpu->resources, &res->node);
    drop_pages(gpu, res);
    free(res);
}

void vgr_gpu_release(struct vgr_gpu *gpu, struct vgr_held *held)
{
    if (!held->used)
        return;
    held->used = false;
    vgr_vq_push(gpu->vq, held->head, held->len);
}

static void release_late(struct vgr_gpu *gpu)
{
    struct vgr_late *late;

    while ((late = gpu->late)) {
        charge(gpu, VGR_WORK_ENTRIES, 4);
        gpu->late = late->next;
        gpu->n_late--;
        vgr_gpu_release(gpu, &late->held);
        free(late);
    }
}

void vgr_gpu_one_gone(struct vgr_gpu *gpu)
{
    if (--gpu->n_dying)
        return;
    release_late(gpu);
    vgr_vq_notify(gpu->vq);
    gpu->idle(gpu);
}

void vgr_resource_unused(struct vgr_gpu *gpu, struct vgr_resource *res)
{
    res->user = NULL;
    if (res->detach.used) {
        drop_pages(gpu, res);
        vgr_gpu_release(gpu, &res->detach);
    }
    if (res->unref.used) {
        vgr_gpu_release(gpu, &res->unref);
        resource_free(gpu, res);
    }
}

/* ---- Resources ---- */

static uint32_t create_resource(struct request *r)
{
    struct vgr_gpu_resource_id cmd;
    struct vgr_resource *res;
    int err;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd))
        return VGR_GPU_ERR_PARAMETER;
    res = calloc(1, sizeof(*res));
    if (!res)
        return VGR_GPU_ERR_OUT_OF_MEMORY;
    err = vgr_table_insert(&r->gpu->resources, &res->node, cmd.resource_id);
    if (err) {
        free(res);
        return err == -ENOSPC ? VGR_GPU_ERR_OUT_OF_MEMORY : VGR_GPU_ERR_RESOURCE_ID;
    }
    /* cppcheck-suppress memleak; the table holds it */
    return VGR_GPU_OK;
}

static uint32_t unref_resource(struct request *r)
{
    struct vgr_gpu_resource_id cmd;
    struct vgr_resource *res;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd))
        return VGR_GPU_ERR_PARAMETER;
    res = find_resource(r->gpu, cmd.resource_id);
    if (!res)
        return forgotten(r);
    vgr_detach_all(r->gpu, res);
    if (res->user) {
        charge(r->gpu, VGR_WORK_CALLS, 1);
        vgr_worker_kill(&res->user->worker);
        r->hold = &res->unref;
    } else {
        resource_free(r->gpu, res);
    }
    return VGR_GPU_OK;
}

static uint32_t read_entries(struct request *r, struct vgr_resource *res, uint32_t n)
{
    struct vgr_gpu_mem_entry entries[64];

    if (n > VGR_GPU_MAX_ENTRIES)
        return VGR_GPU_ERR_OUT_OF_MEMORY;
    while (n) {
        uint32_t k = n < 64 ? n : 64;

        charge(r->gpu, VGR_WORK_ENTRIES, k);
        charge(r->gpu, VGR_WORK_BYTES, k * sizeof(entries[0]));
        if (vgr_chain_read(r->chain, entries, k * sizeof(entries[0])) != k * sizeof(entries[0]))
            return VGR_GPU_ERR_PARAMETER;
        for (uint32_t i = 0; i < k; i++) {
            int err = vgr_pages_add(&res->pages, entries[i].addr, entries[i].length);

            if (err)
                return err == -ENOMEM ? VGR_GPU_ERR_OUT_OF_MEMORY : VGR_GPU_ERR_PARAMETER;
            if (res->pages.n > VGR_GPU_MAX_PAGE_RUNS - r->gpu->n_page_runs)
                return VGR_GPU_ERR_OUT_OF_MEMORY;
        }
        n -= k;
    }
    return VGR_GPU_OK;
}

static uint32_t attach_backing(struct request *r)
{
    struct vgr_gpu_attach_backing cmd;
    struct vgr_resource *res;
    uint32_t type;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd) ||
        cmd.n_entries > r->chain->in_left / sizeof(struct vgr_gpu_mem_entry))
        return VGR_GPU_ERR_PARAMETER;
    res = find_resource(r->gpu, cmd.resource_id);
    if (!res)
        return VGR_GPU_ERR_RESOURCE_ID;
    if (res->pages.n)
        return VGR_GPU_ERR_UNSPEC;
    type = read_entries(r, res, cmd.n_entries);
    if (type != VGR_GPU_OK)
        vgr_pages_free(&res->pages);
    r->gpu->n_page_runs += res->pages.n;
    return type;
}

static uint32_t detach_backing(struct request *r)
{
    struct vgr_gpu_resource_id cmd;
    struct vgr_resource *res;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd))
        return VGR_GPU_ERR_PARAMETER;
    res = find_resource(r->gpu, cmd.resource_id);
    if (!res || res->detach.used)
        return forgotten(r);
    if (res->user) {
        charge(r->gpu, VGR_WORK_CALLS, 1);
        vgr_worker_kill(&res->user->worker);
        r->hold = &res->detach;
    } else {
        drop_pages(r->gpu, res);
    }
    return VGR_GPU_OK;
}

/* ---- Contexts ---- */

static uint32_t create_context(struct request *r)
{
    struct vgr_context *c = vgr_context_new(r->gpu);
    int err;

    if (!c)
        return VGR_GPU_ERR_OUT_OF_MEMORY;
    err = vgr_table_insert(&r->gpu->contexts, &c->node, r->hdr.ctx_id);
    if (err) {
        vgr_context_destroy(c);
        return err == -ENOSPC ? VGR_GPU_ERR_OUT_OF_MEMORY : VGR_GPU_ERR_CONTEXT_ID;
    }
    vgr_attach_begin(r->gpu, c);
    return VGR_GPU_OK;
}

static uint32_t destroy_context(struct request *r)
{
    struct vgr_context *c = find_context(r->gpu, r->hdr.ctx_id);

    if (!c)
        return unknown(r, VGR_GPU_ERR_CONTEXT_ID);
    vgr_attach_end(r->gpu, c);
    vgr_table_remove(&r->gpu->contexts, &c->node);
    charge(r->gpu, VGR_WORK_CALLS, c->opened ? END_CALLS : 0);
    vgr_context_destroy(c);
    return VGR_GPU_OK;
}

static uint32_t attach_resource(struct request *r)
{
    struct vgr_context *c = find_context(r->gpu, r->hdr.ctx_id);
    struct vgr_gpu_resource_id cmd;
    struct vgr_resource *res;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd))
        return VGR_GPU_ERR_PARAMETER;
    if (!c)
        return VGR_GPU_ERR_CONTEXT_ID;
    res = find_resource(r->gpu, cmd.resource_id);
    if (!res)
        return VGR_GPU_ERR_RESOURCE_ID;
    return vgr_attach(c, res) ? VGR_GPU_ERR_OUT_OF_MEMORY : VGR_GPU_OK;
}

static uint32_t detach_resource(struct request *r)
{
    struct vgr_context *c = find_context(r->gpu, r->hdr.ctx_id);
    struct vgr_gpu_resource_id cmd;
    struct vgr_resource *res;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd))
        return VGR_GPU_ERR_PARAMETER;
    if (!c)
        return unknown(r, VGR_GPU_ERR_CONTEXT_ID);
    res = find_resource(r->gpu, cmd.resource_id);
    if (!res || !vgr_attached(c, res))
        return unknown(r, VGR_GPU_ERR_RESOURCE_ID);
    vgr_detach(c, res);
    if (c->arena == res) {
        charge(r->gpu, VGR_WORK_CALLS, 1);
        vgr_worker_kill(&c->worker);
    }
    return VGR_GPU_OK;
}

static uint32_t open_context(struct request *r, struct vgr_context *c, const struct vgr_submit *s)
{
    struct vgr_resource *res = find_resource(r->gpu, s->resource);

    if (!res || !vgr_attached(c, res))
        return VGR_GPU_ERR_RESOURCE_ID;
    charge(r->gpu, VGR_WORK_ENTRIES, res->pages.n);
    charge(r->gpu, VGR_WORK_CALLS, OPEN_CALLS);
    return vgr_context_open(c, res, s->size) ? VGR_GPU_ERR_PARAMETER : VGR_GPU_OK;
}

static uint32_t submit(struct request *r)
{
    struct vgr_context *c = find_context(r->gpu, r->hdr.ctx_id);
    struct vgr_gpu_submit cmd;
    struct vgr_submit s;

    if (vgr_chain_read(r->chain, &cmd, sizeof(cmd)) != sizeof(cmd) || cmd.size != sizeof(s) ||
        vgr_chain_read(r->chain, &s, sizeof(s)) != sizeof(s) || s.magic != VGR_MAGIC)
        return VGR_GPU_ERR_PARAMETER;
    if (!c)
        return unknown(r, VGR_GPU_ERR_CONTEXT_ID);
    c->n_submits++;
    switch (s.op) {
    case VGR_SUBMIT_OPEN:
        return open_context(r, c, &s);
    case VGR_SUBMIT_DOORBELL:
        charge(r->gpu, VGR_WORK_CALLS, 1);
        vgr_context_doorbell(c);
        return VGR_GPU_OK;
    case VGR_SUBMIT_WAIT:
        if (r->hdr.flags & VGR_GPU_FLAG_FENCE)
            r->hold = vgr_context_wait(c);
        return VGR_GPU_OK;
    default:
        return VGR_GPU_ERR_PARAMETER;
    }
}

/* ---- Dispatch ---- */

static uint32_t serve(struct request *r)
{
    switch (r->hdr.type) {
    case VGR_GPU_GET_DISPLAY_INFO:
    case VGR_GPU_GET_CAPSET_INFO:
    case VGR_GPU_GET_CAPSET:
        return vgr_gpu_info(r->gpu, r->hdr.type, r->chain, &r->payload, &r->payload_len);
    case VGR_GPU_RESOURCE_CREATE_2D:
    case VGR_GPU_RESOURCE_CREATE_3D:
        return create_resource(r);
    case VGR_GPU_RESOURCE_UNREF:
        return unref_resource(r);
    case VGR_GPU_ATTACH_BACKING:
        return attach_backing(r);
    case VGR_GPU_DETACH_BACKING:
        return detach_backing(r);
    case VGR_GPU_CTX_CREATE:
        return create_context(r);
    case VGR_GPU_CTX_DESTROY:
        return destroy_context(r);
    case VGR_GPU_CTX_ATTACH_RESOURCE:
        return attach_resource(r);
    case VGR_GPU_CTX_DETACH_RESOURCE:
        return detach_resource(r);
    case VGR_GPU_SUBMIT_3D:
        return submit(r);
    case VGR_GPU_SET_SCANOUT:
    case VGR_GPU_RESOURCE_FLUSH:
    case VGR_GPU_TRANSFER_TO_HOST_2D:
    case VGR_GPU_TRANSFER_TO_HOST_3D:
    case VGR_GPU_TRANSFER_FROM_HOST_3D:
    case VGR_GPU_UPDATE_CURSOR:
    case VGR_GPU_MOVE_CURSOR:
        /* Nobody looks and nothing is copied: the pages are the resource. */
        return VGR_GPU_OK;
    default:
        return VGR_GPU_ERR_UNSPEC;
    }
}

void vgr_gpu_command(struct vgr_gpu *gpu, struct vgr_chain *c)
{
    struct request r = {.gpu = gpu, .chain = c};
    struct vgr_gpu_hdr resp = {0};

    if (vgr_chain_read(c, &r.hdr, sizeof(r.hdr)) == sizeof(r.hdr)) {
        resp.type = serve(&r);
        resp.ctx_id = r.hdr.ctx_id;
        if (r.hdr.flags & VGR_GPU_FLAG_FENCE) {
            resp.flags = VGR_GPU_FLAG_FENCE;
            resp.fence_id = r.hdr.fence_id;
            resp.ring_idx = r.hdr.ring_idx;
        }
    } else {
        resp.type = VGR_GPU_ERR_UNSPEC;
    }
    if (resp.type == VGR_GPU_ERR_OUT_OF_MEMORY)
        vgr_log_often(&gpu->log, VGR_LOG_WARN,
                      "guest command %#x refused: no memory, or too many contexts or resources",
                      r.hdr.type);
    else if (resp.type >= VGR_GPU_ERR_UNSPEC)
        vgr_debug("guest command %#x refused: %#x", r.hdr.type, resp.type);
    vgr_chain_write(c, &resp, sizeof(resp));
    if (r.payload_len)
        vgr_chain_write(c, r.payload, r.payload_len);
    if (r.hold)
        *r.hold = (struct vgr_held){true, c->head, c->written};
    else
        vgr_vq_push(gpu->vq, c->head, c->written);
}

/* ---- The whole ---- */

static void timer_ended(struct vgr_timer *t);

void vgr_gpu_arm_timer(struct vgr_gpu *gpu, uint32_t ms)
{
    /* One that runs ends no later than that, and then all fences are looked at. */
    if (!vgr_timer_runs(&gpu->timer))
        vgr_timer_set(gpu->loop, &gpu->timer, ms, timer_ended);
}

static void timer_ended(struct vgr_timer *t)
{
    struct vgr_gpu *gpu = vgr_container_of(t, struct vgr_gpu, timer);
    uint64_t now = vgr_now_ms(), next = 0;
    struct vgr_table_node *n = NULL;

    charge(gpu, VGR_WORK_ENTRIES, gpu->contexts.n);
    while ((n = vgr_table_next(&gpu->contexts, n))) {
        uint64_t due = vgr_context_expire(vgr_container_of(n, struct vgr_context, node), now);

        if (due && (!next || due < next))
            next = due;
    }
    if (next)
        vgr_gpu_arm_timer(gpu, (uint32_t)(next - now));
    vgr_vq_notify(gpu->vq);
}

void vgr_gpu_init(struct vgr_gpu *gpu, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                  const struct vgr_capset *capset, const struct vgr_guestmem *mem,
                  struct vgr_vq *vq, void (*idle)(struct vgr_gpu *gpu))
{
    memset(gpu, 0, sizeof(*gpu));
    gpu->loop = loop;
    gpu->pool = pool;
    gpu->capset = *capset;
    gpu->mem = mem;
    gpu->vq = vq;
    gpu->idle = idle;
    gpu->contexts.limit = VGR_GPU_MAX_CONTEXTS;
    gpu->resources.limit = VGR_GPU_MAX_RESOURCES;
}

static void grace_ended(struct vgr_timer *t)
{
    vgr_gpu_one_gone(vgr_container_of(t, struct vgr_gpu, grace));
}

void vgr_gpu_adopt(struct vgr_gpu *gpu)
{
    gpu->adopted = true;
    gpu->n_dying++;
    vgr_timer_set(gpu->loop, &gpu->grace, VGR_GPU_GRACE_MS, grace_ended);
}

void vgr_gpu_finish(struct vgr_gpu *gpu)
{
    vgr_gpu_reset(gpu, "vgr-device ended");
    vgr_timer_stop(&gpu->timer);
    gpu->n_dying -= vgr_timer_runs(&gpu->grace);
    vgr_timer_stop(&gpu->grace);
}

void vgr_gpu_reset(struct vgr_gpu *gpu, const char *why)
{
    struct vgr_table_node *n;

    gpu->adopted = false; /* the driver begins anew */
    release_late(gpu);
    while ((n = vgr_table_next(&gpu->contexts, NULL))) {
        struct vgr_context *c = vgr_container_of(n, struct vgr_context, node);

        charge(gpu, VGR_WORK_CALLS, c->opened ? END_CALLS : 0);
        vgr_context_fail(c, VGR_ERROR_WORKER_DIED, why);
        vgr_table_remove(&gpu->contexts, n);
        vgr_context_destroy(c);
    }
    memset(gpu->places, 0, sizeof(gpu->places));
    while ((n = vgr_table_next(&gpu->resources, NULL))) {
        struct vgr_resource *res = vgr_container_of(n, struct vgr_resource, node);

        if (res->user)
            res->user->arena = NULL; /* its worker is being killed; nothing waits for that here */
        vgr_gpu_release(gpu, &res->detach);
        vgr_gpu_release(gpu, &res->unref);
        charge(gpu, VGR_WORK_ENTRIES, 16);
        resource_free(gpu, res);
    }
    vgr_vq_notify(gpu->vq);
}

void vgr_gpu_fail(struct vgr_gpu *gpu, const char *why)
{
    struct vgr_table_node *n = NULL;

    while ((n = vgr_table_next(&gpu->contexts, n)))
        vgr_context_fail(vgr_container_of(n, struct vgr_context, node), VGR_ERROR_WORKER_DIED, why);
    vgr_vq_notify(gpu->vq);
}

void vgr_gpu_memory_removed(struct vgr_gpu *gpu)
{
    struct vgr_table_node *n = NULL;

    while ((n = vgr_table_next(&gpu->contexts, n))) {
        struct vgr_context *c = vgr_container_of(n, struct vgr_context, node);

        if (!c->arena)
            continue;
        charge(gpu, VGR_WORK_ENTRIES, c->arena->pages.n);
        if (!vgr_pages_present(&c->arena->pages, gpu->mem))
            vgr_context_fail(c, VGR_ERROR_ARENA, "the arena's memory was taken from the VM");
    }
    vgr_vq_notify(gpu->vq);
}
