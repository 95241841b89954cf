/* SPDX-License-Identifier: MIT
 *
 * The connections of a process, from the first to the last.
 *
 * Theory of operation
 * -------------------
 *
 * There is one current connection. Once it has failed it stays failed: whatever lives in it, buffers
 * and streams, answers with GGML's failure for ever. But a program that starts afresh, with a new
 * backend or a new buffer, gets a new connection, if the host has the same devices to offer.
 *
 * Whoever uses a connection holds it: buffers and streams for as long as they live, calls for as long
 * as they last. One that has been replaced is closed when nobody holds it any more, and not before:
 * the program's host buffers lie in its arena.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "guest/conn.h"
#include "guest/log.h"

/* After an attempt to renew that failed. */
#define PAUSE_S 1

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vgr_conn *current, *old; /* old: replaced, still held; linked by `older` */
static bool tried, forked;
static uint64_t opened;
static time_t failed_at;

static struct vgr_conn *open_one(void)
{
    struct vgr_conn *c = vgr_conn_open();

    if (c)
        c->serial = ++opened;
    return c;
}

/* The child of a fork() shares the arena with its parent and must keep its hands off. Locks may be
 * held by threads that the child does not have; a failed connection never takes them. */
static void in_child(void)
{
    forked = true;
    for (struct vgr_conn *c = current; c; c = c == current ? old : c->older) {
        for (uint32_t i = 0; i < c->reply.n_devices; i++)
            __atomic_store_n(&c->queue[i]->drained, UINT64_MAX, __ATOMIC_RELAXED);
        __atomic_store_n(&c->failed, 1, __ATOMIC_RELEASE);
    }
}

static time_t now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

struct vgr_conn *vgr_conn_get(void)
{
    struct vgr_conn *c;

    pthread_mutex_lock(&lock);
    if (!tried && !getenv("VGR_NO_GUEST")) {
        current = open_one();
        if (current)
            pthread_atfork(NULL, NULL, in_child);
    }
    tried = true;
    c = current;
    pthread_mutex_unlock(&lock);
    return c;
}

struct vgr_conn *vgr_conn_hold(void)
{
    struct vgr_conn *c;

    if (forked)
        return current; /* never closed here, and the lock may be a dead thread's */
    pthread_mutex_lock(&lock);
    c = current;
    c->holders++;
    pthread_mutex_unlock(&lock);
    return c;
}

void vgr_conn_hold_again(struct vgr_conn *c)
{
    if (forked)
        return;
    pthread_mutex_lock(&lock);
    c->holders++;
    pthread_mutex_unlock(&lock);
}

static void close_if_unused(struct vgr_conn *c)
{
    struct vgr_conn **p = &old;

    if (c == current || c->holders)
        return;
    while (*p != c)
        p = &(*p)->older;
    *p = c->older;
    vgr_conn_close(c);
}

void vgr_conn_release(struct vgr_conn *c)
{
    if (forked)
        return;
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
static void renew(void)
{
    struct vgr_conn *c;

    if (failed_at && now_s() - failed_at < PAUSE_S)
        return;
    c = open_one();
    if (c && !same_devices(c, current)) {
        vgr_say_error("the host is back with other devices: not used");
        vgr_conn_close(c);
        c = NULL;
    }
    failed_at = c ? 0 : now_s();
    if (!c)
        return;
    vgr_say_warn("connected to the host again");
    c->counters = current->counters; /* they are the process's */
    current->older = old;
    old = current;
    current = c;
    close_if_unused(old);
}

struct vgr_conn *vgr_conn_hold_working(void)
{
    struct vgr_conn *c;

    if (forked)
        return NULL;
    pthread_mutex_lock(&lock);
    if (vgr_conn_failed(current))
        renew();
    c = vgr_conn_failed(current) ? NULL : current;
    if (c)
        c->holders++;
    pthread_mutex_unlock(&lock);
    return c;
}

struct vgr_conn *vgr_conn_hold_at(const void *p)
{
    struct vgr_conn *c;

    if (forked)
        return NULL;
    pthread_mutex_lock(&lock);
    for (c = current; c; c = c == current ? old : c->older) {
        uintptr_t at = (uintptr_t)p - (uintptr_t)c->transport.arena;

        if (at < c->transport.arena_size)
            break;
    }
    if (c)
        c->holders++;
    pthread_mutex_unlock(&lock);
    return c;
}

static void print_stats(void) __attribute__((destructor));

/* At the end of the process the program's logger may be gone already, so this goes to stderr. */
static void print_stats(void)
{
    const char *env = getenv("VGR_STATS");
    char line[1024];
    size_t n;

    if (!current || forked || !env || strcmp(env, "1"))
        return;
    n = vgr_counters_print(&current->counters, line, sizeof(line));
    fwrite(line, 1, n, stderr);
}
