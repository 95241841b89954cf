/* SPDX-License-Identifier: MIT
 *
 * worker_rig.h - a context of vgr-worker in the fuzzer's process, on the CPU backend.
 *
 * A context is set up as main() of vgr-worker does it, on an arena of which the fuzzer is the guest. Each
 * input gets a fresh one, by copying what a good handshake leaves. The host may have several devices, of
 * which each is the CPU.
 *
 * Here the doorbell is a descriptor that cannot be watched, so that going to sleep ends a queue's loop; a
 * context that ended for that reason alone goes on (rig_serve).
 *
 * GGML itself is not under test and not built with sanitizers. It gives up on some things that a guest
 * may do, such as an index out of range; in production the process is then over. Here its callback jumps
 * back to `gave_up`, and the input ends. So that this works, GGML computes in one thread only.
 */
#ifndef VGR_FUZZ_WORKER_RIG_H
#define VGR_FUZZ_WORKER_RIG_H

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "fuzz.h"
#include "protocol/ggml_names.h"
#include "protocol/ring.h"
#include "worker/context.h"
#include "worker/graph.h"

#ifndef ARENA
#define ARENA (512u << 10)
#endif
#define RING  (16u << 10)
#define HEAP  (4096u + RING)
#define REPLY (HEAP + (64u << 10))
#define DATA  (HEAP + (128u << 10)) /* uploads, downloads, replies */

static uint8_t *arena;
static struct vgr_backends backends;
static struct vgr_names names;
static struct vgr_counts_page counts[VGR_COUNTS_QUEUES];
static struct vgr_shared shared;
static struct vgr_ctx ready; /* after a good handshake, without what it owns */
static uint8_t reply[64u << 10];
static int asleep_fd, nudge_fd;
static _Thread_local sigjmp_buf gave_up;

static void on_ggml_abort(const char *message)
{
    siglongjmp(gave_up, 1);
}

/* Sources and results may overlap, as a guest likes; GGML copies them with memcpy() all the same. */
const char *__asan_default_suppressions(void);
const char *__asan_default_suppressions(void)
{
    return "interceptor_via_lib:libggml\n";
}

/* What GGML held when it gave up. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:ggml_graph_compute\n";
}

/* ---- Life of a context ---- */

static inline struct vgr_control *control(void)
{
    return (struct vgr_control *)arena;
}

static inline void write_hello(void)
{
    memset(arena, 0, ARENA);
    control()->hello = (struct vgr_hello){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .arena_size = ARENA,
        .ring_off = 4096,
        .ring_size = RING,
        .heap_off = HEAP,
        .dict_off = HEAP,
        .dict_len = (uint32_t)vgr_names_size(&names),
        .reply_off = REPLY,
        .reply_cap = DATA - REPLY,
    };
}

/* One that has not met its guest yet. */
static inline struct vgr_ctx *new_context(void)
{
    static struct vgr_ctx the_context;
    struct vgr_ctx *c = &the_context;

    memset(c, 0, sizeof(*c));
    c->arena.base = arena;
    c->arena.size = ARENA;
    c->backends = backends;
    memset(counts, 0, sizeof(counts));
    memset(&shared, 0, sizeof(shared));
    vgr_ctx_init(c, &shared, counts);
    shared.line_fd = asleep_fd;
    shared.nudge_fd = nudge_fd;
    return c;
}

static inline void free_queue(struct vgr_ctx *c)
{
    for (uint32_t i = 1; i <= VGR_CTX_MAX_GRAPHS; i++) {
        if (c->graphs[i])
            vgr_graph_free(c, i);
    }
    for (uint32_t i = 1; i <= VGR_CTX_MAX_STREAMS; i++) {
        if (c->streams[i].backend)
            ggml_backend_free(c->streams[i].backend);
    }
    if (c->query)
        ggml_free(c->query);
    for (uint32_t i = 1; i <= VGR_CTX_MAX_BUFFERS; i++) {
        if (c->buffers[i].buffer)
            ggml_backend_buffer_free(c->buffers[i].buffer);
    }
    if (c->shared->sleep_fd[c->number] > 0)
        close(c->shared->sleep_fd[c->number]);
    free(c->record);
    free(c->payload);
}

/* Gives everything back, of the further queues as well. */
static inline void free_context(struct vgr_ctx *c)
{
    uint64_t n;

    for (uint32_t i = 1; i < VGR_MAX_DEVICES; i++) {
        if (shared.queue[i]) {
            free_queue(shared.queue[i]);
            free(shared.queue[i]);
        }
    }
    free_queue(c);
    if (read(nudge_fd, &n, sizeof(n)) < 0)
        return; /* nobody was nudged */
}

/* A context of `n_devices` after a good handshake, without the time that it takes. */
static inline struct vgr_ctx *ready_context(uint32_t n_devices)
{
    struct vgr_ctx *c = new_context();

    write_hello();
    memcpy(c, &ready, sizeof(*c));
    c->backends.n = n_devices;
    c->record = malloc(RING / 4);
    control()->state = VGR_STATE_READY;
    return c;
}

/* The page of a queue: the control page, or what QUEUE_OPEN named. */
static inline struct vgr_control *page_of(const struct vgr_ctx *c)
{
    return c->ring.ctl;
}

/* The queue takes what is in its ring. False if the context is over. */
static inline bool rig_serve(struct vgr_ctx *c)
{
    struct vgr_control *ctl = control();

    vgr_ctx_loop(c);
    FUZZ_CHECK(vgr_ctx_failed(c) && ctl->state == VGR_STATE_FAILED && ctl->error_text[0]);
    FUZZ_CHECK(memchr(ctl->error_text, 0, sizeof(ctl->error_text)));
    if (ctl->error != VGR_ERROR_INTERNAL || !strstr(ctl->error_text, "doorbell"))
        return false;
    FUZZ_CHECK(page_of(c)->done == c->ring.seq && page_of(c)->head == c->ring.head);
    shared.failed = VGR_CTX_ALIVE;
    ctl->state = VGR_STATE_READY;
    return true;
}

/* Once in a process. */
static inline void rig_init(uint32_t n_devices)
{
    static const char device[1][64] = {"CPU"};
    cpu_set_t one;
    int cpu = sched_getcpu();
    struct vgr_ctx *c;

    CPU_ZERO(&one);
    CPU_SET(cpu < 0 ? 0 : cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    setenv("VGR_NO_GUEST", "1", 1);
    vgr_log_init("fuzz", VGR_LOG_ERROR);
    ggml_set_abort_callback(on_ggml_abort);
    FUZZ_CHECK(!vgr_backends_load(&backends, device, 1));
    for (; backends.n < n_devices; backends.n++)
        backends.device[backends.n] = backends.device[0];
    arena = aligned_alloc(4096, ARENA);
    asleep_fd = open("/", O_PATH | O_CLOEXEC);
    nudge_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    vgr_ggml_names(&names);

    c = new_context();
    write_hello();
    vgr_names_write(&names, arena + HEAP, REPLY - HEAP);
    FUZZ_CHECK(!vgr_ctx_handshake(c));
    memcpy(reply, arena + REPLY, sizeof(reply));
    memcpy(&ready, c, sizeof(ready));
    ready.record = NULL;
    ready.payload = NULL;
    ready.payload_cap = 0;
    free_context(c);
}

#endif
