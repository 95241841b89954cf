/* SPDX-License-Identifier: MIT
 *
 * fuzz_vhost.c - vhost-user messages, with a guest behind them.
 *
 * Theory of operation
 * -------------------
 *
 * QEMU is played over a socket (qemu_end.h), its guest in memory that the messages share. The front is the
 * whole struct vgr_vhost, so that queues start, stop and move while they have commands in them.
 *
 * The first byte of an input says if workers may be started (see fuzz_gpu.c), the second if the queues
 * are set up at the beginning.
 */
#include "fuzz.h"
#include "qemu_end.h"

#define ACTIONS 64

static void setup(struct rig *r)
{
    static struct front front;
    bool workers = fuzz_u8(&r->in) < 0x10;

    rig_init(r, &front, workers ? 2 : 0);
    connect_qemu(r);
    if (fuzz_u8(&r->in) >= 0xc0)
        return;
    introduce(r);
    if (workers) {
        program_starts(&r->g);
        vgr_event_signal(r->kick);
        settle(r);
        FUZZ_CHECK(r->front->pool.alive == 1);
    }
}

static void act(struct rig *r)
{
    uint8_t what = fuzz_u8(&r->in);

    if (what < 0x80) {
        message(r);
    } else if (what < 0xd0) {
        guest_command(&r->in, &r->g);
        vgr_event_signal(r->kick);
        settle(r);
    } else if (what < 0xf0) {
        guest_scribbles(&r->in, &r->g);
    } else if (what < 0xf1 && !r->had_list) {
        r->had_list = true; /* they take long */
        guest_long_list(&r->in, &r->g);
        vgr_event_signal(r->kick);
        settle(r);
    } else if (what < 0xfc) {
        vgr_loop_turn(&r->front->loop, r->front->pool.alive ? 20 : 0);
        settle(r);
    } else { /* QEMU ends */
        shutdown(r->sock, SHUT_WR);
        settle(r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;

    memset(&r, 0, sizeof(r));
    r.in = (struct fuzz_in){data, size};
    setup(&r);
    for (int i = 0; i < ACTIONS && r.in.left; i++)
        act(&r);
    front_finish(r.front);
    rig_finish(&r);
    return 0;
}
