/* SPDX-License-Identifier: MIT
 *
 * session.h - what a guest sent, as a file: the inputs of fuzz_session, which `record` writes.
 *
 * A file is the number of the host's devices (1 byte), then commands, in the order in which a worker ran
 * them:
 *
 *   how       1 byte: the queue, and SESSION_AS_IS
 *   lengths   of the record and of its payload, 7 bits a byte, the lowest first, the top bit: more follow
 *   bytes     the record, then the payload, as tokens
 *
 * A token is a byte, literals (0..7) << 5 | zeros (0..31), then the literals; 31 zeros are followed by
 * 2 bytes that say how many more. Tensors are mostly zeros, so these files are a fifth of what they
 * stand for.
 *
 * The payload is what the guest had put into the heap for the command. Where it lies is not kept: who
 * replays a file puts it somewhere and corrects the record. Sizes and offsets of SESSION_AS_IS are left
 * alone.
 *
 * Any bytes are a file: what makes no command ends it.
 */
#ifndef VGR_FUZZ_SESSION_H
#define VGR_FUZZ_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/wire.h"

#define SESSION_QUEUES   3u
#define SESSION_AS_IS    0x80u
#define SESSION_COMMANDS 1024u
#define SESSION_RECORD   4096u /* at most, of a command */
#define SESSION_PAYLOAD  (256u << 10)

/* Lengths of more commands, and bytes of all together, do not fit. */
struct session_command {
    uint8_t how;
    uint32_t len, payload_len; /* len is a multiple of 8 */
    uint8_t *record;           /* 8-aligned, begins with struct vgr_cmd; the payload follows it */
    uint8_t *payload;
};

struct session {
    uint8_t n_devices;
    uint32_t n;
    struct session_command command[SESSION_COMMANDS];
    size_t used;
    _Alignas(8) uint8_t pool[1u << 20];
};

/* Room for a command at the end, or NULL: there is none. The caller fills it. */
static inline struct session_command *session_add(struct session *s, uint8_t how, uint32_t len,
                                                  uint32_t payload_len)
{
    struct session_command *c = &s->command[s->n];
    size_t need = (len + 7) / 8 * 8 + ((size_t)payload_len + 7) / 8 * 8;

    if (len < sizeof(struct vgr_cmd) || len > SESSION_RECORD || len % 8 ||
        payload_len > SESSION_PAYLOAD || s->n == SESSION_COMMANDS ||
        need > sizeof(s->pool) - s->used)
        return NULL;
    *c =
        (struct session_command){how, len, payload_len, s->pool + s->used, s->pool + s->used + len};
    s->used += need;
    s->n++;
    return c;
}

/* ---- Reading ---- */

struct session_reader {
    const uint8_t *p, *end;
};

static inline uint8_t session_byte(struct session_reader *r)
{
    return r->p < r->end ? *r->p++ : 0;
}

static inline uint32_t session_length(struct session_reader *r)
{
    uint32_t v = 0;
    uint8_t b;

    for (int shift = 0; shift < 28; shift += 7) {
        b = session_byte(r);
        v |= (b & 0x7fu) << shift;
        if (!(b & 0x80))
            break;
    }
    return v;
}

static inline void session_bytes(struct session_reader *r, uint8_t *to, size_t len)
{
    memset(to, 0, len);
    for (size_t at = 0; at < len && r->p < r->end;) {
        uint8_t token = *r->p++;
        size_t zeros = token & 31;

        for (int i = token >> 5; i && at < len; i--)
            to[at++] = session_byte(r);
        if (zeros == 31) {
            zeros += session_byte(r);
            zeros += (size_t)session_byte(r) << 8;
        }
        at += zeros;
    }
}

static inline void session_read(struct session *s, const uint8_t *data, size_t size)
{
    struct session_reader r = {data, data + size};

    s->n = 0;
    s->used = 0;
    s->n_devices = (uint8_t)(session_byte(&r) % SESSION_QUEUES);
    s->n_devices = s->n_devices ? s->n_devices : SESSION_QUEUES;
    while (r.p < r.end) {
        uint8_t how = session_byte(&r);
        uint32_t len = session_length(&r), payload_len = session_length(&r);
        struct session_command *c = session_add(s, how, len, payload_len);

        if (!c)
            return;
        session_bytes(&r, c->record, (size_t)len + payload_len);
    }
}

/* ---- Writing: returns the length, at most `cap`; commands that do not fit are left out ---- */

struct session_writer {
    uint8_t *p;
    size_t at, cap;
};

static inline void session_put(struct session_writer *w, uint8_t b)
{
    if (w->at < w->cap)
        w->p[w->at] = b;
    w->at++;
}

static inline void session_put_length(struct session_writer *w, uint32_t v)
{
    for (; v >= 0x80; v >>= 7)
        session_put(w, (uint8_t)(v | 0x80));
    session_put(w, (uint8_t)v);
}

static inline void session_put_bytes(struct session_writer *w, const uint8_t *from, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t lits = 0, zeros = 0, more;

        while (at + lits < len && lits < 7 && from[at + lits])
            lits++;
        while (at + lits + zeros < len && zeros < 31 + 0xffff && !from[at + lits + zeros])
            zeros++;
        more = zeros < 31 ? 0 : zeros - 31;
        session_put(w, (uint8_t)(lits << 5 | (zeros - more)));
        for (size_t i = 0; i < lits; i++)
            session_put(w, from[at + i]);
        if (zeros >= 31) {
            session_put(w, (uint8_t)more);
            session_put(w, (uint8_t)(more >> 8));
        }
        at += lits + zeros;
    }
}

static inline size_t session_write(const struct session *s, uint8_t *to, size_t cap)
{
    struct session_writer w = {to, 0, cap};

    session_put(&w, s->n_devices);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct session_command *c = &s->command[i];
        size_t before = w.at;

        session_put(&w, c->how);
        session_put_length(&w, c->len);
        session_put_length(&w, c->payload_len);
        session_put_bytes(&w, c->record, (size_t)c->len + c->payload_len);
        if (w.at > cap)
            w.at = before;
    }
    return w.at < cap ? w.at : cap;
}

/* ---- What commands are about ---- */

/* The payload of a command in the heap of its guest: where its record says that, and how long it is. */
struct session_where {
    uint32_t *off;
    uint32_t len;
    uint32_t *reply_off; /* NULL: it has no reply */
};

/* Of a record of `len` bytes. Pointers are NULL where there is no such thing. */
static inline struct session_where session_where(void *record, uint32_t len)
{
    struct vgr_cmd *h = record;
    struct vgr_cmd_data *data = record;
    struct vgr_cmd_graph *graph = record;
    struct vgr_cmd_query_op *op = record;
    struct vgr_cmd_query_order *order = record;
    struct vgr_cmd_query_memory *memory = record;
    struct vgr_cmd_alloc *alloc = record;

    if (h->op == VGR_CMD_SET && len >= sizeof(*data))
        return (struct session_where){&data->data_off, data->len, NULL};
    if (h->op == VGR_CMD_GET && len >= sizeof(*data))
        return (struct session_where){NULL, 0, &data->data_off};
    if ((h->op == VGR_CMD_GRAPH_DEFINE || h->op == VGR_CMD_GRAPH_PATCH) && len >= sizeof(*graph))
        return (struct session_where){&graph->data_off, graph->data_len, NULL};
    if (h->op == VGR_CMD_QUERY_OP && len >= sizeof(*op))
        return (struct session_where){&op->data_off, op->data_len, &op->reply_off};
    if (h->op == VGR_CMD_QUERY_ORDER && len >= sizeof(*order))
        return (struct session_where){&order->data_off, order->data_len, &order->reply_off};
    if (h->op == VGR_CMD_QUERY_MEMORY && len >= sizeof(*memory))
        return (struct session_where){NULL, 0, &memory->reply_off};
    if (h->op == VGR_CMD_BUFFER_ALLOC && len >= sizeof(*alloc))
        return (struct session_where){NULL, 0, &alloc->reply_off};
    return (struct session_where){0};
}

#endif
