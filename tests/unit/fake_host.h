/* SPDX-License-Identifier: MIT
 *
 * fake_host.h - a host for the guest library, in the test's own thread.
 *
 * Its vgr_transport_direct() takes the place of the library's own. The host works when its doorbell is rung
 * and when the guest sleeps, and at no other time, so a test always takes the same course. It has
 * FAKE_DEVICES (1), of which the second has a queue of its own; it answers each download with 0x5a, and
 * lies as `host` says.
 */
#ifndef VGR_FAKE_HOST_H
#define VGR_FAKE_HOST_H

#include <stdlib.h>
#include <string.h>

#include "guest/conn.h"
#include "honest_reply.h"
#include "vgr_test.h"

#ifndef FAKE_DEVICES
#define FAKE_DEVICES 1
#endif
#define FAKE_ARENA (1u << 20)
#define FAKE_DATA  0x5a

static struct {
    uint64_t last;        /* it runs commands up to this one, then ends the connection; 0: all */
    bool keeps_ring;      /* it never gives room in the ring back */
    void (*worked)(void); /* called when it has said what is done */

    uint8_t *arena;
    struct vgr_hello hello;
    struct vgr_ring_consumer ring, ring2; /* the latter once it is opened */
    uint64_t record[(1u << 20) / 8 / 4];
    uint32_t ran[VGR_CMD_COUNT]; /* commands of each kind */
} host;

static void fake_reply(void)
{
    struct vgr_reply *r = honest_reply(host.arena, &host.hello, FAKE_DEVICES);

    r->devices[0] = (struct vgr_device_info){
        .alignment = 64, .max_size = UINT64_C(1) << 32, .memory_total = UINT64_C(1) << 32};
    strcpy(r->devices[0].name, "Fake");
    r->devices[1] = r->devices[0];
    r->devices[1].flags = VGR_DEVICE_OWN_QUEUE;
    strcpy(r->devices[1].name, "Fake2");
}

static void fake_run(const struct vgr_cmd *h)
{
    const struct vgr_cmd_alloc *alloc = (const struct vgr_cmd_alloc *)h;
    const struct vgr_cmd_data *data = (const struct vgr_cmd_data *)h;
    const struct vgr_cmd_queue_open *open = (const struct vgr_cmd_queue_open *)h;

    host.ran[h->op]++;
    if (h->op == VGR_CMD_QUEUE_OPEN) {
        vgr_ring_consumer_init(&host.ring2, host.arena + open->off,
                               host.arena + open->off + VGR_CONTROL_SIZE, open->ring_size);
        host.ring2.ctl->asleep = 1;
    }
    if (h->op == VGR_CMD_BUFFER_ALLOC)
        *(struct vgr_alloc_reply *)(host.arena + alloc->reply_off) =
            (struct vgr_alloc_reply){.ok = 1, .size = alloc->size};
    if (h->op == VGR_CMD_GET)
        memset(host.arena + data->data_off, FAKE_DATA, data->len);
}

/* After the first queue: all that it was given is done, and so are the waits for it. */
static void fake_work_second(void)
{
    while (vgr_ring_next(&host.ring2, host.record, host.ring2.size / 4) > 0)
        fake_run((struct vgr_cmd *)host.record);
    vgr_ring_release(&host.ring2);
    vgr_ring_complete(&host.ring2, host.ring2.seq);
    host.ring2.ctl->asleep = 1;
}

static void fake_work(void)
{
    struct vgr_control *ctl = (struct vgr_control *)host.arena;

    while ((!host.last || host.ring.seq < host.last) &&
           vgr_ring_next(&host.ring, host.record, host.ring.size / 4) > 0)
        fake_run((struct vgr_cmd *)host.record);
    if (!host.keeps_ring)
        vgr_ring_release(&host.ring);
    vgr_ring_complete(&host.ring, host.ring.seq);
    ctl->asleep = 1;
    if (host.ring2.ctl)
        fake_work_second();
    if (host.last && host.ring.seq == host.last)
        ctl->state = VGR_STATE_FAILED;
    if (host.worked)
        host.worked();
}

static int fake_arena(struct vgr_transport *t, uint64_t size)
{
    t->arena = calloc(1, size);
    t->arena_size = size;
    return t->arena ? 0 : -1;
}

static int fake_open(struct vgr_transport *t)
{
    struct vgr_control *ctl = (struct vgr_control *)t->arena;

    host.arena = t->arena;
    host.hello = ctl->hello;
    vgr_ring_consumer_init(&host.ring, t->arena, t->arena + host.hello.ring_off,
                           host.hello.ring_size);
    fake_reply();
    ctl->state = VGR_STATE_READY;
    ctl->asleep = 1;
    return 0;
}

static int fake_doorbell(struct vgr_transport *t)
{
    fake_work();
    return 0;
}

static void fake_sleep(struct vgr_transport *t, int64_t timeout_ns)
{
    fake_work();
}

static bool fake_alive(struct vgr_transport *t)
{
    return false;
}

static void fake_drop(struct vgr_transport *t)
{
    free(t->arena);
    t->arena = NULL;
}

int vgr_transport_direct(struct vgr_transport *t, const char *path)
{
    static const struct vgr_transport_ops ops = {
        .name = "fake",
        .alive_is_quick = true,
        .sleep_is_cheap = true,
        .arena = fake_arena,
        .open = fake_open,
        .doorbell = fake_doorbell,
        .sleep = fake_sleep,
        .alive = fake_alive,
        .drop = fake_drop,
        .close = fake_drop,
    };

    *t = (struct vgr_transport){
        .ops = &ops, .fd = -1, .line = -1, .workers = -1, .memory = -1, .fence = -1};
    t->capset = (struct vgr_capset){
        .magic = VGR_MAGIC,
        .version_min = VGR_PROTOCOL_VERSION,
        .version_max = VGR_PROTOCOL_VERSION,
        .arena_min = FAKE_ARENA,
        .arena_max = FAKE_ARENA,
        .arena_default = FAKE_ARENA,
    };
    return 0;
}

#endif
