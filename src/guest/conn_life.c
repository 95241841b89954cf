/* SPDX-License-Identifier: MIT
 *
 * The connections of a process, from the first to the last.
 *
 * Theory of operation
 * -------------------
 *
 * A guest may have several devices of ours, a vhost-user one and a virtio-gpu with a bridge for
 * instance. Each is a *host*, found once, by the first call, and has connections of its own.
 *
 * A host has one current connection. Once it has failed it stays failed: whatever lives in it, buffers
 * and streams, answers with GGML's failure for ever. But a program that starts afresh, with a new
 * backend or a new buffer, gets a new connection, if the host has the same devices to offer.
 *
 * Whoever uses a connection holds it: buffers and streams for as long as they live, calls for as long
 * as they last. One that has been replaced is closed when nobody holds it any more, and not before:
 * the program's host buffers lie in its arena.
 *
 * The child of a fork() *inherits* its parent's connections. They are failed there, and the child has let go of
 * the parent's arena and descriptors: neither can disturb the other, and the host learns of the parent's
 * end from the parent alone. What the child made before is lost to it; what it makes anew gets a connection
 * of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/conn.h"
#include "guest/log.h"
#include "protocol/sys.h"

/* After an attempt to renew that failed. */
#define PAUSE_S 1

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vgr_host hosts[VGR_MAX_HOSTS]; /* those that could be opened */
static unsigned n_hosts;
static bool tried;
static uint64_t opened;

static struct vgr_conn *open_one(struct vgr_host *h)
{
    struct vgr_conn *c = vgr_conn_open(h);

    if (c)
        c->serial = ++opened;
    return c;
}

static struct vgr_conn *next_of(const struct vgr_host *h, const struct vgr_conn *c)
{
    return c == h->current ? h->old : c->older;
}

/* ---- fork() ---- */

/* In the child. Other memory takes the place of the arena, since the program may have host buffers in it.
 * Locks may be held by threads that the child does not have, and what they guard be half changed: a failed
 * connection takes none, an inherited one's pool is not touched, and it is never closed. */
static void disown(struct vgr_conn *c)
{
    struct vgr_transport *t = &c->transport;

    for (uint32_t q = 0; q < c->reply.n_devices; q++)
        __atomic_store_n(&c->queue[q]->drained, UINT64_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(&c->failed, 1, __ATOMIC_RELEASE);
    if (c->inherited)
        return;
    c->inherited = true;
    memset(&c->counters, 0, sizeof(c->counters));
    if (mmap(t->arena, t->arena_size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
        /* No memory, and nobody to tell: a program that goes on with its old host buffers writes into the
         * parent's. */
    }
    vgr_sys_close(&t->fd);
    vgr_sys_close(&t->fence);
    vgr_sys_close(&t->line);
    vgr_sys_close(&t->workers);
    vgr_sys_close(&t->memory);
}

/* A fork() waits for a connection that is being opened or closed. */
static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
    for (unsigned i = 0; i < n_hosts; i++) {
        hosts[i].failed_at = 0;
        for (struct vgr_conn *c = hosts[i].current; c; c = next_of(&hosts[i], c))
            disown(c);
    }
    pthread_mutex_unlock(&lock);
}

static void when_loaded(void) __attribute__((constructor));

/* Not later: the child of a fork() during the first opening would find the lock held for ever. */
static void when_loaded(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

/* ---- Hosts ---- */

static time_t now_s(void)
{
    return (time_t)(vgr_sys_now() / INT64_C(1000000000));
}

static void open_hosts(void)
{
    struct vgr_node nodes[VGR_MAX_HOSTS] = {0};
    const char *path = getenv("VGR_DIRECT");
    unsigned n = path && *path ? 1 : vgr_transport_drm_find(nodes, VGR_MAX_HOSTS);

    for (unsigned i = 0; i < n; i++) {
        struct vgr_host *h = &hosts[n_hosts];

        h->node = nodes[i];
        h->current = open_one(h);
        n_hosts += h->current != NULL;
    }
}

unsigned vgr_hosts_find(void)
{
    unsigned n;

    pthread_mutex_lock(&lock);
    if (!tried && !getenv("VGR_NO_GUEST"))
        open_hosts();
    tried = true;
    n = n_hosts;
    pthread_mutex_unlock(&lock);
    return n;
}

struct vgr_host *vgr_host_at(unsigned i)
{
    return i < n_hosts ? &hosts[i] : NULL;
}

static void renew(struct vgr_host *h);

struct vgr_conn *vgr_conn_hold(struct vgr_host *h)
{
    struct vgr_conn *c;

    pthread_mutex_lock(&lock);
    if (h->current->inherited)
        renew(h);
    c = h->current;
    c->holders++;
    pthread_mutex_unlock(&lock);
    return c;
}

void vgr_conn_hold_again(struct vgr_conn *c)
{
    pthread_mutex_lock(&lock);
    c->holders++;
    pthread_mutex_unlock(&lock);
}

static void close_if_unused(struct vgr_conn *c)
{
    struct vgr_conn **p = &c->to->old;

    if (c == c->to->current || c->holders || c->inherited)
        return;
    while (*p != c)
        p = &(*p)->older;
    *p = c->older;
    vgr_conn_close(c);
}

void vgr_conn_release(struct vgr_conn *c)
{
    pthread_mutex_lock(&lock);
    c->holders--;
    close_if_unused(c);
    pthread_mutex_unlock(&lock);
}

static bool same_devices(const struct vgr_conn *a, const struct vgr_conn *b)
{
    if (a->reply.n_devices != b->reply.n_devices)
        return false;
    for (uint32_t i = 0; i < a->reply.n_devices; i++) {
        if (strcmp(a->reply.devices[i].name, b->reply.devices[i].name))
            return false;
    }
    return true;
}

/* With the lock: puts a working connection in the place of the current one. */
static void renew(struct vgr_host *h)
{
    struct vgr_conn *c;

    if (h->failed_at && now_s() - h->failed_at < PAUSE_S)
        return;
    c = open_one(h);
    if (c && !same_devices(c, h->current)) {
        vgr_say_error("the host is back with other devices: not used");
        vgr_conn_close(c);
        c = NULL;
    }
    h->failed_at = c ? 0 : now_s();
    if (!c)
        return;
    if (h->current->inherited)
        vgr_say_debug("process %d has a connection of its own now", (int)getpid());
    else
        vgr_say_warn("connected to the host again");
    c->counters = h->current->counters; /* they are the process's */
    h->current->older = h->old;
    h->old = h->current;
    h->current = c;
    close_if_unused(h->old);
}

struct vgr_conn *vgr_conn_hold_working(struct vgr_host *h)
{
    struct vgr_conn *c;

    pthread_mutex_lock(&lock);
    if (vgr_conn_failed(h->current))
        renew(h);
    c = vgr_conn_failed(h->current) ? NULL : h->current;
    if (c)
        c->holders++;
    pthread_mutex_unlock(&lock);
    return c;
}

struct vgr_conn *vgr_conn_hold_at(const void *p)
{
    struct vgr_conn *found = NULL;

    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < n_hosts && !found; i++) {
        for (struct vgr_conn *c = hosts[i].current; c && !found; c = next_of(&hosts[i], c)) {
            uintptr_t at = (uintptr_t)p - (uintptr_t)c->transport.arena;

            if (at < c->transport.arena_size)
                found = c;
        }
    }
    if (found)
        found->holders++;
    pthread_mutex_unlock(&lock);
    return found;
}

static void print_stats(void) __attribute__((destructor));

/* At the end of the process the program's logger may be gone already, so this goes to stderr. */
static void print_stats(void)
{
    const char *env = getenv("VGR_STATS");
    struct vgr_sys_hush h;
    char line[1024];
    size_t n;

    if (!env || strcmp(env, "1"))
        return;
    vgr_sys_hush(&h);
    for (unsigned i = 0; i < n_hosts; i++) {
        if (hosts[i].current->inherited)
            continue; /* a child that never used it */
        n = vgr_counters_print(&hosts[i].current->counters, line, sizeof(line));
        fwrite(line, 1, n, stderr);
    }
    vgr_sys_unhush(&h, -EPIPE);
}
