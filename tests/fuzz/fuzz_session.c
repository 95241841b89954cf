/* SPDX-License-Identifier: MIT
 *
 * fuzz_session.c - what real programs sent to a worker, changed, on the CPU backend.
 *
 * Theory of operation
 * -------------------
 *
 * fuzz_worker makes up commands; here they come from llama.cpp, from GGML's own suite and from vgr-probe,
 * as `record` has written them down (session.h), weights left out. So the search begins where a program
 * gets to: models loaded, graphs of whole layers, caches, several devices. It changes whole commands
 * and fields of them (session_change.h).
 *
 * Commands go into the rings of their queues in the order of the file. Queues have no threads: one is
 * served when the next command is for another. Then what one waits for of another has been done,
 * or it never comes: such a QUEUE_WAIT is left out, since nobody would ever wake it (fuzz_queues.c has
 * the threads).
 *
 * Graphs with an op that takes wrong numbers in a tensor for addresses (docs/security.md) are defined and
 * never run.
 */
#define ARENA (2u << 20)
#include "session.h"
#include "session_change.h"
#include "worker/graph_build.h"
#include "worker_rig.h"

#define QUEUE_PAGES REPLY /* which nobody needs after the handshake */
#define QUEUE_SIZE  (4096u + RING)
#define BLOCKS      (DATA + (256u << 10)) /* payloads, one after the other */
#define MEMORY      (64u << 20)

static_assert(REPLY + (SESSION_QUEUES - 1) * QUEUE_SIZE <= DATA, "fits");

struct player {
    struct vgr_ctx *c;
    struct vgr_ring_producer ring[SESSION_QUEUES];
    uint32_t queue; /* of the last command */
    uint32_t next_block;
};

static struct vgr_ctx *queue_at(uint32_t number)
{
    return number < VGR_MAX_DEVICES ? shared.queue[number] : NULL;
}

static bool serve(struct player *p, uint32_t queue)
{
    vgr_ring_publish(&p->ring[queue]);
    return rig_serve(queue_at(queue));
}

/* Puts the payload into the heap and the places into the record. */
static bool place(struct player *p, const struct session_command *c, uint8_t *record)
{
    struct session_where w = session_where(record, c->len);
    uint32_t need = c->payload_len > w.len ? c->payload_len : w.len;

    need = need < SESSION_PAYLOAD ? need : SESSION_PAYLOAD;
    if (need > ARENA - p->next_block) {
        if (!serve(p, p->queue))
            return false;
        p->next_block = BLOCKS;
    }
    memset(arena + p->next_block, 0, need);
    memcpy(arena + p->next_block, c->payload, c->payload_len);
    if (w.off && !(c->how & SESSION_AS_IS))
        *w.off = p->next_block;
    /* Never over the rings, whose content is this file's. */
    if (w.reply_off && (!(c->how & SESSION_AS_IS) || (*w.reply_off >= HEAP && *w.reply_off < DATA)))
        *w.reply_off = DATA;
    p->next_block += (need + 7) & ~7u;
    return true;
}

/* The place of a queue is ours to choose, and its ring's size, or nobody here could write into it. */
static void place_queue(struct player *p, struct vgr_cmd_queue_open *m)
{
    if (!m->device || m->device >= SESSION_QUEUES || queue_at(m->device))
        return;
    m->off = QUEUE_PAGES + (m->device - 1) * QUEUE_SIZE;
    m->ring_size = RING;
    memset(arena + m->off, 0, 4096);
    vgr_ring_producer_init(&p->ring[m->device], arena + m->off, arena + m->off + 4096, RING);
}

/* Will it be woken? */
static bool may_wait(const struct vgr_cmd_queue_wait *m)
{
    const struct vgr_ctx *other = queue_at(m->queue);

    return !other || other->done >= m->seq;
}

/* May the graph run? Everything before the RUN has been served. */
static bool may_run(uint32_t queue, const struct vgr_cmd_run *m)
{
    const struct vgr_host_graph *g =
        m->graph <= VGR_CTX_MAX_GRAPHS ? queue_at(queue)->graphs[m->graph] : NULL;

    for (uint32_t i = 0; g && i < g->n_nodes; i++) {
        if (g->tensors[i]->op == GGML_OP_MUL_MAT_ID || g->tensors[i]->op == GGML_OP_SSM_SCAN)
            return false;
    }
    return true;
}

/* False if the context is over. */
static bool play(struct player *p, const struct session_command *c)
{
    uint32_t queue = c->how % SESSION_QUEUES;
    union {
        uint8_t bytes[SESSION_RECORD];
        struct vgr_cmd h;
        struct vgr_cmd_queue_open open;
        struct vgr_cmd_queue_wait wait;
        struct vgr_cmd_run run;
    } r;
    void *at;

    queue = queue_at(queue) ? queue : 0;
    memset(&r, 0, 64); /* its struct, of a shorter record */
    memcpy(&r, c->record, c->len);
    r.h.size = c->len; /* or the worker would find other commands than are here */
    if (queue != p->queue || r.h.op == VGR_CMD_QUEUE_WAIT || r.h.op == VGR_CMD_GRAPH_RUN) {
        if (!serve(p, p->queue))
            return false;
        p->queue = queue;
    }
    if (r.h.op == VGR_CMD_QUEUE_WAIT && !may_wait(&r.wait))
        return true;
    if (r.h.op == VGR_CMD_GRAPH_RUN && !may_run(queue, &r.run))
        return true;
    if (r.h.op == VGR_CMD_QUEUE_OPEN)
        place_queue(p, &r.open);
    if (!place(p, c, r.bytes))
        return false;
    while (!(at = vgr_ring_reserve(&p->ring[queue], c->len))) {
        if (!serve(p, queue))
            return false;
    }
    memcpy(at, &r, c->len);
    vgr_ring_commit(&p->ring[queue], c->len);
    /* What follows may be for the new queue. */
    return r.h.op != VGR_CMD_QUEUE_OPEN || serve(p, queue);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    rig_init(SESSION_QUEUES);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session s;
    static struct player p;

    memset(&p, 0, sizeof(p));
    session_read(&s, data, size);
    p.c = ready_context(s.n_devices);
    p.next_block = BLOCKS;
    shared.memory.limit = MEMORY;
    vgr_ring_producer_init(&p.ring[0], arena, arena + 4096, RING);
    if (!sigsetjmp(gave_up, 0)) {
        uint32_t i = 0;

        while (i < s.n && play(&p, &s.command[i]))
            i++;
        if (i == s.n)
            serve(&p, p.queue);
    }
    free_context(p.c);
    return 0;
}
