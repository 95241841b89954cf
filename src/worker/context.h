/* SPDX-License-Identifier: MIT
 *
 * context.h - one guest context: its queues, their tables and rings, its end.
 *
 * Theory of operation
 * -------------------
 *
 * A worker serves one context, each of its queues in a thread: read a command from the ring (a private
 * copy), check it, run it against GGML, publish what is complete. Handles are indices into the tables
 * here; no pointer of ours ever reaches the guest and no pointer of the guest's is ever used.
 *
 * Queues. struct vgr_ctx is what one thread has: a ring, and all that belongs to the devices which
 * the queue serves. Nobody else touches it, so there is nothing to lock. Most contexts have no
 * queue but the first. What the queues have in common is struct vgr_shared; how they wait for each
 * other, and how one reads a buffer of another, is in queue.h.
 *
 * Asynchrony. A host device may run behind its calls (`async`). A stream with work in flight is
 * *dirty*. A command is complete when no stream is dirty; so `done` advances at once on synchronous
 * devices, and on asynchronous ones when somebody needs it: a command with VGR_CMD_F_AWAIT, a
 * command that must not overtake (free, patch, plain access), or an idle ring.
 *
 * Uploads that name no stream (llama.cpp's inputs) need not wait for the device either: a small one is
 * put into memory that the device reads by itself and *routed* through the stream that ran last, so
 * it is in order with the graph that is going to read it. Whoever else could look at the result first
 * waits (vgr_ctx_order).
 *
 * Failure. vgr_ctx_fail() writes the first error into the control page and makes the command loop
 * end; the process exits and GGML's state goes with it. There is no recovery inside a context.
 */
#ifndef VGR_WORKER_CONTEXT_H
#define VGR_WORKER_CONTEXT_H

#include <ggml-backend.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/names.h"
#include "protocol/ring.h"
#include "protocol/wire.h"
#include "worker/arena.h"
#include "worker/backends.h"
#include "worker/counts.h"
#include "worker/memory.h"

#define VGR_CTX_MAX_BUFFERS 4096u
#define VGR_CTX_MAX_STREAMS 64u
#define VGR_CTX_MAX_GRAPHS  4096u  /* a guest gives an eighth to its first stream, less to others */
#define VGR_CTX_MAX_TENSORS 65536u /* in one graph */
/* In all graphs that are kept, in all queues. One takes some 700 bytes, so these are 1.5 GB of the
 * host's memory; 16 graphs of a large language model have 50,000. */
#define VGR_CTX_MAX_KEPT (2u << 20)
/* The longest that any command needs, a patch of every tensor. */
#define VGR_CTX_MAX_PAYLOAD (VGR_CTX_MAX_TENSORS * (uint32_t)sizeof(struct vgr_graph_patch))

struct vgr_host_graph;

struct vgr_host_buffer {
    ggml_backend_buffer_t buffer; /* NULL: free handle */
    uint8_t *base;                /* ggml_backend_buffer_get_base(); may be no real address */
    uint64_t size;
    uint32_t device;
};

struct vgr_host_stream {
    ggml_backend_t backend; /* NULL: free handle */
    uint32_t device;
    bool dirty;
};

struct vgr_ctx;

/* A context that has failed ends with the process, and not before the guest was told why. */
enum { VGR_CTX_ALIVE, VGR_CTX_FAILING, VGR_CTX_FAILED };

/* What the queues of a context share. */
struct vgr_shared {
    int failed;            /* atomic; VGR_CTX_* */
    uint32_t kept_tensors; /* atomic; in the graphs of all queues */
    int line_fd;           /* doorbells come here, wake-ups go here (common/line.h) */
    int nudge_fd;          /* eventfd of this process alone, by which queues wake each other */
    /* loop.c: by the queue's number, an epoll of what wakes it; 0: not made yet */
    int sleep_fd[VGR_MAX_DEVICES];
    struct vgr_memory memory;
    struct vgr_counts_page *counts; /* one page for each queue, by number */
    /* The life of a further queue's thread; does not return. NULL: none is started (tests). */
    void *(*serve)(void *queue);
    struct vgr_ctx *queue[VGR_MAX_DEVICES]; /* atomic; by number; set once */
    pthread_mutex_t lock;                   /* of what is in vgr_ctx.wait, of all queues */
    pthread_cond_t advanced;                /* a queue that is waited for has */
};

struct vgr_ctx {
    struct vgr_shared *shared;
    uint32_t number; /* of the queue */
    uint32_t serves; /* devices, a bit each */
    struct vgr_arena arena;
    struct vgr_backends backends;
    struct vgr_hello hello; /* private copy */
    struct vgr_ring_consumer ring;
    struct vgr_names names;   /* of the host */
    struct vgr_names_map map; /* guest's numbers to the host's */

    uint32_t dirty;                     /* streams that are */
    uint32_t last_run[VGR_MAX_DEVICES]; /* the stream that ran a graph last; 0: none */
    uint32_t routed; /* the stream that carries uploads which named none; 0: none */
    uint64_t done;   /* published; atomic */
    struct vgr_poll {
        uint32_t max;        /* ns; 0: do not poll */
        uint32_t bound;      /* what a crowded machine leaves of it */
        uint32_t gap;        /* the longest of late that was worth polling through */
        uint32_t too_long;   /* gaps in a row that were not */
        uint64_t idle_since; /* of the poll that was in vain; 0: none */
    } poll;                  /* loop.c */
    pthread_mutex_t running; /* held while commands run, but not while one waits for a queue */
    struct vgr_queue_wait {
        uint64_t wanted;         /* atomic; the highest number that another queue wants complete */
        uint32_t waiters;        /* atomic; queues that wait for this one */
        bool idle;               /* atomic; asleep, with everything complete */
        struct vgr_ctx *blocker; /* what this queue waits for: command `seq` of that one */
        uint64_t seq;
    } wait; /* queue.c */

    struct vgr_host_buffer buffers[VGR_CTX_MAX_BUFFERS + 1]; /* [0] is never used */
    struct vgr_host_stream streams[VGR_CTX_MAX_STREAMS + 1];
    struct vgr_host_graph *graphs[VGR_CTX_MAX_GRAPHS + 1];

    struct ggml_context *query; /* scratch for QUERY_OP */
    uint64_t *record;           /* the command being run */
    void *payload;              /* private copy of its heap payload */
    size_t payload_cap;

    struct vgr_memory *memory;
    struct vgr_counts_page *counts; /* shared with the front */
};

/* Makes `c`, which has an arena, backends and descriptors, the first queue of a context. `counts`
 * has a page for each queue that may be. */
void vgr_ctx_init(struct vgr_ctx *c, struct vgr_shared *shared, struct vgr_counts_page *counts);

/* Ends the context: writes code and text (printf) into the control page, logs it, wakes the guest.
 * Only the first call counts. Always returns -1, so that a handler can `return vgr_ctx_fail(...)`. */
__attribute__((format(printf, 3, 4))) int vgr_ctx_fail(struct vgr_ctx *c, enum vgr_error code,
                                                       const char *fmt, ...);

/* Wakes the guest, if it sleeps or not. */
void vgr_ctx_wake(struct vgr_ctx *c);

/* Waits for every dirty stream. */
void vgr_ctx_sync(struct vgr_ctx *c);

/* Notes that `s` has work in flight, if its device is asynchronous. */
void vgr_ctx_mark_dirty(struct vgr_ctx *c, struct vgr_host_stream *s);

/* Called before a command runs on `stream` (0: none): what was routed through another stream must be
 * there first. */
void vgr_ctx_order(struct vgr_ctx *c, uint32_t stream);

/* Copies a heap range into the context's payload buffer (8-aligned) and returns it, or NULL after
 * vgr_ctx_fail(). Valid until the next call. */
const void *vgr_ctx_payload(struct vgr_ctx *c, uint32_t off, uint32_t len);

/* 0 if the queue serves the device, or -1 after vgr_ctx_fail(). */
int vgr_ctx_device(struct vgr_ctx *c, uint32_t device);

/* Looks handles up; NULL after vgr_ctx_fail(). */
struct vgr_host_buffer *vgr_ctx_buffer(struct vgr_ctx *c, uint32_t handle);
struct vgr_host_stream *vgr_ctx_stream(struct vgr_ctx *c, uint32_t handle);

/* Handshake: checks the hello, writes the reply, makes the context READY. 0, or -1 after
 * vgr_ctx_fail(). */
int vgr_ctx_handshake(struct vgr_ctx *c);

/* Runs one command (in c->record). 0, or -1 after vgr_ctx_fail(). */
int vgr_ctx_dispatch(struct vgr_ctx *c, const struct vgr_cmd *h);

/* Makes everything up to command `seq`, the last that has run, complete, and tells who waits for
 * it. */
void vgr_ctx_complete(struct vgr_ctx *c, uint64_t seq);

/* True once the context has failed, in whichever queue, and the guest was told. */
static inline bool vgr_ctx_failed(const struct vgr_ctx *c)
{
    return __atomic_load_n(&c->shared->failed, __ATOMIC_ACQUIRE) == VGR_CTX_FAILED;
}

/* Makes what the first `n_queues` queues sleep in, which otherwise each makes when it first sleeps: in the sandbox
 * it cannot. s->line_fd and s->nudge_fd are there. 0 or -errno. */
int vgr_ctx_prepare_sleep(struct vgr_shared *s, uint32_t n_queues);

/* Serves the queue's ring until the context fails. */
void vgr_ctx_loop(struct vgr_ctx *c);

#endif
