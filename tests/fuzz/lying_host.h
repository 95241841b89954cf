/* SPDX-License-Identifier: MIT
 *
 * lying_host.h - the host of fuzz_guest: a transport whose other end is this thread.
 *
 * It takes commands from the ring and answers as the input says: mostly as an honest host would, now
 * and then with any bytes, a `done` or a `head` from nowhere, a state, a text without an end, a hello
 * that is not what the guest wrote. When the input is used up it is honest, so nothing waits for ever.
 * The arena is plain heap memory: whoever reads outside of it is seen.
 *
 * Where `queues` is set the second device may have a queue of its own, whose ring, `done` and `head` are
 * this host's in the same way. That the guest opens it where nothing else lies, and lets no queue wait for
 * what it has not sent, is checked.
 */
#ifndef VGR_FUZZ_LYING_HOST_H
#define VGR_FUZZ_LYING_HOST_H

#include <errno.h>

#include "fuzz.h"
#include "guest/conn.h"
#include "honest_reply.h"

#define ARENA_MAX (4u << 20)
#define QUEUES    VGR_MAX_DEVICES

static struct fuzz_in in;
static struct host {
    bool good;   /* this handshake is honest */
    bool queues; /* this connection may have several */
    uint8_t *arena;
    uint64_t size;
    struct vgr_hello hello;
    struct vgr_ring_consumer ring[QUEUES]; /* size 0: not open */
    uint64_t awaited[QUEUES];              /* by QUEUE_WAITs of others */
    uint64_t record[(1u << 20) / 8 / 4];
} host;

static struct vgr_control *control(void)
{
    return (struct vgr_control *)host.arena;
}

/* Any bytes, somewhere in `len` bytes at `p`. */
static void scribble(void *p, size_t len)
{
    size_t at = fuzz_u16(&in) % len, n = fuzz_below(&in, 16) + 1;

    fuzz_bytes(&in, (uint8_t *)p + at, n < len - at ? n : len - at);
}

static void host_replies(void)
{
    struct vgr_reply *r = honest_reply(host.arena, &host.hello, 2);

    for (uint32_t i = 0; i < 2; i++) {
        r->devices[i] = (struct vgr_device_info){
            .type = i, .alignment = 64, .max_size = 1ull << 32, .memory_total = 1ull << 32};
        if (i && host.queues)
            r->devices[i].flags = VGR_DEVICE_OWN_QUEUE;
        snprintf(r->devices[i].name, sizeof(r->devices[i].name), "Fuzz%u", i);
        strcpy(r->devices[i].description, "a host that lies");
    }
}

static int host_arena(struct vgr_transport *t, uint64_t size)
{
    if (size > ARENA_MAX)
        return -ENOMEM;
    t->arena = aligned_alloc(4096, size);
    memset(t->arena, 0, size);
    t->arena_size = size;
    return 0;
}

static int host_open(struct vgr_transport *t)
{
    struct vgr_control *ctl;

    host.arena = t->arena;
    host.size = t->arena_size;
    ctl = control();
    host.hello = ctl->hello;
    FUZZ_CHECK(host.hello.arena_size == host.size && host.hello.reply_off < host.size);
    memset(host.ring, 0, sizeof(host.ring));
    memset(host.awaited, 0, sizeof(host.awaited));
    vgr_ring_consumer_init(&host.ring[0], host.arena, host.arena + host.hello.ring_off,
                           host.hello.ring_size);
    host_replies();
    ctl->state = VGR_STATE_READY;
    ctl->asleep = 1;
    if (host.good)
        return 0;
    for (uint32_t n = fuzz_below(&in, 8); n; n--) {
        switch (fuzz_below(&in, 4)) {
        case 0:
            scribble(ctl, sizeof(*ctl));
            break;
        case 1:
            scribble(host.arena + host.hello.reply_off, sizeof(struct vgr_reply));
            break;
        case 2:
            scribble(host.arena + host.hello.reply_off + sizeof(struct vgr_reply), 2048);
            break;
        default: /* one word of the reply */
            *(uint32_t *)(host.arena + host.hello.reply_off + 4 * fuzz_below(&in, 10)) =
                (uint32_t)fuzz_size(&in);
        }
    }
    return fuzz_rarely(&in) ? -EIO : 0;
}

static void open_queue(const struct vgr_cmd_queue_open *m)
{
    FUZZ_CHECK(m->device && m->device < QUEUES && !host.ring[m->device].size);
    FUZZ_CHECK(m->off >= host.hello.heap_off && m->off % VGR_CONTROL_SIZE == 0);
    FUZZ_CHECK(m->ring_size >= VGR_RING_MIN && m->ring_size <= VGR_RING_MAX &&
               !(m->ring_size & (m->ring_size - 1)));
    FUZZ_CHECK(m->off < host.size && m->ring_size < host.size - m->off - VGR_CONTROL_SIZE);
    vgr_ring_consumer_init(&host.ring[m->device], host.arena + m->off,
                           host.arena + m->off + VGR_CONTROL_SIZE, m->ring_size);
    host.ring[m->device].ctl->asleep = 1;
}

/* What queues have to do with each other. */
static void between_queues(uint32_t queue, const struct vgr_cmd *h)
{
    const struct vgr_cmd_queue_wait *wait = (const struct vgr_cmd_queue_wait *)h;
    const struct vgr_cmd_copy *copy = (const struct vgr_cmd_copy *)h;

    if (h->op == VGR_CMD_QUEUE_OPEN) {
        FUZZ_CHECK(!queue);
        open_queue((const struct vgr_cmd_queue_open *)h);
    } else if (h->op == VGR_CMD_QUEUE_WAIT) {
        FUZZ_CHECK(wait->queue < QUEUES && wait->queue != queue && host.ring[wait->queue].size);
        if (host.awaited[wait->queue] < wait->seq)
            host.awaited[wait->queue] = wait->seq;
    } else if (h->op == VGR_CMD_COPY) {
        FUZZ_CHECK(copy->src_queue < QUEUES && host.ring[copy->src_queue].size);
    }
}

/* The answer to one command, at the place that it names. */
static void answer(const struct vgr_cmd *h)
{
    union {
        struct vgr_alloc_reply alloc;
        struct vgr_query_reply op;
        struct vgr_memory_reply memory;
        struct {
            uint32_t answer, reserved, node[16]; /* struct vgr_order_reply */
        } order;
        uint8_t bytes[72];
    } a = {0};
    bool honest = !fuzz_rarely(&in);
    uint32_t off, len;

    switch (h->op) {
    case VGR_CMD_BUFFER_ALLOC:
        off = ((const struct vgr_cmd_alloc *)h)->reply_off;
        len = sizeof(a.alloc);
        a.alloc = (struct vgr_alloc_reply){1, 0, ((const struct vgr_cmd_alloc *)h)->size};
        break;
    case VGR_CMD_QUERY_OP:
        off = ((const struct vgr_cmd_query_op *)h)->reply_off;
        len = sizeof(a.op);
        a.op = (struct vgr_query_reply){1, 1, fuzz_below(&in, 4) ? 0 : fuzz_size(&in)};
        break;
    case VGR_CMD_QUERY_MEMORY:
        off = ((const struct vgr_cmd_query_memory *)h)->reply_off;
        len = sizeof(a.memory);
        a.memory = (struct vgr_memory_reply){1, 2};
        break;
    case VGR_CMD_QUERY_ORDER:
        off = ((const struct vgr_cmd_query_order *)h)->reply_off;
        len = sizeof(struct vgr_order_reply);
        a.order.answer = fuzz_mostly(&in, 3);
        if (a.order.answer == VGR_ORDER_CHANGED) { /* two change places */
            uint32_t i = fuzz_below(&in, 16), j = fuzz_below(&in, 16);

            for (uint32_t k = 0; k < 16; k++)
                a.order.node[k] = k == i ? j : k == j ? i : k;
            len += 4 * 8;
        }
        break;
    case VGR_CMD_GET:
        off = ((const struct vgr_cmd_data *)h)->data_off;
        len = ((const struct vgr_cmd_data *)h)->len;
        FUZZ_CHECK(off >= host.hello.heap_off && off <= host.size && len <= host.size - off);
        memset(host.arena + off, 0x5a, len);
        return;
    default:
        return;
    }
    if (!honest)
        fuzz_bytes(&in, a.bytes, len);
    FUZZ_CHECK(off >= host.hello.heap_off && off <= host.size && len <= host.size - off);
    memcpy(host.arena + off, &a, len);
}

static void take_commands(uint32_t queue)
{
    struct vgr_ring_consumer *r = &host.ring[queue];
    struct vgr_cmd *h = (struct vgr_cmd *)host.record;
    int n;

    while ((n = vgr_ring_next(r, host.record, r->size / 4)) > 0) {
        between_queues(queue, h);
        answer(h);
        vgr_ring_release(r);
    }
    FUZZ_CHECK(n == 0); /* the guest's ring is in order, whatever the host does */
    __atomic_store_n(&r->ctl->done, r->seq, __ATOMIC_SEQ_CST);
    r->ctl->asleep = 1;
}

/* The host's turn: what is in the rings, then the words of a control page. */
static void host_works(void)
{
    struct vgr_control *ctl = control();
    uint32_t queue = 0;

    for (uint32_t i = 0; i < QUEUES; i++) {
        if (host.ring[i].size)
            take_commands(i);
    }
    for (uint32_t i = 0; i < QUEUES; i++)
        FUZZ_CHECK(host.awaited[i] <= host.ring[i].seq);
    if (!fuzz_rarely(&in))
        return;
    if (host.ring[1].size && fuzz_below(&in, 2)) {
        queue = 1;
        ctl = host.ring[1].ctl;
    }
    switch (fuzz_below(&in, 6)) {
    case 0:
        ctl->done = fuzz_below(&in, 2) ? host.ring[queue].seq - fuzz_u8(&in) : fuzz_size(&in);
        break;
    case 1:
        ctl->head = fuzz_below(&in, 2) ? host.ring[queue].head - fuzz_u16(&in) : fuzz_u32(&in);
        break;
    case 2:
        ctl->error = fuzz_mostly(&in, VGR_ERROR_INTERNAL + 1);
        memset(ctl->error_text, fuzz_u8(&in), sizeof(ctl->error_text));
        ctl->state = fuzz_mostly(&in, 4);
        break;
    case 3:
        scribble(&ctl->hello, sizeof(ctl->hello));
        break;
    case 4:
        ctl->asleep = fuzz_u32(&in);
        break;
    default:
        scribble(host.arena + host.hello.heap_off, host.size - host.hello.heap_off);
    }
}

static int host_doorbell(struct vgr_transport *t)
{
    if (t->arena == host.arena)
        host_works();
    return fuzz_rarely(&in) && fuzz_rarely(&in) ? -EIO : 0;
}

static void host_sleep(struct vgr_transport *t, int64_t timeout_ns)
{
    if (t->arena == host.arena)
        host_works();
}

/* Asked while the guest waits for a reply that is there or will never be. */
static bool host_alive(struct vgr_transport *t)
{
    return false;
}

static void host_drop(struct vgr_transport *t)
{
    if (t->arena == host.arena)
        host.arena = NULL;
    free(t->arena);
    t->arena = NULL;
}

static const struct vgr_transport_ops host_ops = {
    .name = "fuzz",
    .alive_is_quick = true,
    .sleep_is_cheap = true,
    .arena = host_arena,
    .open = host_open,
    .doorbell = host_doorbell,
    .sleep = host_sleep,
    .alive = host_alive,
    .drop = host_drop,
    .close = host_drop,
};

int vgr_transport_direct(struct vgr_transport *t, const char *path)
{
    *t = (struct vgr_transport){.ops = &host_ops, .fd = -1, .line = -1, .workers = -1};
    t->capset = (struct vgr_capset){
        .magic = VGR_MAGIC,
        .version_min = VGR_PROTOCOL_VERSION,
        .version_max = VGR_PROTOCOL_VERSION,
        .arena_min = 1u << 20,
        .arena_max = 1u << 20,
        .arena_default = 1u << 20,
    };
    if (!host.good && fuzz_rarely(&in))
        scribble(&t->capset, sizeof(t->capset));
    return 0;
}

#endif
