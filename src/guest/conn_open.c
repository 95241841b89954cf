/* SPDX-License-Identifier: MIT
 *
 * Opening the connection: find a device, make the arena, exchange hello and reply.
 *
 * Nothing in the reply is trusted: it is copied out of the arena once, then checked, then used.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "guest/conn.h"
#include "guest/dict.h"
#include "guest/log.h"
#include "protocol/sys.h"

#define PAGE 4096u

/* An arena has at least room for a small ring, both dictionaries and transfers worth the name. */
#define ARENA_MIN  (1u << 20)
#define ARENA_MAX  (UINT64_C(0xfffff000)) /* offsets have 32 bits */
#define DICT_ROOM  (64u << 10)
#define REPLY_ROOM (64u << 10)

/* Of the arena, for host buffers. */
#define POOL_SHARE 4

#define STARTING_MS 4000
#define READY_MS    60000

/* Sanity bounds for what the host may claim. Streams are 16 bits on the wire. */
#define MAX_HANDLES   65535u
#define MAX_TENSORS   (1u << 20)
#define MAX_KEPT      (1u << 30)
#define MAX_ALIGNMENT (1u << 16)

/* A queue has at least so much of the arena. */
#define QUEUE_MIN (256u << 10)

/* ---- Sizes ---- */

static uint64_t parse_size(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    int shift = 0;

    switch (*end) {
    case 'k':
    case 'K':
        shift = 10;
        break;
    case 'm':
    case 'M':
        shift = 20;
        break;
    case 'g':
    case 'G':
        shift = 30;
        break;
    }
    if (end == text || n > ARENA_MAX >> shift || end[shift ? 1 : 0])
        return 0;
    return (uint64_t)n << shift;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* The size to try first: what the host proposes, or VGR_ARENA, within the limits of both ends. */
static uint64_t first_size(const struct vgr_capset *cap)
{
    const char *env = getenv("VGR_ARENA");
    uint64_t size = cap->arena_default;

    if (env) {
        size = parse_size(env);
        if (!size) {
            vgr_say_warn("VGR_ARENA=%s is not a size (bytes, or with K, M or G)", env);
            size = cap->arena_default;
        }
    }
    if (cap->arena_max)
        size = clamp(size, cap->arena_min, cap->arena_max);
    return clamp(size, ARENA_MIN, ARENA_MAX) & ~(uint64_t)(PAGE - 1);
}

static uint32_t ring_size(uint64_t arena)
{
    uint32_t size = 1u << 20;

    while (size > VGR_RING_MIN && size > arena / 16)
        size /= 2;
    return size;
}

/* ---- Hello ---- */

static int write_hello(struct vgr_conn *c)
{
    struct vgr_control *ctl = (struct vgr_control *)c->transport.arena;
    struct vgr_hello *h = &ctl->hello;
    uint64_t pool;
    int64_t len;

    c->ring_size = ring_size(c->transport.arena_size);

    h->magic = VGR_MAGIC;
    h->version = VGR_PROTOCOL_VERSION;
    h->arena_size = c->transport.arena_size;
    h->ring_off = VGR_CONTROL_SIZE;
    h->ring_size = c->ring_size;
    h->heap_off = h->ring_off + h->ring_size;
    h->dict_off = h->heap_off;
    h->reply_off = c->reply_off = h->dict_off + DICT_ROOM;
    h->reply_cap = REPLY_ROOM;

    len = vgr_names_write(&c->own, c->transport.arena + h->dict_off, DICT_ROOM);
    if (len < 0)
        return (int)len;
    h->dict_len = (uint32_t)len;

    pool = c->transport.arena_size / POOL_SHARE & ~(uint64_t)(VGR_POOL_ALIGN - 1);
    vgr_pool_init(&c->pool, c->transport.arena_size - pool, pool);
    return 0;
}

static int64_t now_ms(void)
{
    return vgr_sys_now() / 1000000;
}

/* Waits until the worker is ready. -EAGAIN: the arena was refused, try a smaller one. */
static int wait_ready(struct vgr_conn *c)
{
    const struct vgr_control *ctl = (const struct vgr_control *)c->transport.arena;
    int64_t start = now_ms();
    int64_t pause = 200000;
    char text[VGR_CONTROL_TEXT];
    const char *what;

    for (;;) {
        uint32_t state = __atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE);
        int64_t waited = now_ms() - start;

        if (state == VGR_STATE_READY)
            return 0;
        if (state == VGR_STATE_FAILED) {
            uint32_t error = ctl->error;

            if (error == VGR_ERROR_ARENA)
                return -EAGAIN;
            vgr_say_clean(text, sizeof(text), ctl->error_text, sizeof(ctl->error_text));
            vgr_say_error("the host refuses: error %u: %s", error, text);
            return -ECONNREFUSED;
        }
        if (c->transport.ops->alive_is_quick && !c->transport.ops->alive(&c->transport)) {
            /* The last word may have been written just before the hang-up. */
            if (__atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_FAILED)
                continue;
            what = "the host hung up";
            break;
        }
        if (state == VGR_STATE_NONE && waited > STARTING_MS) {
            what = "the host does not answer";
            break;
        }
        if (waited > READY_MS) {
            what = "the host takes too long to start";
            break;
        }
        vgr_sys_nap(pause);
        if (pause < 5000000)
            pause *= 2;
    }
    vgr_say_error("%s", what);
    return -ETIMEDOUT;
}

/* ---- Reply ---- */

static bool check_device(struct vgr_device_info *d)
{
    char clean[sizeof(d->description)];

    vgr_say_clean(clean, sizeof(d->name), d->name, sizeof(d->name));
    strcpy(d->name, clean);
    vgr_say_clean(clean, sizeof(d->description), d->description, sizeof(d->description));
    strcpy(d->description, clean);
    return d->alignment && !(d->alignment & (d->alignment - 1)) && d->alignment <= MAX_ALIGNMENT &&
           d->max_size;
}

static int parse_ids(struct vgr_conn *c, const uint8_t *copy)
{
    const struct vgr_reply *r = &c->reply;
    uint32_t len = r->n_devices * (uint32_t)sizeof(c->id[0]);
    char text[sizeof(c->id[0].id)];

    if (!r->ids_off)
        return 0;
    if (r->ids_off < sizeof(*r) || r->ids_off % 8 || r->ids_off > REPLY_ROOM - len)
        return -EPROTO;
    for (uint32_t i = 0; i < r->n_devices; i++) {
        memcpy(text, copy + r->ids_off + i * sizeof(text), sizeof(text));
        vgr_say_clean(c->id[i].id, sizeof(c->id[i].id), text, sizeof(text));
    }
    return 0;
}

static int parse_reply(struct vgr_conn *c, const uint8_t *copy)
{
    struct vgr_reply *r = &c->reply;

    memcpy(r, copy, sizeof(*r));
    if (r->magic != VGR_MAGIC || r->version != VGR_PROTOCOL_VERSION || !r->n_devices ||
        r->n_devices > VGR_MAX_DEVICES || !r->max_buffers || !r->max_streams || !r->max_graphs ||
        !r->max_tensors)
        return -EPROTO;
    if (r->dict_off < sizeof(*r) || r->dict_off % 8 || r->dict_off > REPLY_ROOM ||
        r->dict_len > REPLY_ROOM - r->dict_off ||
        vgr_names_read(&c->host, copy + r->dict_off, r->dict_len))
        return -EPROTO;
    for (uint32_t i = 0; i < r->n_devices; i++) {
        if (!check_device(&r->devices[i]))
            return -EPROTO;
    }
    if (parse_ids(c, copy))
        return -EPROTO;
    r->max_buffers = (uint32_t)clamp(r->max_buffers, 1, MAX_HANDLES);
    r->max_streams = (uint32_t)clamp(r->max_streams, 1, MAX_HANDLES);
    r->max_graphs = (uint32_t)clamp(r->max_graphs, 1, MAX_HANDLES);
    r->max_tensors = (uint32_t)clamp(r->max_tensors, 1, MAX_TENSORS);
    r->max_kept = r->max_kept ? clamp(r->max_kept, 1, MAX_KEPT) : VGR_KEPT_DEFAULT;
    return 0;
}

static int read_reply(struct vgr_conn *c)
{
    uint8_t *copy = malloc(REPLY_ROOM);
    int err;

    if (!copy)
        return -ENOMEM;
    /* Not where the hello says: the host could have changed that by now. */
    memcpy(copy, c->transport.arena + c->reply_off, REPLY_ROOM);
    err = parse_reply(c, copy);
    free(copy);
    if (err)
        vgr_say_error("the host's reply makes no sense");
    return err;
}

/* ---- Queues ---- */

/* The first one last: other devices may have it, too. */
static void free_queues(struct vgr_conn *c)
{
    for (uint32_t i = VGR_MAX_DEVICES; i--;) {
        if (vgr_conn_queue(c, i))
            vgr_queue_free(c->queue[i]);
    }
}

/* Makes the queue of a device in [from, end) of the arena, and tells the host. */
static int open_queue(struct vgr_conn *c, uint32_t device, uint64_t from, uint64_t end)
{
    struct vgr_queue *first = c->queue[0];
    struct vgr_cmd_queue_open cmd = {.h.op = VGR_CMD_QUEUE_OPEN,
                                     .device = device,
                                     .off = (uint32_t)from,
                                     .ring_size = ring_size(end - from)};
    struct vgr_queue *q;

    memset(c->transport.arena + from, 0, VGR_CONTROL_SIZE);
    q = vgr_queue_new(c, device, from, cmd.ring_size, from + VGR_CONTROL_SIZE + cmd.ring_size, end);
    if (!q)
        return -ENOMEM;
    c->queue[device] = q;
    if (vgr_queue_lock(first)) {
        vgr_queue_push(first, &cmd, sizeof(cmd), NULL, 0);
        vgr_queue_unlock(first);
    }
    return 0;
}

/* What the arena has between control page and pool is shared out evenly among the queues. */
static int open_queues(struct vgr_conn *c)
{
    uint64_t from = VGR_CONTROL_SIZE + c->ring_size, room = c->pool.base - from, share;
    uint32_t n = 1, next = 1;
    int err = 0;

    for (uint32_t i = 1; i < c->reply.n_devices; i++)
        n += c->reply.devices[i].flags & VGR_DEVICE_OWN_QUEUE;
    if (n > room / QUEUE_MIN)
        n = room >= QUEUE_MIN ? (uint32_t)(room / QUEUE_MIN) : 1;
    share = n > 1 ? room / n & ~(uint64_t)(PAGE - 1) : room;

    c->queue[0] = vgr_queue_new(c, 0, 0, c->ring_size, from, from + share);
    if (!c->queue[0])
        return -ENOMEM;
    for (uint32_t i = 1; i < c->reply.n_devices && !err; i++) {
        c->queue[i] = c->queue[0];
        if (next < n && c->reply.devices[i].flags & VGR_DEVICE_OWN_QUEUE) {
            err = open_queue(c, i, from + next * share, from + (next + 1) * share);
            next++;
        }
    }
    return err;
}

static int setup(struct vgr_conn *c)
{
    struct vgr_reply *r = &c->reply;
    bool cpu = false;
    int err;

    vgr_names_map(&c->map, &c->own, &c->host);
    err = open_queues(c);
    if (err)
        return err;

    for (uint32_t i = 0; i < r->n_devices; i++)
        cpu |= r->devices[i].type == VGR_DEVICE_CPU;
    for (uint32_t i = 0; i < r->n_devices; i++)
        vgr_waitplan_init(&c->queue[i]->plan, get_nprocs() < 2, cpu);
    /* Queues may name each other once all are there. */
    if (c->queue[0]->sent && !vgr_queue_wait(c->queue[0], c->queue[0]->sent))
        return -ECONNREFUSED;
    return 0;
}

/* ---- Opening ---- */

static int connect_host(struct vgr_transport *t, const struct vgr_host *h)
{
    const char *path = getenv("VGR_DIRECT");

    if (h->node.path[0])
        return vgr_transport_drm(t, &h->node);
    return vgr_transport_direct(t, path ? path : "");
}

/* One attempt with an arena of *size bytes (0: not known yet). -EAGAIN: try half of *size; *ours is the error if
 * it was not to be had here, or 0 if the host did not take it. */
static int attempt(struct vgr_conn *c, uint64_t *size, int *ours)
{
    struct vgr_transport *t = &c->transport;
    int err = connect_host(t, c->to);

    if (err)
        return err;
    if (t->capset.version_min > VGR_PROTOCOL_VERSION ||
        t->capset.version_max < VGR_PROTOCOL_VERSION) {
        vgr_say_error("the host speaks protocol %u to %u, this library %u", t->capset.version_min,
                      t->capset.version_max, VGR_PROTOCOL_VERSION);
        err = -EPROTO;
        goto fail;
    }
    if (!*size)
        *size = first_size(&t->capset);
    err = *ours = t->ops->arena(t, *size);
    if (err == -ETIMEDOUT) {
        vgr_say_error("the host does not answer");
        goto fail;
    }
    if (err) {
        vgr_say_debug("arena of %llu bytes: %s", (unsigned long long)*size, strerror(-err));
        err = -EAGAIN;
        goto fail;
    }
    err = write_hello(c);
    if (!err)
        err = t->ops->open(t);
    if (err) {
        vgr_say_error("cannot open a context on the host: %s", strerror(-err));
        goto fail;
    }
    err = wait_ready(c);
    if (!err)
        err = read_reply(c);
    if (!err)
        return 0;

fail:
    t->ops->close(t);
    return err;
}

static int open_conn(struct vgr_conn *c)
{
    uint64_t size = 0;
    int err, ours = 0;

    vgr_dict_fill(&c->own);
    while ((err = attempt(c, &size, &ours)) == -EAGAIN) {
        uint64_t low = clamp(c->transport.capset.arena_min, ARENA_MIN, ARENA_MAX);

        if (size / 2 < low) {
            if (ours)
                vgr_say_error("no arena, not even one of %llu bytes: %s", (unsigned long long)size,
                              strerror(-ours));
            else
                vgr_say_error("the host refuses every arena down to %llu bytes",
                              (unsigned long long)size);
            return -ENOMEM;
        }
        size = size / 2 & ~(uint64_t)(PAGE - 1);
    }
    if (err)
        return err;
    err = setup(c);
    if (err) {
        free_queues(c);
        c->transport.ops->close(&c->transport);
        return err;
    }
    vgr_say_debug("%s: arena %llu MiB, %u devices, ggml %s on the host", c->transport.ops->name,
                  (unsigned long long)(size >> 20), c->reply.n_devices, c->host.version);
    return 0;
}

struct vgr_conn *vgr_conn_open(struct vgr_host *h)
{
    struct vgr_conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->to = h;
    pthread_mutex_init(&c->pool_lock, NULL);
    pthread_mutex_init(&c->sleep_lock, NULL);
    pthread_cond_init(&c->sleep_cond, NULL);
    if (open_conn(c)) {
        free(c);
        return NULL;
    }
    return c;
}

void vgr_conn_close(struct vgr_conn *c)
{
    c->transport.ops->close(&c->transport);
    free_queues(c);
    pthread_mutex_destroy(&c->pool_lock);
    pthread_mutex_destroy(&c->sleep_lock);
    pthread_cond_destroy(&c->sleep_cond);
    free(c);
}
