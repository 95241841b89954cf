/* SPDX-License-Identifier: MIT
 *
 * fuzz_worker.c - the commands of one guest, in the ring of a real context, on the CPU backend.
 *
 * Theory of operation
 * -------------------
 *
 * The context is that of worker_rig.h. The input becomes commands (worker_guest.h), in bursts: the
 * fuzzer fills the ring, then the worker's own loop serves it until it would sleep.
 *
 * The first byte of an input chooses how it begins: with a fuzzed hello and dictionary, with commands,
 * or with raw bytes in the ring.
 */
#include "worker_guest.h"

#define BURSTS 16

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    rig_init(1);
    return 0;
}

/* ---- Commands ---- */

/* The worker takes what is in the ring. False if the context is over. */
static bool serve(struct guest *g)
{
    vgr_ring_publish(&g->ring);
    return rig_serve(g->c);
}

static void commands(struct guest *g)
{
    g->c = ready_context(1);
    vgr_ring_producer_init(&g->ring, arena, arena + 4096, RING);
    g->next_block = BLOCKS;
    open_shop(g, 0);
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

    g->c = ready_context(1);
    vgr_ring_producer_init(&g->ring, arena, arena + 4096, RING);
    g->c->ring.head = control()->head = g->ring.head =
        fuzz_rarely(&g->in) ? ~7u - fuzz_u8(&g->in) : 0;
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
    write_hello();
    h = &control()->hello;
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
        FUZZ_CHECK(control()->state == VGR_STATE_FAILED && control()->error);
        return;
    }
    FUZZ_CHECK(control()->state == VGR_STATE_READY);
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
