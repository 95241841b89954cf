/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void nap(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000l}, NULL);
}

uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t random_number(void)
{
    static uint64_t x = 0x9e3779b97f4a7c15;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

/* ---- The handshake ---- */

static enum arena_kind kind;

void guest_take(enum arena_kind of)
{
    kind = of;
}

static uint32_t write_dictionary(uint8_t *at)
{
    static const struct vgr_dict_entry entries[] = {
        {.kind = VGR_DICT_OP, .number = OP_NONE, .name = "NONE"},
        {.kind = VGR_DICT_OP, .number = OP_ADD, .name = "ADD"},
        {.kind = VGR_DICT_OP, .number = OP_MUL_MAT, .name = "MUL_MAT"},
        {.kind = VGR_DICT_TYPE, .number = TYPE_F32, .block_size = 1, .type_size = 4, .name = "f32"},
    };
    struct vgr_dict d = {.n_entries = sizeof(entries) / sizeof(entries[0]),
                         .ggml_version = "hostile"};

    memcpy(at, &d, sizeof(d));
    memcpy(at + sizeof(d), entries, sizeof(entries));
    return sizeof(d) + sizeof(entries);
}

void guest_hello(struct guest *g)
{
    g->ctl->hello = (struct vgr_hello){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .arena_size = g->size,
        .ring_off = VGR_CONTROL_SIZE,
        .ring_size = GUEST_RING,
        .heap_off = GUEST_HEAP,
        .dict_off = GUEST_HEAP,
        .dict_len = write_dictionary(g->arena + GUEST_HEAP),
        .reply_off = GUEST_REPLY,
        .reply_cap = 256u << 10,
    };
}

void guest_prepare(struct guest *g)
{
    static unsigned turn;
    bool blob;
    int err;

    memset(g, 0, sizeof(*g));
    g->fd = node_open();
    guest_claim(g);
    blob = bridged() && (kind == HOST_BLOB || (kind == ANY_ARENA && turn++ % 2));
    err = blob ? guest_blob(g, GUEST_ARENA) : guest_resource(g, GUEST_ARENA);
    CHECK(!err, "no %s of %u bytes: %s", blob ? "blob" : "resource", GUEST_ARENA, strerror(-err));
    guest_hello(g);
}

bool fence_signals(int fence)
{
    struct pollfd p = {.fd = fence, .events = POLLIN};
    int n = poll(&p, 1, PATIENCE_MS);

    close(fence);
    return n == 1 && (p.revents & POLLIN);
}

uint32_t guest_settled(const struct guest *g, unsigned ms)
{
    uint64_t end = now_ms() + ms;
    uint32_t state;

    do {
        state = __atomic_load_n(&g->ctl->state, __ATOMIC_ACQUIRE);
        if (state >= VGR_STATE_READY)
            return state;
        nap(1);
    } while (now_ms() < end);
    return VGR_STATE_NONE;
}

bool guest_let_in(struct guest *g, unsigned ms)
{
    uint64_t end = now_ms() + ms;
    uint32_t state;
    int err;

    for (;;) {
        guest_prepare(g);
        err = guest_say(g, VGR_SUBMIT_OPEN, NULL);
        CHECK(!err, "OPEN: %s", strerror(-err));
        state = guest_settled(g, PATIENCE_MS);
        if (state == VGR_STATE_READY)
            return true;
        CHECK(state == VGR_STATE_FAILED && g->ctl->error == VGR_ERROR_LIMIT,
              "state %u instead of READY, error %u: %.256s", state, g->ctl->error,
              g->ctl->error_text);
        if (now_ms() >= end)
            return false;
        guest_close(g);
        nap(20);
    }
}

void guest_open(struct guest *g)
{
    CHECK(guest_let_in(g, PATIENCE_MS), "no room: %.256s", g->ctl->error_text);
}

void guest_close(struct guest *g)
{
    close(g->fd);
    if (g->arena)
        munmap(g->arena, g->size);
    g->arena = NULL;
}

/* ---- The ring ---- */

void guest_ring(struct guest *g, bool always)
{
    int err;

    if (!__atomic_exchange_n(&g->ctl->asleep, 0, __ATOMIC_SEQ_CST) && !always)
        return;
    err = guest_say(g, VGR_SUBMIT_DOORBELL, NULL);
    CHECK(!err, "DOORBELL: %s", strerror(-err));
}

/* Cases push few records; if the ring is full, the oldest are long done. */
uint64_t guest_push(struct guest *g, void *cmd, enum vgr_cmd_op op, uint32_t size)
{
    struct vgr_cmd h = {.op = (uint16_t)op, .flags = VGR_CMD_F_AWAIT, .size = size};
    uint32_t pos = g->tail & (GUEST_RING - 1), end = GUEST_RING - pos;

    if (size > end) {
        struct vgr_cmd pad = {.op = VGR_CMD_PAD, .size = end};

        memcpy(g->arena + VGR_CONTROL_SIZE + pos, &pad, sizeof(pad));
        g->tail += end;
        pos = 0;
    }
    memcpy(cmd, &h, sizeof(h));
    memcpy(g->arena + VGR_CONTROL_SIZE + pos, cmd, size);
    g->tail += size;
    __atomic_store_n(&g->ctl->tail, g->tail, __ATOMIC_SEQ_CST);
    guest_ring(g, false);
    return ++g->seq;
}

bool guest_done(struct guest *g, uint64_t seq)
{
    uint64_t end = now_ms() + PATIENCE_MS;

    while (now_ms() < end) {
        if (__atomic_load_n(&g->ctl->done, __ATOMIC_ACQUIRE) >= seq)
            return true;
        if (__atomic_load_n(&g->ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_FAILED)
            return false;
        nap(1);
    }
    CHECK(false, "command %llu is neither done nor refused", (unsigned long long)seq);
}

void guest_fails(struct guest *g, enum vgr_error code, const char *text)
{
    uint32_t state = VGR_STATE_NONE;

    for (uint64_t end = now_ms() + PATIENCE_MS; state != VGR_STATE_FAILED && now_ms() < end;) {
        nap(1);
        state = __atomic_load_n(&g->ctl->state, __ATOMIC_ACQUIRE);
    }
    CHECK(state == VGR_STATE_FAILED, "state %u instead of FAILED with error %u '%s'", state, code,
          text);
    CHECK(g->ctl->error == code && strstr(g->ctl->error_text, text),
          "error %u '%.256s', expected %u '%s'", g->ctl->error, g->ctl->error_text, code, text);
}

void guest_ignored(struct guest *g)
{
    int fence;

    /* What was submitted before this has been answered when this one is. */
    CHECK(!guest_say(g, VGR_SUBMIT_DOORBELL, &fence) && fence_signals(fence), "no answer");
    nap(20);
    CHECK(g->ctl->state == VGR_STATE_NONE, "state %u, error %u '%.256s': somebody looked",
          g->ctl->state, g->ctl->error, g->ctl->error_text);
}

/* ---- A good session ---- */

void guest_buffer(struct guest *g, uint64_t size)
{
    struct vgr_cmd_alloc alloc = {.buffer = 1, .size = size, .reply_off = GUEST_DATA};
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_alloc_reply reply;

    guest_push(g, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    CHECK(guest_done(g, guest_push(g, &alloc, VGR_CMD_BUFFER_ALLOC, sizeof(alloc))),
          "the allocation fails: %.256s", g->ctl->error_text);
    memcpy(&reply, g->arena + GUEST_DATA, sizeof(reply));
    CHECK(reply.ok == 1, "no memory");
}

struct vgr_tensor matrix(int64_t columns, int64_t rows, uint64_t offset)
{
    uint64_t row = (uint64_t)columns * 4, all = row * (uint64_t)rows;

    return (struct vgr_tensor){
        .op = OP_NONE,
        .type = TYPE_F32,
        .buffer = 1,
        .offset = offset,
        .ne = {columns, rows, 1, 1},
        .nb = {4, row, all, all},
    };
}

void addition_define(struct guest *g)
{
    struct addition a = {
        .g = {.n_nodes = 1, .n_tensors = 3},
        .t = {matrix(8, 1, 2048), matrix(8, 1, 0), matrix(8, 1, 1024)},
    };
    struct vgr_cmd_graph define = {.graph = 1, .data_off = ADDITION_GRAPH, .data_len = sizeof(a)};

    a.t[0].op = OP_ADD;
    a.t[0].src[0] = 2;
    a.t[0].src[1] = 3;
    memcpy(g->arena + ADDITION_GRAPH, &a, sizeof(a));
    guest_push(g, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
}

uint64_t addition_run(struct guest *g)
{
    struct vgr_cmd_data set_a = {.buffer = 1, .len = 32, .data_off = ADDITION_IN};
    struct vgr_cmd_data set_b = {
        .buffer = 1, .offset = 1024, .len = 32, .data_off = ADDITION_IN + 32};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};
    struct vgr_cmd_data get = {
        .buffer = 1, .stream = 1, .offset = 2048, .len = 32, .data_off = ADDITION_OUT};
    float *in = (float *)(g->arena + ADDITION_IN);

    for (int i = 0; i < 8; i++) {
        in[i] = 1;
        in[8 + i] = 2;
    }
    memset(g->arena + ADDITION_OUT, 0, 32);
    guest_push(g, &set_a, VGR_CMD_SET, sizeof(set_a));
    guest_push(g, &set_b, VGR_CMD_SET, sizeof(set_b));
    guest_push(g, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
    return guest_push(g, &get, VGR_CMD_GET, sizeof(get));
}

bool addition_right(const struct guest *g)
{
    const float *out = (const float *)(g->arena + ADDITION_OUT);

    for (int i = 0; i < 8; i++) {
        if (out[i] != 3)
            return false;
    }
    return true;
}

void guest_computes(struct guest *g)
{
    addition_define(g);
    CHECK(guest_done(g, addition_run(g)), "a good context fails: error %u %.256s", g->ctl->error,
          g->ctl->error_text);
    CHECK(addition_right(g), "a good context computes a wrong result");
}
