/* SPDX-License-Identifier: MIT
 *
 * fuzz_worker.c - the commands of one guest, in the ring of a real context, on the CPU backend.
 *
 * Theory of operation
 * -------------------
 *
 * A context is set up in this process as main() of vgr-worker does it, on an arena that the fuzzer
 * plays the guest of. The input becomes commands, in bursts: the fuzzer fills the ring, then the
 * worker's own loop serves it until it would sleep. The doorbell is a descriptor that cannot be read,
 * so that going to sleep ends the loop; a context that ended for that reason alone goes on.
 *
 * The first byte of an input chooses how it begins: with a fuzzed hello and dictionary, with commands,
 * or with raw bytes in the ring.
 *
 * GGML itself is not under test here and not built with sanitizers. It gives up on some things that a
 * guest may do, such as an index out of range; in production the process is then over. Here its
 * callback jumps back, and the input ends. So that this works, GGML computes in one thread only.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/ggml_names.h"
#include "worker/context.h"
#include "worker/graph.h"
#include "worker_guest.h"

#define BURSTS 16

static struct vgr_backends backends;
static struct vgr_names names;
static struct vgr_counts_page counts[VGR_COUNTS_QUEUES];
static struct vgr_shared shared;
static struct vgr_ctx ready; /* after a good handshake, without what it owns */
static uint8_t reply[64u << 10];
static int asleep_fd, wakeup_fd;
static sigjmp_buf gave_up;

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

static struct vgr_control *write_hello(void)
{
    struct vgr_control *ctl = (struct vgr_control *)arena;

    memset(arena, 0, ARENA);
    ctl->hello = (struct vgr_hello){
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
    return ctl;
}

static struct vgr_ctx *new_context(void)
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
    c->doorbell_fd = asleep_fd;
    c->wakeup_fd = wakeup_fd;
    return c;
}

static void free_context(struct vgr_ctx *c)
{
    uint64_t n;

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
    free(c->record);
    free(c->payload);
    if (read(wakeup_fd, &n, sizeof(n)) < 0)
        return; /* nobody was woken */
}

/* A context after a good handshake, without the time that it takes. */
static struct vgr_ctx *ready_context(struct guest *g)
{
    struct vgr_ctx *c = new_context();

    g->ctl = write_hello();
    memcpy(c, &ready, sizeof(*c));
    c->record = malloc(RING / 4);
    g->ctl->state = VGR_STATE_READY;
    return c;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char device[1][64] = {"CPU"};
    cpu_set_t one;
    int cpu = sched_getcpu();

    CPU_ZERO(&one);
    CPU_SET(cpu < 0 ? 0 : cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    setenv("VGR_NO_GUEST", "1", 1);
    vgr_log_init("fuzz", VGR_LOG_ERROR);
    ggml_set_abort_callback(on_ggml_abort);
    FUZZ_CHECK(!vgr_backends_load(&backends, device, 1));
    arena = aligned_alloc(4096, ARENA);
    asleep_fd = open("/", O_PATH | O_CLOEXEC);
    wakeup_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    vgr_ggml_names(&names);

    {
        struct vgr_ctx *c = new_context();

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
    return 0;
}

/* ---- Commands ---- */

/* The worker takes what is in the ring. False if the context is over. */
static bool serve(struct guest *g)
{
    struct vgr_ctx *c = g->c;

    vgr_ring_publish(&g->ring);
    vgr_ctx_loop(c);
    FUZZ_CHECK(vgr_ctx_failed(c) && g->ctl->state == VGR_STATE_FAILED && g->ctl->error_text[0]);
    FUZZ_CHECK(memchr(g->ctl->error_text, 0, sizeof(g->ctl->error_text)));
    if (g->ctl->error != VGR_ERROR_INTERNAL || !strstr(g->ctl->error_text, "doorbell"))
        return false;
    FUZZ_CHECK(g->ctl->done == c->ring.seq && g->ctl->head == c->ring.head);
    shared.failed = VGR_CTX_ALIVE;
    g->ctl->state = VGR_STATE_READY;
    return true;
}

/* What graphs run on: buffers, and a stream. The rest is up to the input. */
static void open_shop(struct guest *g)
{
    struct vgr_cmd_stream s = {{VGR_CMD_STREAM_OPEN, 0, sizeof(s)}, 1, 0};

    memcpy(vgr_ring_reserve(&g->ring, sizeof(s)), &s, sizeof(s));
    vgr_ring_commit(&g->ring, sizeof(s));
    for (uint32_t i = 1; i <= 3; i++) {
        struct vgr_cmd_alloc a = {
            {VGR_CMD_BUFFER_ALLOC, 0, sizeof(a)}, i, 0, 8192ull << i, 0, DATA};

        memcpy(vgr_ring_reserve(&g->ring, sizeof(a)), &a, sizeof(a));
        vgr_ring_commit(&g->ring, sizeof(a));
    }
}

static void commands(struct guest *g)
{
    g->c = ready_context(g);
    vgr_ring_producer_init(&g->ring, arena, arena + 4096, RING);
    g->next_block = BLOCKS;
    open_shop(g);
    if (sigsetjmp(gave_up, 0))
        return;
    for (int i = 0; i < BURSTS && serve(g) && g->in.left; i++) {
        for (uint32_t n = 1 + fuzz_below(&g->in, 16); n && push_some(g); n--) {
            if (fuzz_rarely(&g->in))
                fuzz_bytes(&g->in, arena + HEAP + fuzz_u32(&g->in) % (ARENA - HEAP - 64), 64);
        }
    }
}

/* ---- The other beginnings ---- */

static void raw_ring(struct guest *g)
{
    uint32_t tail = fuzz_rarely(&g->in) ? fuzz_u32(&g->in) : fuzz_u16(&g->in) & ~7u;

    g->c = ready_context(g);
    vgr_ring_producer_init(&g->ring, arena, arena + 4096, RING);
    g->c->ring.head = g->ctl->head = g->ring.head = fuzz_rarely(&g->in) ? ~7u - fuzz_u8(&g->in) : 0;
    g->ring.tail = g->ring.head + tail;
    fuzz_bytes(&g->in, arena + 4096, g->in.left < RING ? g->in.left : RING);
    if (sigsetjmp(gave_up, 0))
        return;
    serve(g);
}

static void handshake(struct guest *g)
{
    struct vgr_hello *h;

    g->c = new_context();
    g->ctl = write_hello();
    h = &g->ctl->hello;
    vgr_names_write(&names, arena + HEAP, REPLY - HEAP);
    for (uint32_t n = fuzz_below(&g->in, 4); n; n--) {
        uint32_t at = fuzz_below(&g->in, sizeof(*h) / 4) * 4;
        uint32_t value = (uint32_t)fuzz_size(&g->in);

        memcpy((uint8_t *)h + at, &value, sizeof(value));
    }
    while (g->in.left) {
        uint32_t at = fuzz_u16(&g->in) % (REPLY - HEAP - 4);

        fuzz_bytes(&g->in, arena + HEAP + at, 4);
    }
    if (vgr_ctx_handshake(g->c)) {
        FUZZ_CHECK(g->ctl->state == VGR_STATE_FAILED && g->ctl->error);
        return;
    }
    FUZZ_CHECK(g->ctl->state == VGR_STATE_READY);
    if (h->reply_off == REPLY)
        FUZZ_CHECK(!memcmp(arena + REPLY, reply, offsetof(struct vgr_reply, devices)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest g;
    uint8_t how;

    memset(&g, 0, sizeof(g));
    g.in = (struct fuzz_in){data, size};
    how = fuzz_u8(&g.in);
    if (how < 0xe0)
        commands(&g);
    else if (how < 0xf0)
        raw_ring(&g);
    else
        handshake(&g);
    free_context(g.c);
    return 0;
}
