/* SPDX-License-Identifier: MIT
 *
 * stats.h - answers the operator's question what is going on, over HTTP on a unix socket.
 *
 * Theory of operation
 * -------------------
 *
 * `GET /metrics` is answered with Prometheus' text format, `GET /stats` with JSON (report.h). One
 * request a connection, then it is closed: what scrapers and curl do anyway.
 *
 * Why no HTTP library: the front is the process that must not fall and must not wait. It loads libc
 * and nothing else, has one thread and one loop, and needs of HTTP one request line. The parser below
 * is bounded in every direction: VGR_STATS_LINE bytes of request line, VGR_STATS_HEAD bytes with all
 * headers (which mean nothing here), VGR_STATS_CLIENTS connections, s->limit_ms for each from accept
 * to close. A client that is slow, or does not read its answer, is dropped; one too many waits in the
 * kernel's queue until another is done. Nothing here blocks the loop.
 *
 * Who can connect is the owner of the socket (mode 0600), so this is no boundary against guests; it
 * is robust against accidents and curious port scanners of the owner's own.
 */
#ifndef VGR_DEVICE_STATS_H
#define VGR_DEVICE_STATS_H

#include "device/listen.h"
#include "device/worker.h"

#define VGR_STATS_CLIENTS 8u
#define VGR_STATS_LINE    1024u
#define VGR_STATS_HEAD    4096u
#define VGR_STATS_MS      5000u

struct vgr_stats_client;

struct vgr_stats {
    struct vgr_listener listener;
    struct vgr_loop *loop;
    const struct vgr_worker_pool *pool;
    uint32_t limit_ms; /* VGR_STATS_MS, but for tests */
    struct vgr_stats_client *first;
    unsigned n_clients;
};

/* Answers on the listening stream socket `fd`, which it then owns, bound to `path`. 0 or -errno. */
int vgr_stats_init(struct vgr_stats *s, struct vgr_loop *loop, const struct vgr_worker_pool *pool,
                   int fd, const char *path);

/* Closes everything and removes the socket file. */
void vgr_stats_finish(struct vgr_stats *s);

#endif
