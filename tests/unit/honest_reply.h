/* SPDX-License-Identifier: MIT
 *
 * honest_reply.h - what a host that is played for the guest library answers to its hello, but for the devices.
 */
#ifndef VGR_TEST_HONEST_REPLY_H
#define VGR_TEST_HONEST_REPLY_H

#include "guest/dict.h"
#include "protocol/wire.h"

/* Writes the reply and its dictionary where `hello` wants them; returns it. */
static inline struct vgr_reply *honest_reply(uint8_t *arena, const struct vgr_hello *hello,
                                             uint32_t n_devices)
{
    struct vgr_reply *r = (struct vgr_reply *)(arena + hello->reply_off);
    static struct vgr_names names;

    vgr_dict_fill(&names);
    *r = (struct vgr_reply){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .n_devices = n_devices,
        .max_buffers = 64,
        .max_streams = 8,
        .max_graphs = 64,
        .max_tensors = 4096,
        .dict_off = sizeof(*r),
        .dict_len = (uint32_t)vgr_names_size(&names),
    };
    vgr_names_write(&names, (uint8_t *)(r + 1), hello->reply_cap - sizeof(*r));
    return r;
}

#endif
