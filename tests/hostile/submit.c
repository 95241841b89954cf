/* SPDX-License-Identifier: MIT
 *
 * Submissions: without a context, without a handshake, of odd sizes, of garbage, with fences that
 * nobody waits for, and with the arena of somebody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <virtgpu_drm.h>

#include "cases.h"
#include "guest.h"

/* ---- Without what comes first ---- */

static unsigned no_handshake(void)
{
    static const uint32_t resources[] = {0, 1, 2, 999, 0x7fffffff, 0xffffffff};
    struct guest g = {.fd = node_open()};
    unsigned tried = 0;
    int fence;

    /* Nothing was created: neither arena nor context. */
    for (int i = 0; i < 3; i++, tried++) {
        CHECK(!guest_say(&g, VGR_SUBMIT_WAIT, &fence), "WAIT is not even accepted");
        CHECK(fence_signals(fence), "a WAIT without a context is held");
        CHECK(!guest_say(&g, VGR_SUBMIT_DOORBELL, NULL), "DOORBELL is not even accepted");
    }
    close(g.fd);

    /* An arena, commands in its ring, a doorbell, but no OPEN (of a bridge, a claim too). */
    guest_prepare(&g);
    guest_push(&g, &(struct vgr_cmd){0}, VGR_CMD_SYNC, sizeof(struct vgr_cmd));
    guest_ring(&g, true);
    guest_ignored(&g);
    tried++;

    /* OPEN of what is not there or not ours. */
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++, tried++) {
        struct vgr_submit s = {VGR_MAGIC, VGR_SUBMIT_OPEN, resources[i], 0, GUEST_ARENA, 0};

        if (s.resource == g.resource)
            continue;
        CHECK(!guest_send(&g, &s, NULL), "OPEN is not even accepted");
        guest_ignored(&g);
    }
    /* What was refused does not keep it from starting. */
    CHECK(!guest_say(&g, VGR_SUBMIT_OPEN, NULL), "OPEN");
    CHECK(guest_settled(&g, PATIENCE_MS) == VGR_STATE_READY, "error %u", g.ctl->error);
    CHECK(guest_done(&g, 1), "the record that waited in the ring");
    return tried;
}

static unsigned open_sizes(void)
{
    static const uint64_t sizes[] = {
        0,        1,          4096,       GUEST_ARENA - 1, GUEST_ARENA + 4096,
        1u << 31, 0xffffffff, 1ull << 32, ~0ull - 4095,    ~0ull};
    unsigned n = sizeof(sizes) / sizeof(sizes[0]);

    for (unsigned i = 0; i < n; i++) {
        struct guest g;
        struct vgr_submit s = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = sizes[i]};

        guest_prepare(&g);
        s.resource = g.resource;
        CHECK(!guest_send(&g, &s, NULL), "OPEN is not even accepted");
        guest_fails(&g, VGR_ERROR_ARENA, "arena");
        guest_close(&g);
    }
    return n;
}

static unsigned hellos(void)
{
    /* What is written where in the hello, and what becomes of it. */
    static const struct {
        size_t at, len;
        uint64_t value;
        enum vgr_error error;
    } wrong[] = {
#define FIELD(name) offsetof(struct vgr_hello, name), sizeof(((struct vgr_hello *)0)->name)
        {FIELD(magic), 0, VGR_ERROR_HELLO},
        {FIELD(version), 0, VGR_ERROR_VERSION},
        {FIELD(version), 0xffffffff, VGR_ERROR_VERSION},
        {FIELD(arena_size), GUEST_ARENA * 2, VGR_ERROR_ARENA},
        {FIELD(ring_off), 0, VGR_ERROR_HELLO},
        {FIELD(ring_off), 4097, VGR_ERROR_HELLO},
        {FIELD(ring_off), 0xfffff000, VGR_ERROR_HELLO},
        {FIELD(ring_size), 0, VGR_ERROR_HELLO},
        {FIELD(ring_size), GUEST_RING - 8, VGR_ERROR_HELLO},
        {FIELD(ring_size), 0x80000000, VGR_ERROR_HELLO},
        {FIELD(heap_off), 0, VGR_ERROR_HELLO},
        {FIELD(heap_off), 0xfffff000, VGR_ERROR_HELLO},
        {FIELD(dict_off), 0, VGR_ERROR_RANGE},
        {FIELD(dict_off), GUEST_ARENA, VGR_ERROR_RANGE},
        {FIELD(dict_len), 0, VGR_ERROR_HELLO},
        {FIELD(dict_len), 0xffffffff, VGR_ERROR_HELLO},
        {FIELD(reply_off), 0, VGR_ERROR_HELLO},
        {FIELD(reply_off), GUEST_REPLY + 4, VGR_ERROR_HELLO},
        {FIELD(reply_off), 0xfffffff8, VGR_ERROR_HELLO},
        {FIELD(reply_cap), 8, VGR_ERROR_HELLO},
        {FIELD(reply_cap), 0xffffffff, VGR_ERROR_HELLO},
#undef FIELD
    };
    unsigned n = sizeof(wrong) / sizeof(wrong[0]);

    for (unsigned i = 0; i < n; i++) {
        struct guest g;

        guest_prepare(&g);
        memcpy((uint8_t *)&g.ctl->hello + wrong[i].at, &wrong[i].value, wrong[i].len);
        CHECK(!guest_say(&g, VGR_SUBMIT_OPEN, NULL), "OPEN is not even accepted");
        guest_fails(&g, wrong[i].error, "");
        guest_close(&g);
    }
    return n;
}

/* ---- Garbage ---- */

static unsigned garbage(void)
{
    static const uint32_t sizes[] = {1,  3,  4,    8,    16,    24,       31,
                                     32, 33, 4096, 4097, 65536, 1000003u, 4u << 20};
    static uint8_t data[4 << 20];
    unsigned tried = 0;
    struct guest g;
    int fence;

    guest_open(&g);
    guest_buffer(&g, 4096);
    addition_define(&g);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int kind = 0; kind < 4; kind++, tried++) {
            struct vgr_submit bare = {VGR_MAGIC, VGR_SUBMIT_WAIT, 0, 0, 0, 0};
            struct vgr_bridge_submit wrapped = {.nop = VGR_BRIDGE_NOP, .submit = bare};
            const void *head = bridged() ? (const void *)&wrapped : &bare;
            uint32_t len = bridged() ? sizeof(wrapped) : sizeof(bare);

            for (uint32_t k = 0; k < sizes[i]; k++)
                data[k] = kind == 0 ? 0 : kind == 1 ? 0xff : (uint8_t)random_number();
            /* Right but for its length. */
            if (kind == 3)
                memcpy(data, head, sizes[i] < len ? sizes[i] : len);
            CHECK(!guest_submit(&g, data, sizes[i], &fence), "%u bytes are not accepted", sizes[i]);
            CHECK(fence_signals(fence), "%u bytes are not answered", sizes[i]);
        }
    }
    for (uint32_t op = 0; op < 64; op++, tried++) {
        struct vgr_submit s = {VGR_MAGIC, op < 32 ? op + 4 : 1u << (op - 32), 0, 0, 0, 0};

        CHECK(!guest_send(&g, &s, &fence) && fence_signals(fence), "op %u", s.op);
    }
    CHECK(guest_done(&g, addition_run(&g)) && addition_right(&g),
          "the context did not survive: %.256s", g.ctl->error_text);
    return tried;
}

/* ---- Fences ---- */

static unsigned fences(void)
{
    enum { CLOSED = 3000, KEPT = 1000 };
    static int kept[KEPT];
    struct guest g, other;
    int fence;

    guest_open(&g);
    guest_buffer(&g, 4096);
    addition_define(&g);
    guest_prepare(&other); /* has no worker */
    for (int i = 0; i < CLOSED; i++) {
        CHECK(!guest_say(i % 2 ? &g : &other, VGR_SUBMIT_WAIT, &fence), "fence %d", i);
        close(fence);
    }
    for (int i = 0; i < KEPT; i++)
        CHECK(!guest_say(&g, VGR_SUBMIT_WAIT, &kept[i]), "fence %d", i);
    CHECK(guest_done(&g, addition_run(&g)) && addition_right(&g), "the context has died of it");
    for (int i = 0; i < KEPT; i++)
        CHECK(fence_signals(kept[i]), "fence %d never signals", i);
    /* One is left pending when the process ends. */
    CHECK(!guest_say(&g, VGR_SUBMIT_WAIT, &fence), "the last one");
    return CLOSED + KEPT + 1;
}

/* ---- What belongs to others ---- */

/* The resource of `owner` under a name of another file. */
static int share_resource(const struct guest *owner, const struct guest *with)
{
    struct drm_prime_handle p = {.handle = owner->bo, .flags = DRM_CLOEXEC | DRM_RDWR, .fd = -1};
    int err = node_ioctl(owner->fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &p);

    CHECK(!err, "export: %s", strerror(-err));
    p.handle = 0;
    return node_ioctl(with->fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &p);
}

static unsigned foreign_arena(void)
{
    struct vgr_submit s = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = GUEST_ARENA};
    struct guest owner, thief, idle;
    int err;

    guest_open(&owner);
    guest_buffer(&owner, 4096);
    addition_define(&owner);
    guest_prepare(&idle); /* has an arena that nobody uses yet */
    guest_prepare(&thief);

    /* By number, and then by a handle that the kernel gives: still not while it is in use. */
    s.resource = owner.resource;
    CHECK(!guest_send(&thief, &s, NULL), "OPEN");
    s.resource = idle.resource;
    CHECK(!guest_send(&thief, &s, NULL), "OPEN");
    guest_ignored(&thief);
    guest_ignored(&idle);
    CHECK(guest_done(&owner, addition_run(&owner)) && addition_right(&owner), "the owner suffers");
    err = share_resource(&owner, &thief);
    CHECK(!err, "import: %s", strerror(-err));
    s.resource = owner.resource;
    CHECK(!guest_send(&thief, &s, NULL), "OPEN");
    guest_ignored(&thief);
    CHECK(guest_done(&owner, addition_run(&owner)) && addition_right(&owner), "the owner suffers");

    /* The thief's own doorbell and its end are its own. */
    guest_ring(&thief, true);
    guest_close(&thief);
    CHECK(guest_done(&owner, addition_run(&owner)) && addition_right(&owner), "the owner suffers");

    /* Twice by the owner itself. */
    CHECK(!guest_say(&owner, VGR_SUBMIT_OPEN, NULL), "OPEN");
    CHECK(guest_done(&owner, addition_run(&owner)) && addition_right(&owner), "the owner suffers");

    /* The other arena is as good as before. */
    CHECK(!guest_say(&idle, VGR_SUBMIT_OPEN, NULL), "OPEN");
    CHECK(guest_settled(&idle, PATIENCE_MS) == VGR_STATE_READY, "error %u", idle.ctl->error);
    return 6;
}

const struct hostile_case cases_submit[] = {
    {"no-handshake", no_handshake},
    {"open-sizes", open_sizes},
    {"hellos", hellos},
    {"garbage", garbage},
    {"fences", fences},
    {"foreign-arena", foreign_arena},
    {0},
};
