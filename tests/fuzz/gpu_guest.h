/* SPDX-License-Identifier: MIT
 *
 * gpu_guest.h - a guest's driver that cannot be trusted: virtio-gpu commands in a virtqueue.
 *
 * Mostly a command is whole, of contexts 1 to 3 and resources 1 to 4, in a chain of two descriptors.
 * Now and then its request is in pieces, behind an indirect table, has a number from nowhere, or a
 * descriptor or a word of the rings is damaged. Its control page may ask the worker to misbehave.
 *
 * Where workers may be started, a program has begun: the commands that a guest's kernel sends for one, in
 * their order, come first. What follows then finds a context with a worker.
 */
#ifndef VGR_FUZZ_GPU_GUEST_H
#define VGR_FUZZ_GPU_GUEST_H

#include "device/gpu_cmd.h"
#include "fake_guest.h"
#include "fuzz.h"

#define FUZZ_RING  64u
#define FUZZ_ARENA (64u << 10)

#define SLOTS           8u
#define SLOT_SIZE       0x800u
#define SLOT_HEAD(slot) ((uint16_t)((slot) * 6)) /* its first descriptor */
#define REQ_GPA         (DATA_GPA + 0x10000)
#define RESP_GPA        (DATA_GPA + 0x20000)
#define TABLE_GPA       (DATA_GPA + 0x30000)

static const struct vgr_capset fuzz_capset = {
    .magic = VGR_MAGIC,
    .version_min = 1,
    .version_max = 1,
    .arena_min = FUZZ_ARENA,
    .arena_max = 4 * FUZZ_ARENA,
    .arena_default = FUZZ_ARENA,
};

static const uint32_t gpu_commands[] = {
    VGR_GPU_GET_DISPLAY_INFO,    VGR_GPU_RESOURCE_UNREF,     VGR_GPU_ATTACH_BACKING,
    VGR_GPU_DETACH_BACKING,      VGR_GPU_GET_CAPSET_INFO,    VGR_GPU_GET_CAPSET,
    VGR_GPU_CTX_CREATE,          VGR_GPU_CTX_DESTROY,        VGR_GPU_CTX_ATTACH_RESOURCE,
    VGR_GPU_CTX_DETACH_RESOURCE, VGR_GPU_RESOURCE_CREATE_2D, VGR_GPU_RESOURCE_CREATE_3D,
    VGR_GPU_TRANSFER_TO_HOST_3D, VGR_GPU_SUBMIT_3D,          VGR_GPU_SUBMIT_3D,
    VGR_GPU_SUBMIT_3D,
};
#define N_GPU_COMMANDS (sizeof(gpu_commands) / sizeof(gpu_commands[0]))

/* A page anywhere in guest memory; rarely not. */
static inline uint64_t some_page(struct fuzz_in *in)
{
    static const uint64_t regions[] = {GPA_C, GPA_C, GPA_B, 0};

    return fuzz_rarely(in) ? fuzz_u64(in)
                           : regions[fuzz_below(in, 4)] + 4096ull * fuzz_below(in, 256);
}

static inline uint32_t resource_id(struct fuzz_in *in)
{
    return fuzz_mostly(in, 4) + 1;
}

static inline size_t make_backing(struct fuzz_in *in, uint8_t *body)
{
    struct vgr_gpu_attach_backing cmd = {resource_id(in), 1 + fuzz_below(in, 6)};
    size_t len = sizeof(cmd);

    for (uint32_t i = 0; i < cmd.n_entries; i++, len += sizeof(struct vgr_gpu_mem_entry)) {
        struct vgr_gpu_mem_entry e = {some_page(in), FUZZ_ARENA, 0};

        if (fuzz_below(in, 4) == 3)
            e.length = fuzz_rarely(in) ? fuzz_u32(in) : 4096 * fuzz_below(in, 32);
        memcpy(body + len, &e, sizeof(e));
    }
    if (fuzz_rarely(in))
        cmd.n_entries = fuzz_u32(in);
    memcpy(body, &cmd, sizeof(cmd));
    return len;
}

static inline size_t make_submit(struct fuzz_in *in, uint8_t *body)
{
    struct {
        struct vgr_gpu_submit cmd;
        struct vgr_submit s;
    } b = {{sizeof(struct vgr_submit), 0}, {.magic = VGR_MAGIC}};

    b.s.op = fuzz_mostly(in, 3) + 1;
    b.s.resource = resource_id(in);
    b.s.size = fuzz_rarely(in) ? fuzz_size(in) : FUZZ_ARENA;
    if (fuzz_rarely(in))
        b.cmd.size = fuzz_u32(in);
    if (fuzz_rarely(in))
        b.s.magic = fuzz_u32(in);
    memcpy(body, &b, sizeof(b));
    return sizeof(b);
}

/* A whole request in `req`, of SLOT_SIZE bytes; returns its length. */
static inline size_t make_request(struct fuzz_in *in, uint8_t *req)
{
    struct vgr_gpu_hdr h = {.type = gpu_commands[fuzz_below(in, N_GPU_COMMANDS)]};
    uint8_t *body = req + sizeof(h);
    size_t len = 8;

    h.ctx_id = fuzz_mostly(in, 3) + 1;
    if (fuzz_below(in, 2)) {
        h.flags = VGR_GPU_FLAG_FENCE;
        h.fence_id = fuzz_u8(in);
    }
    memset(req, 0, SLOT_SIZE);
    switch (h.type) {
    case VGR_GPU_ATTACH_BACKING:
        len = make_backing(in, body);
        break;
    case VGR_GPU_SUBMIT_3D:
        len = make_submit(in, body);
        break;
    case VGR_GPU_GET_CAPSET:
        memcpy(body, &(struct vgr_gpu_get_capset){VGR_CAPSET_ID, fuzz_mostly(in, 2)}, 8);
        break;
    case VGR_GPU_GET_CAPSET_INFO:
        body[0] = (uint8_t)fuzz_mostly(in, 1);
        break;
    default:
        memcpy(body, &(struct vgr_gpu_resource_id){resource_id(in), 0}, 8);
    }
    if (fuzz_rarely(in))
        h.type = fuzz_rarely(in) ? fuzz_u32(in) : 0x100u + fuzz_u16(in) % 0x300;
    memcpy(req, &h, sizeof(h));
    len += sizeof(h);
    return fuzz_rarely(in) ? fuzz_below(in, SLOT_SIZE) : len;
}

/* Damages a descriptor of the table at `gpa`. */
static inline void damage_desc(struct fuzz_in *in, struct fake_guest *g, uint64_t gpa, uint32_t n)
{
    struct vgr_vq_desc *d = (struct vgr_vq_desc *)guest_ptr(g, gpa) + fuzz_below(in, n);

    switch (fuzz_below(in, 4)) {
    case 0:
        d->addr = fuzz_rarely(in) ? fuzz_u64(in) : some_page(in) + fuzz_u16(in) % 4096;
        break;
    case 1:
        d->len = (uint32_t)fuzz_size(in);
        break;
    case 2:
        d->flags = fuzz_u16(in) % 16;
        break;
    default:
        d->next = (uint16_t)fuzz_mostly(in, n);
    }
}

/* Offers a page list that is long without being much to write: an indirect table names the same piece of
 * region C again and again. It overwrites requests and tables of all slots. */
static inline void guest_long_list(struct fuzz_in *in, struct fake_guest *g)
{
    struct {
        struct vgr_gpu_hdr h;
        struct vgr_gpu_attach_backing cmd;
    } req = {{.type = VGR_GPU_ATTACH_BACKING}, {resource_id(in), 0}};
    uint32_t times = fuzz_below(in, fuzz_rarely(in) ? 4096 : 8);
    uint32_t part = 4096u << fuzz_below(in, 5), n = times + 2;
    uint64_t bytes = (uint64_t)times * part;

    /* As many entries as there are; else as many as it takes to be believed. */
    req.cmd.n_entries = (uint32_t)(fuzz_below(in, 2) ? bytes : fuzz_size(in)) / 16;
    memcpy(guest_ptr(g, REQ_GPA), &req, sizeof(req));
    for (uint32_t i = 0; i < n; i++) {
        struct vgr_vq_desc d = {GPA_C, part, VGR_DESC_NEXT, (uint16_t)(i + 1)};

        if (!i)
            d = (struct vgr_vq_desc){REQ_GPA, sizeof(req), VGR_DESC_NEXT, 1};
        else if (i == n - 1)
            d = (struct vgr_vq_desc){RESP_GPA, SLOT_SIZE, VGR_DESC_WRITE, 0};
        vgr_guestmem_write(&g->mem, TABLE_GPA + 16 * i, &d, sizeof(d));
    }
    if (fuzz_below(in, 2)) { /* entries that are good, one after the other or not */
        struct vgr_gpu_mem_entry *e = guest_ptr(g, GPA_C);
        uint64_t stride = 4096u << fuzz_below(in, 2);

        for (uint32_t i = 0; i < part / sizeof(*e); i++)
            e[i] = (struct vgr_gpu_mem_entry){GPA_C + i * stride % MIB, 4096, 0};
    }
    guest_desc(g, SLOT_HEAD(0), TABLE_GPA, 16 * n, VGR_DESC_INDIRECT, 0);
    guest_offer(g, SLOT_HEAD(0));
}

/* Writes a command and offers it. */
static inline void guest_command(struct fuzz_in *in, struct fake_guest *g)
{
    uint32_t slot = fuzz_below(in, SLOTS), n = 2 + (fuzz_below(in, 4) == 3 ? fuzz_below(in, 3) : 0);
    uint64_t req = REQ_GPA + slot * SLOT_SIZE, resp = RESP_GPA + slot * SLOT_SIZE;
    uint64_t table = TABLE_GPA + slot * SLOT_SIZE;
    bool indirect = fuzz_below(in, 4) == 3;
    uint16_t head = SLOT_HEAD(slot), base = indirect ? 0 : head;
    struct vgr_vq_desc *d = guest_ptr(g, indirect ? table : DESC_GPA);
    size_t len = make_request(in, guest_ptr(g, req)), at = 0;

    /* The request in n - 1 pieces, then the response. */
    for (uint32_t i = 0; i < n; i++) {
        size_t part = i + 2 >= n ? len - at : (len - at) / 2;

        if (i == n - 1)
            d[base + i] = (struct vgr_vq_desc){resp, SLOT_SIZE, VGR_DESC_WRITE, 0};
        else
            d[base + i] = (struct vgr_vq_desc){req + at, (uint32_t)part, VGR_DESC_NEXT,
                                               (uint16_t)(base + i + 1)};
        at += i == n - 1 ? 0 : part;
    }
    if (indirect)
        guest_desc(g, head, table, 16 * n, VGR_DESC_INDIRECT, 0);
    if (fuzz_rarely(in))
        damage_desc(in, g, indirect ? table : DESC_GPA, indirect ? n : FUZZ_RING);
    if (fuzz_rarely(in))
        damage_desc(in, g, DESC_GPA + 16 * head, 1);
    guest_offer(g, (uint16_t)(fuzz_rarely(in) ? fuzz_u16(in) : head));
}

/* Does something to memory that the device reads. */
static inline void guest_scribbles(struct fuzz_in *in, struct fake_guest *g)
{
    uint16_t *avail = guest_ptr(g, AVAIL_GPA);

    switch (fuzz_below(in, 5)) {
    case 0:
        avail[fuzz_below(in, 3 + FUZZ_RING)] = fuzz_u16(in);
        g->avail_idx = avail[1];
        break;
    case 1:
        damage_desc(in, g, DESC_GPA, FUZZ_RING);
        break;
    case 2: /* what the worker does next: fake_worker.h */
        ((struct vgr_control *)guest_ptr(g, GPA_C + 4096ull * fuzz_below(in, 256)))
            ->hello.features = fuzz_below(in, 4);
        break;
    case 3:
        ((uint16_t *)guest_ptr(g, USED_GPA))[fuzz_below(in, 8)] = fuzz_u16(in);
        break;
    default:
        fuzz_bytes(in, guest_ptr(g, REQ_GPA + fuzz_u16(in) % (SLOTS * SLOT_SIZE - 16)), 16);
    }
}

/* ---- An honest one ---- */

/* A well-formed request of `type`, fenced or not, about context and resource `id`, with an arena of its own
 * in region C; returns its length. */
static inline size_t honest_request(uint8_t *req, uint32_t type, uint32_t id, uint32_t submit_op,
                                    bool fence)
{
    struct vgr_gpu_hdr h = {.type = type, .ctx_id = id, .fence_id = 7};
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry e;
    } backing = {{id, 1}, {GPA_C + id * FUZZ_ARENA, FUZZ_ARENA, 0}};
    struct {
        struct vgr_gpu_submit cmd;
        struct vgr_submit s;
    } submit = {{sizeof(struct vgr_submit), 0},
                {.magic = VGR_MAGIC, .op = submit_op, .resource = id, .size = FUZZ_ARENA}};

    h.flags = fence ? VGR_GPU_FLAG_FENCE : 0;
    memset(req, 0, SLOT_SIZE);
    memcpy(req, &h, sizeof(h));
    req += sizeof(h);
    switch (h.type) {
    case VGR_GPU_ATTACH_BACKING:
        memcpy(req, &backing, sizeof(backing));
        return sizeof(h) + sizeof(backing);
    case VGR_GPU_SUBMIT_3D:
        memcpy(req, &submit, sizeof(submit));
        return sizeof(h) + sizeof(submit);
    default:
        memcpy(req, &(struct vgr_gpu_resource_id){id, 0}, sizeof(struct vgr_gpu_resource_id));
        return sizeof(h) +
               (h.type == VGR_GPU_RESOURCE_CREATE_3D ? 48 : sizeof(struct vgr_gpu_resource_id));
    }
}

static inline void honest_offer(struct fake_guest *g, uint32_t slot, uint32_t type, uint32_t id,
                                uint32_t submit_op, bool fence)
{
    uint64_t req = REQ_GPA + slot * SLOT_SIZE, resp = RESP_GPA + slot * SLOT_SIZE;
    uint16_t head = SLOT_HEAD(slot);
    size_t len = honest_request(guest_ptr(g, req), type, id, submit_op, fence);

    guest_desc(g, head, req, (uint32_t)len, VGR_DESC_NEXT, (uint16_t)(head + 1));
    guest_desc(g, head + 1u, resp, SLOT_SIZE, VGR_DESC_WRITE, 0);
    guest_offer(g, head);
}

/* Offers what opens context 1 with a worker, in the first START_SLOTS slots. */
#define START_SLOTS 5u
static inline void program_starts(struct fake_guest *g)
{
    static const uint32_t types[START_SLOTS] = {VGR_GPU_CTX_CREATE, VGR_GPU_RESOURCE_CREATE_3D,
                                                VGR_GPU_ATTACH_BACKING, VGR_GPU_CTX_ATTACH_RESOURCE,
                                                VGR_GPU_SUBMIT_3D};

    for (uint32_t i = 0; i < START_SLOTS; i++)
        honest_offer(g, i, types[i], 1, VGR_SUBMIT_OPEN, true);
}

#endif
