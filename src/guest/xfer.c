/* SPDX-License-Identifier: MIT */
#include "guest/xfer.h"

#include <string.h>

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

static bool set_piece(struct vgr_conn *c, const struct vgr_rows *r, uint64_t offset,
                      const uint8_t *data, size_t len)
{
    struct vgr_cmd_data cmd = command(r, VGR_CMD_SET_INLINE, offset, len);
    uint32_t block;
    uint64_t seq;
    void *p;

    if (len <= VGR_CONN_INLINE) {
        vgr_count(c->counters.upload_bytes, len);
        return vgr_conn_push(c, &cmd, sizeof(cmd), data, (uint32_t)len);
    }
    p = vgr_conn_alloc(c, len, &cmd.data_off, &block);
    if (!p)
        return false;
    memcpy(p, data, len);
    cmd.h.op = VGR_CMD_SET;
    seq = vgr_conn_push(c, &cmd, sizeof(cmd), NULL, 0);
    vgr_conn_sent(c, block, len, seq);
    return seq;
}

void vgr_xfer_set(struct vgr_conn *c, struct vgr_rows r, const void *data)
{
    size_t piece = vgr_heap_piece(&c->heap);

    join_rows(&r);
    if (!r.size || !vgr_conn_lock(c))
        return;
    for (size_t i = 0; i < r.n; i++) {
        const uint8_t *row = (const uint8_t *)data + i * r.pitch;

        for (size_t at = 0; at < r.size; at += piece) {
            size_t len = r.size - at < piece ? r.size - at : piece;

            if (!set_piece(c, &r, r.offset + i * r.stride + at, row + at, len)) {
                vgr_conn_unlock(c);
                return;
            }
            vgr_conn_publish_early(c);
        }
    }
    vgr_conn_unlock(c);
}

static uint64_t get_piece(struct vgr_conn *c, const struct vgr_rows *r, uint64_t offset,
                          uint8_t *data, size_t len)
{
    struct vgr_cmd_data cmd = command(r, VGR_CMD_GET, offset, len);
    uint32_t block;
    uint64_t seq;

    if (!vgr_conn_alloc(c, len, &cmd.data_off, &block))
        return 0;
    seq = vgr_conn_push(c, &cmd, sizeof(cmd), NULL, 0);
    vgr_conn_get_later(c, block, cmd.data_off, (uint32_t)len, seq, data);
    return seq;
}

uint64_t vgr_xfer_get(struct vgr_conn *c, struct vgr_rows r, void *data)
{
    size_t piece = vgr_heap_piece(&c->heap);
    uint64_t seq = 0;
    bool ok = vgr_conn_lock(c), locked = ok;

    join_rows(&r);
    for (size_t i = 0; i < r.n; i++) {
        uint8_t *row = (uint8_t *)data + i * r.pitch;

        for (size_t at = 0; at < r.size; at += piece) {
            size_t len = r.size - at < piece ? r.size - at : piece;

            if (ok) {
                seq = get_piece(c, &r, r.offset + i * r.stride + at, row + at, len);
                ok = seq != 0;
            }
            if (!ok)
                memset(row + at, 0, len);
        }
    }
    if (locked)
        vgr_conn_unlock(c);
    return ok ? seq : 0;
}

void vgr_xfer_memset(struct vgr_conn *c, uint32_t buffer, uint64_t offset, uint64_t len,
                     uint8_t value)
{
    struct vgr_cmd_memset cmd = {
        .h.op = VGR_CMD_MEMSET, .buffer = buffer, .value = value, .offset = offset, .len = len};

    if (!len || !vgr_conn_lock(c))
        return;
    vgr_conn_push(c, &cmd, sizeof(cmd), NULL, 0);
    vgr_conn_unlock(c);
}
