/* SPDX-License-Identifier: MIT */
#include "virgl/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "device/control.h"
#include "virgl/capset.h"
#include "virgl/link.h"
#include "virgl/resource.h"
#include "virgl/service.h"
#include "virgl/submit.h"

#define MAX_CONTEXTS 65536u /* of graphics, too; a monitor has fewer */

pthread_mutex_t vgr_bridge_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t vgr_bridge_changed = PTHREAD_COND_INITIALIZER;
struct vgr_log_limit vgr_bridge_log;

static struct vgr_table contexts = {.limit = MAX_CONTEXTS};

static struct vgr_bridge_context *find(uint32_t id)
{
    struct vgr_table_node *n = vgr_table_find(&contexts, id);

    return n ? vgr_container_of(n, struct vgr_bridge_context, node) : NULL;
}

static struct vgr_bridge_context *find_claimed(uint32_t id)
{
    struct vgr_bridge_context *c = find(id);

    return c && c->claimed ? c : NULL;
}

/* ---- Life ---- */

bool vgr_bridge_is_ours(uint32_t ctx)
{
    bool ours;

    pthread_mutex_lock(&vgr_bridge_lock);
    ours = find_claimed(ctx);
    pthread_mutex_unlock(&vgr_bridge_lock);
    return ours;
}

void vgr_bridge_context_made(uint32_t ctx, uint32_t capset)
{
    struct vgr_bridge_context *c;

    if (!vgr_capset_is_offered())
        return; /* nobody will claim it */
    pthread_mutex_lock(&vgr_bridge_lock);
    c = find(ctx);
    if (c) {
        c->capset = capset;
    } else {
        c = calloc(1, sizeof(*c));
        if (c && vgr_table_insert(&contexts, &c->node, ctx)) {
            free(c);
            c = NULL;
        }
        if (c)
            c->capset = capset;
        else /* it cannot be claimed: no harm to graphics */
            vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN,
                          "guest context %u: no memory for one with tensor devices", ctx);
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
}

static void destroy(struct vgr_bridge_context *c)
{
    if (c->link)
        vgr_link_leave(c->link);
    vgr_table_remove(&contexts, &c->node);
    free(c);
}

bool vgr_bridge_context_destroy(uint32_t ctx)
{
    struct vgr_bridge_context *c;
    bool ours = false;

    pthread_mutex_lock(&vgr_bridge_lock);
    c = find(ctx);
    if (c) {
        ours = c->claimed;
        destroy(c);
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    if (ours)
        vgr_service_kick();
    return ours;
}

/* With the lock. */
static void end_links(void)
{
    struct vgr_table_node *n = NULL;

    vgr_links_reset();
    while ((n = vgr_table_next(&contexts, n)))
        vgr_container_of(n, struct vgr_bridge_context, node)->link = NULL;
    vgr_service_kick();
    vgr_resources_release();
}

void vgr_bridge_machine_reset(void)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    end_links();
    pthread_mutex_unlock(&vgr_bridge_lock);
}

void vgr_bridge_reset(void)
{
    struct vgr_table_node *n;

    pthread_mutex_lock(&vgr_bridge_lock);
    end_links();
    while ((n = vgr_table_next(&contexts, NULL)))
        destroy(vgr_container_of(n, struct vgr_bridge_context, node));
    vgr_resources_reset();
    pthread_mutex_unlock(&vgr_bridge_lock);
}

/* ---- Resources of a context ---- */

static bool has(const struct vgr_bridge_context *c, uint32_t res)
{
    for (unsigned i = 0; i < c->n_attached; i++) {
        if (c->attached[i] == res)
            return true;
    }
    return false;
}

bool vgr_bridge_attach(uint32_t ctx, uint32_t res)
{
    struct vgr_bridge_context *c;
    bool ours;

    pthread_mutex_lock(&vgr_bridge_lock);
    c = find_claimed(ctx);
    ours = c || vgr_resource_find_blob(res); /* which virglrenderer does not know */
    if (c && !has(c, res) && c->n_attached < VGR_BRIDGE_MAX_ATTACHED)
        c->attached[c->n_attached++] = res;
    pthread_mutex_unlock(&vgr_bridge_lock);
    return ours;
}

bool vgr_bridge_detach(uint32_t ctx, uint32_t res)
{
    struct vgr_bridge_context *c;
    bool ours;

    pthread_mutex_lock(&vgr_bridge_lock);
    c = find_claimed(ctx);
    ours = c || vgr_resource_find_blob(res);
    for (unsigned i = 0; c && i < c->n_attached; i++) {
        if (c->attached[i] == res) {
            c->attached[i] = c->attached[--c->n_attached];
            break;
        }
    }
    if (c && c->link && c->link->arena && c->link->arena->node.id == res)
        vgr_link_end(c->link);
    pthread_mutex_unlock(&vgr_bridge_lock);
    return ours;
}

/* ---- Opening ---- */

/* Says in the control page why there is no worker. The pages are attached: on this thread, which is
 * the one that detaches them, the monitor's pointers are good. */
static int refuse(const struct vgr_bridge_context *c, const struct vgr_bridge_resource *res,
                  enum vgr_error error, const char *text)
{
    vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN, "guest context %u: %s", c->node.id, text);
    vgr_resource_tell(res, error, text);
    return 0;
}

static int find_arena(const struct vgr_bridge_resource *res, uint64_t size, struct vgr_ram *ram)
{
    if (res->memfd < 0)
        return vgr_ram_find(ram, res->iov, res->n_iov, size);
    return size <= res->size ? vgr_ram_of_file(ram, res->memfd, size) : -EINVAL;
}

static int open_context(struct vgr_bridge_context *c, const struct vgr_submit *s)
{
    struct vgr_bridge_resource *res = vgr_resource_find(s->resource);
    const struct vgr_capset *cap = vgr_capset_offered();
    struct vgr_ram ram;
    char text[160];
    int err;

    if (c->link || !res || res->user || !has(c, s->resource))
        return -EINVAL;
    if (s->size < cap->arena_min || s->size > cap->arena_max || s->size % VGR_CONTROL_SIZE) {
        snprintf(text, sizeof(text),
                 "an arena of %llu bytes: the host takes %llu to %llu, multiples of 4096",
                 (unsigned long long)s->size, (unsigned long long)cap->arena_min,
                 (unsigned long long)cap->arena_max);
        return refuse(c, res, VGR_ERROR_ARENA, text);
    }
    if (vgr_links_full()) {
        snprintf(text, sizeof(text), "the monitor's limit of %u contexts is reached",
                 vgr_links_limit());
        return refuse(c, res, VGR_ERROR_LIMIT, text);
    }
    if (!vgr_service_runs())
        return refuse(c, res, VGR_ERROR_INTERNAL,
                      "the bridge could not start its thread, as the monitor's log says");
    err = find_arena(res, s->size, &ram);
    if (err == -ENODEV)
        return refuse(c, res, VGR_ERROR_INTERNAL,
                      "the host cannot share the guest's memory: QEMU's memory backend needs "
                      "share=on, or its virtio-gpu hostmem=256M and blob=on");
    if (err) {
        snprintf(text, sizeof(text), "the arena's memory: %s",
                 err == -EINVAL ? "smaller than the arena, or not made of pages" : strerror(-err));
        return refuse(c, res, VGR_ERROR_ARENA, text);
    }
    if (!vgr_link_new(c, res, &ram)) {
        vgr_ram_free(&ram);
        return refuse(c, res, VGR_ERROR_INTERNAL, "the monitor has no memory or descriptors left");
    }
    vgr_log_often(&vgr_bridge_log, VGR_LOG_INFO, "guest context %u opens an arena of %llu MiB, %s",
                  c->node.id, (unsigned long long)(s->size >> 20),
                  res->memfd < 0 ? "in the guest's memory" : "a blob");
    return 0;
}

/* ---- Submissions ---- */

/* Any number, since a claimed context costs less than the one of graphics that it was: what there are not
 * enough of is what OPEN takes, and OPEN can be refused with a reason. */
static int claim_context(struct vgr_bridge_context *c)
{
    if (c->capset != 1 && c->capset != VGR_BRIDGE_CONTEXT_CAPSET)
        return EINVAL;
    c->claimed = true;
    return 0;
}

static int serve(struct vgr_bridge_context *c, const struct vgr_submit *s)
{
    switch (s->op) {
    case VGR_SUBMIT_OPEN:
        c->opens = !open_context(c, s) && c->link;
        return c->opens ? 0 : EINVAL;
    case VGR_SUBMIT_DOORBELL:
        if (c->link)
            vgr_link_doorbell(c->link);
        return 0;
    case VGR_SUBMIT_WAIT:
        c->waits = true;
        return 0;
    default: /* CLAIM, again */
        return EINVAL;
    }
}

int vgr_bridge_submit(uint32_t ctx, const void *buffer, int n_words, bool *claim)
{
    struct vgr_bridge_context *c;
    struct vgr_submit s;
    bool valid = vgr_submit_parse(buffer, n_words, &s);
    int ret = 1;

    *claim = false;
    pthread_mutex_lock(&vgr_bridge_lock);
    c = find(ctx);
    if (c && c->claimed) {
        c->waits = c->opens = false;
        ret = valid ? serve(c, &s) : EINVAL;
    } else if (c && valid && s.op == VGR_SUBMIT_CLAIM) {
        ret = claim_context(c);
        *claim = !ret;
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    if (c && valid && s.op == VGR_SUBMIT_OPEN)
        vgr_service_kick();
    return ret;
}

bool vgr_bridge_fence(uint32_t ctx, uint32_t ring, uint64_t id, int *result)
{
    struct vgr_bridge_context *c;
    struct vgr_fence *f;
    bool served;

    pthread_mutex_lock(&vgr_bridge_lock);
    served = vgr_service_runs();
    c = find_claimed(ctx);
    if (!c) {
        pthread_mutex_unlock(&vgr_bridge_lock);
        return false;
    }
    f = vgr_fence_new(ctx, ring, id);
    *result = f ? 0 : -ENOMEM;
    if (!f)
        vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN, "guest context %u: no memory for a fence",
                      ctx);
    if (f && ring == VGR_BRIDGE_RING_WAIT && c->waits && c->link)
        vgr_link_wait(c->link, f);
    else if (f && ring == VGR_BRIDGE_RING_LIFE && c->opens && c->link && !c->link->life)
        c->link->life = f;
    else
        vgr_fence_done(f);
    c->waits = c->opens = false;
    pthread_mutex_unlock(&vgr_bridge_lock);
    if (served)
        vgr_service_kick();
    else
        vgr_fences_deliver(); /* nobody else does: its context was refused, and the guest must not wait */
    return true;
}
