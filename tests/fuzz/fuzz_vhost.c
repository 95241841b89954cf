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

#include <fcntl.h>
#include <signal.h>

#include "common/log.h"
#include "qemu_end.h"

#define ACTIONS 64

static void setup(struct rig *r)
{
    static struct front front;
    bool workers = fuzz_u8(&r->in) < 0x10;

    guest_init(&r->g, FUZZ_RING, 0, false);
    vgr_vq_stop(&r->g.vq);
    r->front = &front;
    front_init(r->front, workers ? 2 : 0);
    r->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->sock = -1;
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

static void teardown(struct rig *r)
{
    front_finish(r->front);
    close(r->sock);
    close(r->kick);
    guest_finish(&r->g);
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
    } else if (what < 0xfc) {
        serve_loop(&r->front->loop, r->front->pool.alive ? 20 : 0);
        settle(r);
    } else { /* QEMU ends */
        shutdown(r->sock, SHUT_WR);
        settle(r);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    signal(SIGPIPE, SIG_IGN);
    vgr_log_init("fuzz", VGR_LOG_ERROR);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;

    memset(&r, 0, sizeof(r));
    r.in = (struct fuzz_in){data, size};
    setup(&r);
    for (int i = 0; i < ACTIONS && r.in.left; i++)
        act(&r);
    teardown(&r);
    return 0;
}
