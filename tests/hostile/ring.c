/* SPDX-License-Identifier: MIT
 *
 * Ring positions from nowhere, and words in the control page that are not the guest's to write.
 */
#include <string.h>

#include "cases.h"
#include "guest.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static void tail_is(struct guest *g, uint32_t tail)
{
    __atomic_store_n(&g->ctl->tail, tail, __ATOMIC_SEQ_CST);
    guest_ring(g, true);
}

/* Of a context that has worked; `tail` counts from where it stands. */
static unsigned positions(void)
{
    static const uint32_t jumps[] = {1,           4,          GUEST_RING + 8, 2 * GUEST_RING,
                                     0x7ffffff8,  0x80000000, (uint32_t)-8,   (uint32_t)-GUEST_RING,
                                     (uint32_t)-1};

    for (size_t i = 0; i < N(jumps); i++) {
        struct guest g;

        guest_open(&g);
        guest_buffer(&g, 4096);
        guest_computes(&g);
        tail_is(&g, g.tail + jumps[i]);
        guest_fails(&g, VGR_ERROR_RING, "corrupt");
        guest_close(&g);
    }
    return N(jumps);
}

/* Records of sizes that lead out of what was written, out of the ring, or nowhere. */
static unsigned records(void)
{
    static const struct {
        uint16_t op;
        uint32_t size, written;
    } wrong[] = {
        {VGR_CMD_SYNC, 0, 64},
        {VGR_CMD_SYNC, 4, 64},
        {VGR_CMD_SYNC, 12, 64},
        {VGR_CMD_SYNC, 72, 64},
        {VGR_CMD_SYNC, GUEST_RING / 2, GUEST_RING},
        {VGR_CMD_SYNC, GUEST_RING, GUEST_RING},
        {VGR_CMD_SYNC, 0xfffffff8, 64},
        {VGR_CMD_PAD, 0, 64},
        {VGR_CMD_PAD, 8, 64},
        {VGR_CMD_PAD, 64, 64},
        {VGR_CMD_PAD, 0xfffffff8, 64},
    };

    for (size_t i = 0; i < N(wrong); i++) {
        struct guest g;
        struct vgr_cmd h = {.op = wrong[i].op, .size = wrong[i].size};

        guest_open(&g);
        memcpy(g.arena + VGR_CONTROL_SIZE, &h, sizeof(h));
        tail_is(&g, wrong[i].written);
        guest_fails(&g, VGR_ERROR_RING, "corrupt");
        guest_close(&g);
    }
    return N(wrong);
}

/* Nothing but padding, from one end of the ring to the other: the worker skips it and sleeps. */
static unsigned padding(void)
{
    struct vgr_cmd pad = {.op = VGR_CMD_PAD, .size = GUEST_RING};
    struct vgr_cmd sync;
    struct guest g;

    guest_open(&g);
    for (int i = 0; i < 100; i++) {
        uint64_t end = now_ms() + PATIENCE_MS;

        memcpy(g.arena + VGR_CONTROL_SIZE, &pad, sizeof(pad));
        g.tail += GUEST_RING;
        tail_is(&g, g.tail);
        while (!__atomic_load_n(&g.ctl->asleep, __ATOMIC_SEQ_CST) && now_ms() < end)
            nap(1);
        CHECK(g.ctl->asleep && g.ctl->state == VGR_STATE_READY, "state %u", g.ctl->state);
    }
    CHECK(g.ctl->done == 0, "padding has a number");
    CHECK(guest_done(&g, guest_push(&g, &sync, VGR_CMD_SYNC, sizeof(sync))), "a command after it");
    return 100;
}

/* The worker keeps its own positions and states; what the guest makes of the shared ones is for the
 * guest. Whether the result has come is seen by the result, here. */
static unsigned control_words(void)
{
    static const size_t words[] = {
        offsetof(struct vgr_control, head),         offsetof(struct vgr_control, asleep),
        offsetof(struct vgr_control, done),         offsetof(struct vgr_control, done) + 4,
        offsetof(struct vgr_control, state),        offsetof(struct vgr_control, error),
        offsetof(struct vgr_control, error_seq),    offsetof(struct vgr_control, wait_seq),
        offsetof(struct vgr_control, wait_seq) + 4, offsetof(struct vgr_control, error_text),
    };
    static const uint32_t values[] = {0, 1, 0x7fffffff, 0xffffffff};
    struct guest g;

    guest_open(&g);
    guest_buffer(&g, 4096);
    addition_define(&g);
    for (size_t i = 0; i < N(words); i++) {
        for (size_t v = 0; v < N(values); v++) {
            uint64_t end = now_ms() + PATIENCE_MS;

            memcpy((uint8_t *)g.ctl + words[i], &values[v], sizeof(values[v]));
            addition_run(&g);
            guest_ring(&g, true);
            while (!addition_right(&g) && now_ms() < end)
                nap(1);
            CHECK(addition_right(&g), "no result after %#x at %zu", values[v], words[i]);
        }
    }
    /* The whole hello, which was read long ago. */
    memset(&g.ctl->hello, 0xff, sizeof(g.ctl->hello));
    CHECK(guest_done(&g, addition_run(&g)) && addition_right(&g), "the hello is read again");
    return N(words) * N(values) + 1;
}

const struct hostile_case cases_ring[] = {
    {"ring-positions", positions},
    {"ring-records", records},
    {"ring-padding", padding},
    {"control-words", control_words},
    {0},
};
