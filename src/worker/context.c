/* SPDX-License-Identifier: MIT */
#include "worker/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/ggml_names.h"
#include "protocol/sys.h"

/* Once each WAKE_NS, a wake-up for which there is no memory is tried again. */
#define WAKE_TRIES 100
#define WAKE_NS    INT64_C(1000000)

void vgr_ctx_init(struct vgr_ctx *c, struct vgr_shared *shared, struct vgr_counts_page *counts)
{
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->advanced, NULL);
    pthread_mutex_init(&c->running, NULL);
    shared->counts = counts;
    shared->queue[0] = c;
    c->shared = shared;
    c->memory = &shared->memory;
    c->counts = counts;
    c->serves = UINT32_MAX;
}

void vgr_ctx_wake(struct vgr_ctx *c)
{
    vgr_counts_add(c->counts, VGR_COUNTER_WAKEUPS, 1);
    /* Not send(), which the sandbox has no need to allow. A full line has a wake-up waiting in it, and at the
     * other end of a closed one there is no guest. What there is no memory for now is not lost: the guest may
     * sleep. */
    for (int i = 0; VGR_SYS_AGAIN(write(c->shared->line_fd, "", 1)) < 0; i++) {
        if (errno == EAGAIN || errno == EPIPE)
            return;
        if ((errno != ENOMEM && errno != ENOBUFS) || i == WAKE_TRIES) {
            vgr_warn("cannot wake the guest: %m");
            return;
        }
        vgr_sys_nap(WAKE_NS);
    }
}

int vgr_ctx_fail(struct vgr_ctx *c, enum vgr_error code, const char *fmt, ...)
{
    struct vgr_control *ctl = vgr_arena_control(&c->arena);
    char text[VGR_CONTROL_TEXT] = {0}; /* all of it goes to the guest */
    int alive = VGR_CTX_ALIVE;
    va_list ap;

    if (!__atomic_compare_exchange_n(&c->shared->failed, &alive, VGR_CTX_FAILING, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return -1;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (c->number)
        vgr_error("context ends at command %llu of queue %u: %s", (unsigned long long)c->ring.seq,
                  c->number, text);
    else
        vgr_error("context ends at command %llu: %s", (unsigned long long)c->ring.seq, text);

    memcpy(ctl->error_text, text, sizeof(text));
    ctl->error_seq = c->ring.seq;
    ctl->error = code;
    __atomic_store_n(&ctl->state, VGR_STATE_FAILED, __ATOMIC_SEQ_CST);
    vgr_ctx_wake(c);
    __atomic_store_n(&c->shared->failed, VGR_CTX_FAILED, __ATOMIC_RELEASE);
    return -1;
}

void vgr_ctx_sync(struct vgr_ctx *c)
{
    bool waits = c->dirty;

    if (waits)
        vgr_counts_begin(c->counts, VGR_COUNTER_COMPUTING);
    for (uint32_t i = 1; c->dirty && i <= VGR_CTX_MAX_STREAMS; i++) {
        struct vgr_host_stream *s = &c->streams[i];

        if (!s->dirty)
            continue;
        ggml_backend_synchronize(s->backend);
        vgr_counts_add(c->counts, VGR_COUNTER_SYNCS, 1);
        s->dirty = false;
        c->dirty--;
    }
    if (waits) {
        vgr_counts_end(c->counts, VGR_COUNTER_COMPUTING);
        vgr_counts_in_flight(c->counts, 0);
    }
    for (uint32_t i = 0; i < c->backends.n; i++)
        c->backends.device[i].staging_used = 0;
    c->routed = 0;
}

void vgr_ctx_order(struct vgr_ctx *c, uint32_t stream)
{
    if (!stream || (c->routed && c->routed != stream))
        vgr_ctx_sync(c);
}

void vgr_ctx_mark_dirty(struct vgr_ctx *c, struct vgr_host_stream *s)
{
    if (s->dirty || !c->backends.device[s->device].async)
        return;
    s->dirty = true;
    c->dirty++;
}

const void *vgr_ctx_payload(struct vgr_ctx *c, uint32_t off, uint32_t len)
{
    const void *src = vgr_arena_heap(&c->arena, off, len);

    if (!src || off % 8) {
        vgr_ctx_fail(c, VGR_ERROR_RANGE, "payload at %u of %u bytes is not in the heap", off, len);
        return NULL;
    }
    if (len > VGR_CTX_MAX_PAYLOAD) {
        vgr_ctx_fail(c, VGR_ERROR_LIMIT, "a payload of %u bytes: the most is %u", len,
                     VGR_CTX_MAX_PAYLOAD);
        return NULL;
    }
    if (!c->payload || len > c->payload_cap) {
        void *p = realloc(c->payload, len ? len : 1);

        if (!p) {
            vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for a payload of %u bytes", len);
            return NULL;
        }
        c->payload = p;
        c->payload_cap = len;
    }
    if (len)
        memcpy(c->payload, src, len);
    return c->payload;
}

int vgr_ctx_device(struct vgr_ctx *c, uint32_t device)
{
    if (device >= c->backends.n)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no device %u", device);
    if (!(c->serves >> device & 1))
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "device %u has another queue", device);
    return 0;
}

struct vgr_host_buffer *vgr_ctx_buffer(struct vgr_ctx *c, uint32_t handle)
{
    if (!handle || handle > VGR_CTX_MAX_BUFFERS || !c->buffers[handle].buffer) {
        vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no buffer %u", handle);
        return NULL;
    }
    return &c->buffers[handle];
}

struct vgr_host_stream *vgr_ctx_stream(struct vgr_ctx *c, uint32_t handle)
{
    if (!handle || handle > VGR_CTX_MAX_STREAMS || !c->streams[handle].backend) {
        vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no stream %u", handle);
        return NULL;
    }
    return &c->streams[handle];
}

/* ---- Handshake ---- */

/* Checks the private copy of the hello against the arena. */
static int check_hello(struct vgr_ctx *c)
{
    const struct vgr_hello *h = &c->hello;

    if (h->magic != VGR_MAGIC)
        return vgr_ctx_fail(c, VGR_ERROR_HELLO, "the hello has no magic");
    if (h->version != VGR_PROTOCOL_VERSION)
        return vgr_ctx_fail(c, VGR_ERROR_VERSION,
                            "the guest speaks protocol version %u, this host version %u",
                            h->version, VGR_PROTOCOL_VERSION);
    if (h->arena_size != c->arena.size || h->arena_size > UINT32_MAX)
        return vgr_ctx_fail(c, VGR_ERROR_ARENA,
                            "the hello says an arena of %llu bytes, it has %llu",
                            (unsigned long long)h->arena_size, (unsigned long long)c->arena.size);
    if (h->ring_size < VGR_RING_MIN || h->ring_size > VGR_RING_MAX ||
        (h->ring_size & (h->ring_size - 1)) || h->ring_off % 4096 ||
        h->ring_off < VGR_CONTROL_SIZE || h->ring_off > h->arena_size ||
        h->ring_size > h->arena_size - h->ring_off)
        return vgr_ctx_fail(c, VGR_ERROR_HELLO, "the ring does not fit the arena");
    if (h->heap_off % 4096 || h->heap_off < h->ring_off + h->ring_size ||
        h->heap_off >= h->arena_size)
        return vgr_ctx_fail(c, VGR_ERROR_HELLO, "the heap does not fit the arena");
    return 0;
}

static int read_dictionary(struct vgr_ctx *c)
{
    static struct vgr_names guest;
    const void *dict;

    if (c->hello.dict_len >
        sizeof(struct vgr_dict) + VGR_DICT_MAX_ENTRIES * sizeof(struct vgr_dict_entry))
        return vgr_ctx_fail(c, VGR_ERROR_HELLO, "the dictionary is too long");
    dict = vgr_ctx_payload(c, c->hello.dict_off, c->hello.dict_len);
    if (!dict)
        return -1;
    if (vgr_names_read(&guest, dict, c->hello.dict_len))
        return vgr_ctx_fail(c, VGR_ERROR_HELLO, "the dictionary is malformed");

    vgr_ggml_names(&c->names);
    vgr_names_map(&c->map, &guest, &c->names);
    vgr_info("guest with GGML %s on host with GGML %s", guest.version, c->names.version);
    return 0;
}

static int write_reply(struct vgr_ctx *c)
{
    size_t dict_len = vgr_names_size(&c->names);
    size_t ids_off = sizeof(struct vgr_reply) + ((dict_len + 7) & ~(size_t)7);
    size_t len = ids_off + c->backends.n * sizeof(struct vgr_device_id);
    uint8_t *at = vgr_arena_heap(&c->arena, c->hello.reply_off, c->hello.reply_cap);
    struct vgr_device_id id;
    struct vgr_reply r = {
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .n_devices = c->backends.n,
        .max_buffers = VGR_CTX_MAX_BUFFERS,
        .max_streams = VGR_CTX_MAX_STREAMS,
        .max_graphs = VGR_CTX_MAX_GRAPHS,
        .max_tensors = VGR_CTX_MAX_TENSORS,
        .max_kept = VGR_CTX_MAX_KEPT,
        .dict_off = sizeof(r),
        .dict_len = (uint32_t)dict_len,
        .ids_off = (uint32_t)ids_off,
    };

    if (!at || c->hello.reply_off % 8 || len > c->hello.reply_cap)
        return vgr_ctx_fail(c, VGR_ERROR_HELLO, "no room for a reply of %zu bytes", len);
    for (uint32_t i = 0; i < c->backends.n; i++) {
        struct vgr_device_info *d = &r.devices[i];

        vgr_backends_describe(&c->backends, i, d);
        vgr_memory_clamp(c->memory, &d->memory_free, &d->memory_total);
        vgr_backends_id(&c->backends, i, &id);
        memcpy(at + ids_off + i * sizeof(id), &id, sizeof(id));
    }
    memcpy(at, &r, sizeof(r));
    if (vgr_names_write(&c->names, at + sizeof(r), dict_len) < 0)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "cannot write the dictionary");
    return 0;
}

int vgr_ctx_handshake(struct vgr_ctx *c)
{
    struct vgr_control *ctl = vgr_arena_control(&c->arena);

    memcpy(&c->hello, &ctl->hello, sizeof(c->hello));
    if (check_hello(c))
        return -1;
    c->arena.heap_off = c->hello.heap_off;
    if (read_dictionary(c) || write_reply(c))
        return -1;

    c->record = malloc(c->hello.ring_size / 4);
    if (!c->record)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for the ring");
    vgr_ring_consumer_init(&c->ring, c->arena.base, c->arena.base + c->hello.ring_off,
                           c->hello.ring_size);

    __atomic_store_n(&ctl->state, VGR_STATE_READY, __ATOMIC_SEQ_CST);
    vgr_ctx_wake(c);
    return 0;
}
