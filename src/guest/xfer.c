/* SPDX-License-Identifier: MIT */
#include "guest/xfer.h"

#include <string.h>

#include "guest/log.h"

/* Do the rows lie in their buffer? */
static bool inside(const struct vgr_rows *r)
{
    static bool told;
    size_t end = 0;

    if (!r->n || !r->size ||
        (r->buffer && !__builtin_mul_overflow(r->n - 1, r->stride, &end) &&
         !__builtin_add_overflow(end, r->size, &end) && end <= r->room))
        return true;
    if (r->buffer && !__atomic_exchange_n(&told, true, __ATOMIC_RELAXED))
        vgr_say_error("a transfer of %zu rows of %zu bytes extends past the end of its buffer",
                      r->n, r->size);
    return false;
}

/* Rows that touch are one row. */
static void join_rows(struct vgr_rows *r)
{
    if (r->n > 1 && r->stride == r->size && r->pitch == r->size) {
        r->size *= r->n;
        r->n = 1;
    }
}

static struct vgr_cmd_data command(const struct vgr_rows *r, enum vgr_cmd_op op, uint64_t offset,
                                   size_t len)
{
    return (struct vgr_cmd_data){
        .h.op = (uint16_t)op,
        .buffer = r->buffer,
        .stream = r->stream,
        .offset = offset,
        .len = (uint32_t)len,
    };
}

/* Copying so little costs less than keeping track of it. */
#define BORROW_MIN (64u << 10)

/* Transfers `len` bytes by a command that names the program's own memory, if that lies in a host
 * buffer. Returns the command's number; 0: not possible. */
static uint64_t in_place(struct vgr_queue *q, const struct vgr_rows *r, enum vgr_cmd_op op,
                         uint64_t offset, const uint8_t *data, size_t len)
{
    struct vgr_cmd_data cmd = command(r, op, offset, len);
    uintptr_t at = (uintptr_t)data - (uintptr_t)q->conn->transport.arena;
    uint64_t seq;

    if (at < q->conn->pool.base || at - q->conn->pool.base >= q->conn->pool.size ||
        len > q->conn->pool.size - (at - q->conn->pool.base))
        return 0;
    cmd.data_off = (uint32_t)at;
    seq = vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    __atomic_store_n(&q->pool_seq, seq, __ATOMIC_RELAXED);
    vgr_count(q->conn->counters.in_place_bytes, len);
    return seq;
}

static bool set_piece(struct vgr_queue *q, const struct vgr_rows *r, uint64_t offset,
                      const uint8_t *data, size_t len)
{
    struct vgr_cmd_data cmd = command(r, VGR_CMD_SET_INLINE, offset, len);
    uint32_t block;
    uint64_t seq;
    void *p;

    if (len <= VGR_QUEUE_INLINE) {
        vgr_count(q->conn->counters.upload_bytes, len);
        return vgr_queue_push(q, &cmd, sizeof(cmd), data, (uint32_t)len);
    }
    p = vgr_queue_alloc(q, len, &cmd.data_off, &block);
    if (!p)
        return false;
    memcpy(p, data, len);
    cmd.h.op = VGR_CMD_SET;
    seq = vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_sent(q, block, len, seq);
    return seq;
}

uint64_t vgr_xfer_set(struct vgr_queue *q, struct vgr_rows r, const void *data)
{
    size_t piece = vgr_heap_piece(&q->heap);
    uint64_t borrowed = 0;

    if (!r.size || !inside(&r) || !vgr_queue_lock(q))
        return 0;
    join_rows(&r);
    for (size_t i = 0; i < r.n; i++) {
        const uint8_t *row = (const uint8_t *)data + i * r.pitch;
        uint64_t offset = r.offset + i * r.stride, seq = 0;

        if (r.borrow && r.size >= BORROW_MIN)
            seq = in_place(q, &r, VGR_CMD_SET, offset, row, r.size);
        if (seq) {
            borrowed = seq;
            vgr_count(q->conn->counters.upload_bytes, r.size);
            vgr_queue_publish(q);
            continue;
        }
        for (size_t at = 0; at < r.size; at += piece) {
            size_t len = r.size - at < piece ? r.size - at : piece;

            if (!set_piece(q, &r, offset + at, row + at, len)) {
                vgr_queue_unlock(q);
                return borrowed;
            }
            vgr_queue_publish_early(q);
        }
    }
    vgr_queue_unlock(q);
    return borrowed;
}

static uint64_t get_piece(struct vgr_queue *q, const struct vgr_rows *r, uint64_t offset,
                          uint8_t *data, size_t len)
{
    struct vgr_cmd_data cmd = command(r, VGR_CMD_GET, offset, len);
    uint32_t block;

    if (!vgr_queue_alloc(q, len, &cmd.data_off, &block))
        return 0;
    return vgr_queue_get(q, &cmd, sizeof(cmd), block, cmd.data_off, (uint32_t)len, data);
}

uint64_t vgr_xfer_get(struct vgr_queue *q, struct vgr_rows r, void *data)
{
    size_t piece = vgr_heap_piece(&q->heap);
    uint64_t seq = 0;
    bool ok = inside(&r) && vgr_queue_lock(q), locked = ok;

    join_rows(&r);
    for (size_t i = 0; i < r.n; i++) {
        uint8_t *row = (uint8_t *)data + i * r.pitch;
        uint64_t offset = r.offset + i * r.stride, direct = 0;

        if (ok && r.size)
            direct = in_place(q, &r, VGR_CMD_GET, offset, row, r.size);
        if (direct) {
            seq = direct;
            vgr_count(q->conn->counters.download_bytes, r.size);
            continue;
        }
        for (size_t at = 0; at < r.size; at += piece) {
            size_t len = r.size - at < piece ? r.size - at : piece;

            uint64_t sent = ok ? get_piece(q, &r, offset + at, row + at, len) : 0;

            ok = sent != 0;
            if (ok)
                seq = sent;
            else
                memset(row + at, 0, len);
        }
    }
    if (locked)
        vgr_queue_unlock(q);
    /* Also after a failure: what was sent before it is still to be waited for. */
    return seq;
}

void vgr_xfer_memset(struct vgr_queue *q, struct vgr_rows r, uint8_t value)
{
    struct vgr_cmd_memset cmd = {.h.op = VGR_CMD_MEMSET,
                                 .buffer = r.buffer,
                                 .value = value,
                                 .offset = r.offset,
                                 .len = r.size};

    if (!r.size || !inside(&r) || !vgr_queue_lock(q))
        return;
    vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_unlock(q);
}
