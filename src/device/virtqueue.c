/* SPDX-License-Identifier: MIT */
#include "device/virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/sys.h"

#define NO_INTERRUPT 1    /* avail.flags */
#define KEEP_IOV     1024 /* pieces; room for more is given back after the chain */

struct used_elem {
    uint32_t id;
    uint32_t len;
};

/* The rings, as indices into arrays of 16 bits. Never through a packed struct: each word is read or
 * written exactly once. */
static uint16_t *avail_idx(const struct vgr_vq *q)
{
    return q->avail + 1;
}

static uint16_t *used_event(const struct vgr_vq *q)
{
    return q->avail + 2 + q->size;
}

static struct used_elem *used_ring(const struct vgr_vq *q)
{
    return (struct used_elem *)(q->used + 2);
}

static uint16_t *avail_event(const struct vgr_vq *q)
{
    return q->used + 2 + 4 * (size_t)q->size;
}

static uint16_t load(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

void vgr_vq_init(struct vgr_vq *q)
{
    memset(q, 0, sizeof(*q));
    q->call_fd = -1;
}

void vgr_vq_finish(struct vgr_vq *q)
{
    if (q->call_fd >= 0)
        close(q->call_fd);
    free(q->iov);
    vgr_vq_init(q);
}

static int find_rings(struct vgr_vq *q, const struct vgr_guestmem *mem, unsigned size,
                      uint64_t desc, uint64_t avail, uint64_t used, bool event_idx)
{
    q->running = false;
    if (!size || size > VGR_VQ_MAX_SIZE || size & (size - 1) || desc % 16 || avail % 2 || used % 4)
        return -EINVAL;
    q->mem = mem;
    q->size = size;
    q->desc = vgr_guestmem_user(mem, desc, 16ull * size);
    q->avail = vgr_guestmem_user(mem, avail, 6 + 2ull * size);
    q->used = vgr_guestmem_user(mem, used, 6 + 8ull * size);
    if (!q->desc || !q->avail || !q->used)
        return -EFAULT;
    q->event_idx = event_idx;
    q->used_idx = q->signalled = load(q->used + 1);
    q->redo = size;
    return 0;
}

static uint16_t count_held(const struct vgr_vq *q)
{
    uint16_t n = 0;

    for (unsigned i = 0; i < q->size; i++)
        n = (uint16_t)(n + (q->record->held[i] != 0));
    return n;
}

int vgr_vq_start(struct vgr_vq *q, const struct vgr_guestmem *mem, unsigned size, uint64_t desc,
                 uint64_t avail, uint64_t used, uint16_t base, bool event_idx)
{
    int err = find_rings(q, mem, size, desc, avail, used, event_idx);

    if (err)
        return err;
    /* Chains may be held over a stop, where memory moves. Else these are other rings than those of the
     * marks. */
    if (q->record && (uint16_t)(q->used_idx + count_held(q)) != base)
        memset(q->record->held, 0, sizeof(q->record->held));
    if (q->record)
        q->record->used_idx = q->used_idx;
    q->last_avail = base;
    q->running = true;
    return 0;
}

int vgr_vq_resume(struct vgr_vq *q, const struct vgr_guestmem *mem, unsigned size, uint64_t desc,
                  uint64_t avail, uint64_t used, bool event_idx)
{
    int err = find_rings(q, mem, size, desc, avail, used, event_idx);

    if (err)
        return err;
    if (q->record->used_idx != q->used_idx && q->record->last < size)
        q->record->held[q->record->last] = 0;
    q->record->used_idx = q->used_idx;
    q->last_avail = (uint16_t)(q->used_idx + count_held(q));
    q->redo = 0;
    q->running = true;
    return 0;
}

void vgr_vq_stop(struct vgr_vq *q)
{
    q->running = false;
    q->desc = NULL;
    q->avail = q->used = NULL;
}

/* ---- Taking chains ---- */

struct gather {
    struct vgr_vq *q;
    size_t n, n_in;
    uint64_t in_bytes, bytes;
};

static int add_piece(struct gather *g, uint8_t *base, size_t len, bool writable)
{
    struct vgr_vq *q = g->q;
    /* Neighbours become one piece, within the same direction. */
    size_t first = writable ? g->n_in : 0;

    if (g->n > first && (uint8_t *)q->iov[g->n - 1].iov_base + q->iov[g->n - 1].iov_len == base) {
        q->iov[g->n - 1].iov_len += len;
        return 0;
    }
    if (g->n == q->iov_cap) {
        size_t cap = q->iov_cap ? 2 * q->iov_cap : 64;
        struct iovec *iov = realloc(q->iov, cap * sizeof(*iov));

        if (!iov)
            return -ENOMEM;
        q->iov = iov;
        q->iov_cap = cap;
    }
    q->iov[g->n++] = (struct iovec){base, len};
    if (!writable)
        g->n_in = g->n;
    return 0;
}

static int add_desc(struct gather *g, const struct vgr_vq_desc *d)
{
    bool writable = d->flags & VGR_DESC_WRITE;
    uint64_t addr = d->addr;
    uint64_t left = d->len;

    if (!writable && g->n > g->n_in)
        return -EBADMSG; /* readable after writable */
    if (!writable)
        g->in_bytes += left;
    g->bytes += left;
    if (g->bytes > VGR_VQ_MAX_BYTES)
        return -EBADMSG;
    while (left) {
        uint64_t n;
        uint8_t *base = vgr_guestmem_at(g->q->mem, addr, left, &n);
        int err;

        g->q->work++;
        if (!base)
            return -EBADMSG;
        err = add_piece(g, base, n, writable);
        if (err)
            return err;
        addr += n;
        left -= n;
    }
    return 0;
}

/* Follows the descriptors of one table, at most as many as it has: more is a loop. An indirect one
 * can only be the last of the ring's own table, and its address is returned in *indirect. */
static int walk_table(struct gather *g, uint64_t table_gpa, uint32_t n, uint32_t i, bool nested,
                      struct vgr_vq_desc *indirect)
{
    for (uint32_t count = 0; count < n; count++) {
        struct vgr_vq_desc d;
        int err;

        if (i >= n)
            return -EBADMSG;
        if (!nested)
            memcpy(&d, &g->q->desc[i], sizeof(d));
        else if (vgr_guestmem_read(g->q->mem, table_gpa + 16ull * i, &d, sizeof(d)))
            return -EBADMSG;
        g->q->work++;

        if (d.flags & VGR_DESC_INDIRECT) {
            if (nested || d.flags & VGR_DESC_NEXT)
                return -EBADMSG;
            *indirect = d;
            return 0;
        }
        err = add_desc(g, &d);
        if (err)
            return err;
        if (!(d.flags & VGR_DESC_NEXT))
            return 0;
        i = d.next;
    }
    return -EBADMSG;
}

static int walk_chain(struct gather *g, uint16_t head)
{
    struct vgr_vq_desc indirect = {0};
    uint64_t end;
    int err = walk_table(g, 0, g->q->size, head, false, &indirect);

    if (err || !(indirect.flags & VGR_DESC_INDIRECT))
        return err;
    if (!indirect.len || indirect.len % 16 || indirect.len / 16 > VGR_VQ_MAX_INDIRECT ||
        __builtin_add_overflow(indirect.addr, indirect.len, &end))
        return -EBADMSG;
    return walk_table(g, indirect.addr, indirect.len / 16, 0, true, NULL);
}

/* 1: *head is the next one; 0: there is none; -EPROTO. */
static int next_head(struct vgr_vq *q, uint16_t *head)
{
    uint16_t ready;

    while (q->redo < q->size) {
        *head = (uint16_t)q->redo++;
        if (q->record->held[*head])
            return 1;
    }
    ready = (uint16_t)(load(avail_idx(q)) - q->last_avail);
    if (!ready)
        return 0;
    *head = load(q->avail + 2 + (q->last_avail & (q->size - 1)));
    /* A driver has no more descriptors than that, so nor can it have more chains with us. */
    if (ready > q->size || *head >= q->size || (uint16_t)(q->last_avail - q->used_idx) >= q->size) {
        q->running = false;
        return -EPROTO;
    }
    if (q->record)
        __atomic_store_n(&q->record->held[*head], 1, __ATOMIC_RELAXED);
    q->last_avail++;
    return 1;
}

int vgr_vq_pop(struct vgr_vq *q, struct vgr_chain *c)
{
    struct gather g = {.q = q};
    uint16_t head;
    int ret;

    if (!q->running)
        return 0;
    if (q->iov_cap > KEEP_IOV) {
        free(q->iov);
        q->iov = NULL;
        q->iov_cap = 0;
    }
    ret = next_head(q, &head);
    if (ret <= 0)
        return ret;
    memset(c, 0, sizeof(*c));
    c->head = head;
    ret = walk_chain(&g, c->head);
    if (ret)
        return ret;
    c->in = q->iov;
    c->n_in = g.n_in;
    c->out = q->iov + g.n_in;
    c->n_out = g.n - g.n_in;
    c->in_left = g.in_bytes;
    return 1;
}

/* ---- Giving them back ---- */

void vgr_vq_push(struct vgr_vq *q, uint16_t head, uint32_t len)
{
    struct used_elem *e;

    if (!q->running)
        return;
    e = &used_ring(q)[q->used_idx & (q->size - 1)];
    __atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
    __atomic_store_n(&e->len, len, __ATOMIC_RELAXED);
    q->used_idx++;
    if (q->record)
        __atomic_store_n(&q->record->last, head, __ATOMIC_RELAXED);
    __atomic_store_n(q->used + 1, q->used_idx, __ATOMIC_RELEASE);
    if (q->record) {
        /* Death is as good as a signal: the compiler's order is what counts. */
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&q->record->held[head], 0, __ATOMIC_RELAXED);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&q->record->used_idx, q->used_idx, __ATOMIC_RELAXED);
    }
}

void vgr_vq_notify(struct vgr_vq *q)
{
    uint16_t old = q->signalled;
    uint64_t one = 1;
    bool wanted;

    if (!q->running || old == q->used_idx)
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (q->event_idx)
        /* The driver named the index whose use it wants to hear of: did we step over it? */
        wanted = (uint16_t)(q->used_idx - load(used_event(q)) - 1) < (uint16_t)(q->used_idx - old);
    else
        wanted = !(load(q->avail) & NO_INTERRUPT);
    q->signalled = q->used_idx;
    if (!wanted || q->call_fd < 0)
        return;
    q->interrupts++;
    if (VGR_SYS_AGAIN(write(q->call_fd, &one, sizeof(one))) < 0) {
        /* EAGAIN: an interrupt is pending already. */
    }
}

bool vgr_vq_rearm(struct vgr_vq *q)
{
    if (!q->running)
        return false;
    if (q->event_idx) {
        __atomic_store_n(avail_event(q), q->last_avail, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    return load(avail_idx(q)) != q->last_avail;
}

bool vgr_vq_untouched(const struct vgr_vq *q)
{
    return q->running && !q->last_avail && !load(avail_idx(q));
}

/* ---- Contents ---- */

size_t vgr_chain_read(struct vgr_chain *c, void *buf, size_t len)
{
    uint8_t *to = buf;
    size_t done = 0;

    while (done < len && c->n_in) {
        size_t n = c->in->iov_len - c->in_off;

        if (n > len - done)
            n = len - done;
        memcpy(to + done, (const uint8_t *)c->in->iov_base + c->in_off, n);
        done += n;
        c->in_off += n;
        if (c->in_off == c->in->iov_len) {
            c->in++;
            c->n_in--;
            c->in_off = 0;
        }
    }
    c->in_left -= done;
    return done;
}

size_t vgr_chain_write(struct vgr_chain *c, const void *buf, size_t len)
{
    const uint8_t *from = buf;
    size_t done = 0;

    while (done < len && c->n_out) {
        size_t n = c->out->iov_len - c->out_off;

        if (n > len - done)
            n = len - done;
        memcpy((uint8_t *)c->out->iov_base + c->out_off, from + done, n);
        done += n;
        c->out_off += n;
        if (c->out_off == c->out->iov_len) {
            c->out++;
            c->n_out--;
            c->out_off = 0;
        }
    }
    c->written += (uint32_t)done;
    return done;
}
