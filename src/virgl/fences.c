/* SPDX-License-Identifier: MIT */
#include "virgl/fences.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "virgl/bridge.h"

#define G_PRIORITY_HIGH (-100)

/* With the bridge's lock. */
static struct {
    struct vgr_fence *first, **last;
    vgr_fence_callback *callback; /* NULL: never started */
    bool stopped;
    void *cookie;
    bool async;
    bool delivering;  /* a thread is calling back */
    bool idle_queued; /* GLib's loop will call us */
    pthread_t monitor;
    unsigned (*idle_add)(int priority, int (*function)(void *), void *data, void *notify);
} q = {.last = &q.first};

/* Takes all that is queued, in order, and calls back. With the lock, which is dropped meanwhile. */
static void call_back(void)
{
    while (q.first && !q.stopped && !q.delivering) {
        struct vgr_fence *f = q.first;
        vgr_fence_callback *callback = q.callback;
        void *cookie = q.cookie;

        q.first = NULL;
        q.last = &q.first;
        q.delivering = true;
        pthread_mutex_unlock(&vgr_bridge_lock);
        while (f) {
            struct vgr_fence *next = f->next;

            callback(cookie, f->ctx, f->ring, f->id);
            free(f);
            f = next;
        }
        pthread_mutex_lock(&vgr_bridge_lock);
        q.delivering = false;
        pthread_cond_broadcast(&vgr_bridge_changed);
    }
}

static int idle(void *unused)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    q.idle_queued = false;
    if (pthread_equal(pthread_self(), q.monitor))
        call_back();
    else
        q.idle_add = NULL; /* this loop is not the renderer's: never again */
    pthread_mutex_unlock(&vgr_bridge_lock);
    return 0; /* once */
}

void vgr_fences_start(vgr_fence_callback *callback, void *cookie, bool async)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    q.callback = callback;
    q.cookie = cookie;
    q.stopped = false;
    q.async = async;
    q.monitor = pthread_self();
    if (!async)
        *(void **)(&q.idle_add) = dlsym(RTLD_DEFAULT, "g_idle_add_full");
    pthread_mutex_unlock(&vgr_bridge_lock);
}

void vgr_fences_stop(void)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    q.stopped = true;
    while (q.delivering)
        pthread_cond_wait(&vgr_bridge_changed, &vgr_bridge_lock);
    while (q.first) {
        struct vgr_fence *f = q.first;

        q.first = f->next;
        free(f);
    }
    q.last = &q.first;
    pthread_mutex_unlock(&vgr_bridge_lock);
}

void vgr_fences_resume(void)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    q.stopped = false;
    pthread_mutex_unlock(&vgr_bridge_lock);
}

struct vgr_fence *vgr_fence_new(uint32_t ctx, uint32_t ring, uint64_t id)
{
    struct vgr_fence *f = malloc(sizeof(*f));

    if (f)
        *f = (struct vgr_fence){.ctx = ctx, .ring = ring, .id = id};
    return f;
}

void vgr_fence_done(struct vgr_fence *f)
{
    if (!f)
        return;
    if (!q.callback || q.stopped) {
        free(f);
        return;
    }
    f->next = NULL;
    *q.last = f;
    q.last = &f->next;
}

void vgr_fences_poll(void)
{
    pthread_mutex_lock(&vgr_bridge_lock);
    if (!q.async)
        call_back();
    pthread_mutex_unlock(&vgr_bridge_lock);
}

void vgr_fences_deliver(void)
{
    unsigned (*idle_add)(int, int (*)(void *), void *, void *) = NULL;

    pthread_mutex_lock(&vgr_bridge_lock);
    if (q.async) {
        call_back();
    } else if (q.first && !q.idle_queued && q.idle_add) {
        idle_add = q.idle_add;
        q.idle_queued = true;
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    if (idle_add)
        idle_add(G_PRIORITY_HIGH, idle, NULL, NULL);
}
