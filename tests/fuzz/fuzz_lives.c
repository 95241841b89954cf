/* SPDX-License-Identifier: MIT
 *
 * fuzz_lives.c - what a worker keeps, and what ends before it: commands over few handles, with an oracle.
 *
 * Theory of operation
 * -------------------
 *
 * The context is that of worker_rig.h. Commands allocate, free, define, patch, run, copy: on three
 * buffers, three graphs and two streams, so that a sequence comes back to the same handle again and again.
 * They are well-formed. What may be wrong with a command is only that something it names is not there, or
 * not there any more, or not so large.
 *
 * Beside the worker goes a model (worker_lives.h), which knows nothing of how the worker does it. Every
 * buffer that is allocated is another one, with a number that no other ever has; a tensor remembers the
 * number of the buffer that it was put into. From this and the commands follows whether the worker must
 * obey a command or end the context, and what is in each buffer afterwards. Wherever the two differ, the
 * input has found something, crash or not: a graph that runs on memory which was freed and given away
 * again crashes nowhere.
 *
 * A context ends with the first command that it refuses, so most of such commands are left out.
 */
#include "worker_lives.h"

/* Here uploads wait for a stream, as with a device that runs behind. */
static uint8_t staging[VGR_STAGING_SIZE];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    rig_init(1);
    return 0;
}

union record {
    struct vgr_cmd h;
    struct vgr_cmd_stream stream;
    struct vgr_cmd_stream_wait wait;
    struct vgr_cmd_alloc alloc;
    struct vgr_cmd_handle handle;
    struct vgr_cmd_data data;
    struct vgr_cmd_memset memset;
    struct vgr_cmd_copy copy;
    struct vgr_cmd_init_tensor init;
    struct vgr_cmd_graph graph;
    struct vgr_cmd_run run;
};

struct guest {
    struct fuzz_in in;
    struct vgr_ctx *c;
    struct model m;
};

/* ---- Worker and model, side by side ---- */

/* Does the worker have what the model says? */
static void agree(const struct guest *g)
{
    const struct model *m = &g->m;
    uint64_t held = 0;
    uint32_t kept = 0;

    for (uint32_t i = 1; i <= BUFFERS; i++) {
        const struct vgr_host_buffer *b = &g->c->buffers[i];

        FUZZ_CHECK(!b->buffer == !m->buffer[i].life);
        if (!b->buffer)
            continue;
        FUZZ_CHECK(b->size == BUFFER_SIZE);
        FUZZ_CHECK(!memcmp(b->base, m->buffer[i].x, BUFFER_SIZE));
        held += b->size;
    }
    for (uint32_t i = 1; i <= GRAPHS; i++)
        kept += graph_lives(m, &m->graph[i]) ? m->graph[i].kind->n_tensors : 0;
    FUZZ_CHECK(shared.memory.held == held);
    FUZZ_CHECK(shared.kept_tensors == kept);
}

/* Has the worker run a command for which the model says that it must obey, or must not. False if the
 * context is over, or if the command was left out. */
static bool obeys(struct guest *g, union record *r, uint16_t op, uint32_t size, bool must)
{
    int ret;

    if (!must && fuzz_u8(&g->in) < 0xc0)
        return false;
    r->h.op = op;
    r->h.size = size;
    ret = vgr_ctx_dispatch(g->c, &r->h);
    FUZZ_CHECK(ret == (must ? 0 : -1));
    FUZZ_CHECK(vgr_ctx_failed(g->c) == !must);
    return must;
}

#define OBEYS(g, r, field, op, must) obeys(g, r, op, sizeof((r)->field), must)

/* ---- Commands ---- */

static uint32_t handle(struct guest *g, uint32_t n)
{
    return 1 + fuzz_below(&g->in, n);
}

/* A stream to be named by a command that need not name one; *is: it is open. */
static uint16_t some_stream(struct guest *g, bool *is)
{
    uint32_t s = fuzz_below(&g->in, STREAMS + 1);

    *is = !s || g->m.stream[s];
    return (uint16_t)s;
}

static void do_alloc(struct guest *g)
{
    uint32_t i = handle(g, BUFFERS);
    union record r = {.alloc = {.buffer = i, .size = BUFFER_SIZE, .reply_off = DATA}};

    if (OBEYS(g, &r, alloc, VGR_CMD_BUFFER_ALLOC, !g->m.buffer[i].life))
        model_alloc(&g->m, i);
}

static void do_free(struct guest *g)
{
    uint32_t i = handle(g, BUFFERS);
    union record r = {.handle.handle = i};

    if (OBEYS(g, &r, handle, VGR_CMD_BUFFER_FREE, g->m.buffer[i].life))
        g->m.buffer[i].life = 0;
}

static void do_stream(struct guest *g)
{
    uint32_t i = handle(g, STREAMS);
    union record r = {.stream.stream = i};
    bool open = g->m.stream[i];

    /* Another stream of that name, or none. */
    if (fuzz_u8(&g->in) & 1) {
        if (OBEYS(g, &r, stream, VGR_CMD_STREAM_OPEN, !open))
            g->m.stream[i] = true;
    } else if (OBEYS(g, &r, stream, VGR_CMD_STREAM_CLOSE, open)) {
        g->m.stream[i] = false;
    }
}

static void do_wait(struct guest *g)
{
    uint32_t i = handle(g, STREAMS), k = handle(g, STREAMS);
    union record r = {.wait = {.stream = i, .other = k}};

    OBEYS(g, &r, wait, VGR_CMD_STREAM_WAIT, g->m.stream[i] && g->m.stream[k]);
}

static void do_set(struct guest *g)
{
    uint32_t i = handle(g, BUFFERS), slot = some_slot(&g->in);
    union record r = {.data = {.buffer = i, .len = SLOT_SIZE, .data_off = DATA}};
    float x[LEN], first = fuzz_u8(&g->in);
    bool open;

    r.data.stream = some_stream(g, &open);
    r.data.offset = slot * SLOT_SIZE;
    for (uint32_t k = 0; k < LEN; k++)
        x[k] = first + (float)k / 4;
    memcpy(arena + DATA, x, sizeof(x));
    if (OBEYS(g, &r, data, VGR_CMD_SET, g->m.buffer[i].life && open && slot < SLOTS))
        memcpy(g->m.buffer[i].x[slot], x, sizeof(x));
}

static void do_get(struct guest *g)
{
    uint32_t i = handle(g, BUFFERS), slot = some_slot(&g->in);
    union record r = {.data = {.buffer = i, .len = SLOT_SIZE, .data_off = DATA}};
    bool open;

    r.data.stream = some_stream(g, &open);
    r.data.offset = slot * SLOT_SIZE;
    memset(arena + DATA, 0xee, SLOT_SIZE);
    if (OBEYS(g, &r, data, VGR_CMD_GET, g->m.buffer[i].life && open && slot < SLOTS))
        FUZZ_CHECK(!memcmp(arena + DATA, g->m.buffer[i].x[slot], SLOT_SIZE));
}

static void do_memset(struct guest *g)
{
    uint32_t i = handle(g, BUFFERS), slot = some_slot(&g->in);
    union record r = {.memset = {.buffer = i, .len = SLOT_SIZE}};

    r.memset.offset = slot * SLOT_SIZE;
    r.memset.value =
        fuzz_u8(&g->in) % 64; /* bytes of which no infinity is made, nor what is no number */
    if (OBEYS(g, &r, memset, VGR_CMD_MEMSET, g->m.buffer[i].life && slot < SLOTS))
        memset(g->m.buffer[i].x[slot], (int)r.memset.value, SLOT_SIZE);
}

static void do_copy(struct guest *g)
{
    uint32_t to = handle(g, BUFFERS), from = handle(g, BUFFERS);
    uint32_t at = some_slot(&g->in), of = some_slot(&g->in);
    union record r = {.copy = {.dst = to, .src = from, .len = SLOT_SIZE}};
    bool must = g->m.buffer[to].life && g->m.buffer[from].life && at < SLOTS && of < SLOTS &&
                (to != from || at != of);

    r.copy.dst_offset = at * SLOT_SIZE;
    r.copy.src_offset = of * SLOT_SIZE;
    if (OBEYS(g, &r, copy, VGR_CMD_COPY, must))
        memcpy(g->m.buffer[to].x[at], g->m.buffer[from].x[of], SLOT_SIZE);
}

static void do_init(struct guest *g)
{
    struct place p = some_place(&g->in, &g->m);
    union record r = {0};

    write_tensor(&r.init.tensor, &p);
    OBEYS(g, &r, init, VGR_CMD_INIT_TENSOR, place_lives(&g->m, &p));
}

static void do_define(struct guest *g)
{
    uint32_t i = handle(g, GRAPHS);
    union record r = {.graph = {.graph = i, .data_off = PAYLOAD}};
    struct model_graph *f = &g->m.graph[i], new;
    struct vgr_graph head;
    struct vgr_tensor t[TENSORS];

    make_graph(&g->in, &g->m, &new);
    head = (struct vgr_graph){.n_nodes = new.kind->n_nodes, .n_tensors = new.kind->n_tensors};
    write_graph(t, &new);
    r.graph.data_len = (uint32_t)(sizeof(head) + head.n_tensors * sizeof(t[0]));
    memcpy(arena + PAYLOAD, &head, sizeof(head));
    memcpy(arena + PAYLOAD + sizeof(head), t, head.n_tensors * sizeof(t[0]));
    if (OBEYS(g, &r, graph, VGR_CMD_GRAPH_DEFINE, graph_is_sound(&g->m, &new)))
        *f = new;
}

/* One or two tensors go to another place, and may do so twice. A graph of which a tensor has lost its
 * memory cannot be patched, not even by patching that tensor. */
static void do_patch(struct guest *g)
{
    uint32_t i = handle(g, GRAPHS), n = 1 + fuzz_below(&g->in, 2);
    union record r = {.graph = {.graph = i, .data_off = PAYLOAD}};
    struct model_graph *f = &g->m.graph[i], new = *f;
    struct vgr_graph_patch p[2] = {0};
    struct vgr_tensor t[TENSORS];
    bool places = true;

    if (!new.kind)
        make_graph(&g->in, &g->m, &new); /* of a graph that there is not */
    for (uint32_t k = 0; k < n; k++) {
        p[k].index = fuzz_below(&g->in, new.kind->n_tensors);
        new.at[p[k].index] = some_place(&g->in, &g->m);
        places &= place_lives(&g->m, &new.at[p[k].index]);
        write_graph(t, &new);
        p[k].tensor = t[p[k].index];
    }
    r.graph.data_len = n * (uint32_t)sizeof(p[0]);
    memcpy(arena + PAYLOAD, p, sizeof(p));
    if (OBEYS(g, &r, graph, VGR_CMD_GRAPH_PATCH,
              graph_lives(&g->m, f) && places && graph_is_sound(&g->m, &new)))
        *f = new;
}

static void do_run(struct guest *g)
{
    uint32_t i = handle(g, GRAPHS), s = handle(g, STREAMS);
    union record r = {.run = {.graph = i, .stream = s}};

    if (OBEYS(g, &r, run, VGR_CMD_GRAPH_RUN, graph_lives(&g->m, &g->m.graph[i]) && g->m.stream[s]))
        model_run(&g->m, &g->m.graph[i]);
}

static void do_graph_free(struct guest *g)
{
    uint32_t i = handle(g, GRAPHS);
    union record r = {.handle.handle = i};

    /* The handle is taken even if its graph has ended. */
    if (OBEYS(g, &r, handle, VGR_CMD_GRAPH_FREE, g->m.graph[i].kind))
        g->m.graph[i].kind = NULL;
}

/* ---- Inputs ---- */

static void (*const commands[])(struct guest *) = {
    do_alloc,  do_free, do_define,     do_patch,  do_run,  do_define, do_patch, do_run,
    do_stream, do_wait, do_graph_free, do_memset, do_init, do_set,    do_get,   do_copy,
};

/* A stream, and two buffers. */
static void open_shop(struct guest *g)
{
    union record stream = {.stream.stream = 1};

    OBEYS(g, &stream, stream, VGR_CMD_STREAM_OPEN, true);
    g->m.stream[1] = true;
    for (uint32_t i = 1; i <= 2; i++) {
        union record r = {.alloc = {.buffer = i, .size = BUFFER_SIZE, .reply_off = DATA}};

        OBEYS(g, &r, alloc, VGR_CMD_BUFFER_ALLOC, true);
        model_alloc(&g->m, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest g;
    uint8_t how;

    memset(&g, 0, sizeof(g));
    g.in = (struct fuzz_in){data, size};
    g.c = ready_context(1);
    how = fuzz_u8(&g.in);
    g.c->backends.device[0].async = how & 1;
    g.c->backends.device[0].staging_base = how & 2 ? staging : NULL;
    if (sigsetjmp(gave_up, 0))
        FUZZ_CHECK(!"GGML gave up on what the worker has accepted");
    open_shop(&g);
    agree(&g);
    while (g.in.left && !vgr_ctx_failed(g.c)) {
        commands[fuzz_below(&g.in, sizeof(commands) / sizeof(commands[0]))](&g);
        if (!vgr_ctx_failed(g.c))
            agree(&g);
    }
    free_context(g.c);
    return 0;
}
