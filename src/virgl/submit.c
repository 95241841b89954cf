/* SPDX-License-Identifier: MIT */
#include "virgl/submit.h"

#include <string.h>

bool vgr_submit_parse(const void *buffer, int n_words, struct vgr_submit *s)
{
    struct vgr_bridge_submit b;

    if (!buffer || n_words != (int)(sizeof(b) / sizeof(uint32_t)))
        return false;
    memcpy(&b, buffer, sizeof(b)); /* the buffer may have any alignment */
    if (b.nop != VGR_BRIDGE_NOP || b.submit.magic != VGR_MAGIC)
        return false;
    switch (b.submit.op) {
    case VGR_SUBMIT_OPEN:
    case VGR_SUBMIT_DOORBELL:
    case VGR_SUBMIT_WAIT:
    case VGR_SUBMIT_CLAIM:
        *s = b.submit;
        return true;
    default:
        return false;
    }
}
