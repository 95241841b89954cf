/* SPDX-License-Identifier: MIT
 *
 * Failing: see conn.h.
 */
#include "guest/conn.h"

#include "guest/log.h"

static const char *error_name(uint32_t error)
{
    static const char *const names[] = {
        [VGR_ERROR_NONE] = "no reason given",
        [VGR_ERROR_VERSION] = "no common protocol version",
        [VGR_ERROR_HELLO] = "malformed hello",
        [VGR_ERROR_ARENA] = "arena refused",
        [VGR_ERROR_NO_DEVICE] = "no device on the host",
        [VGR_ERROR_RING] = "ring out of order",
        [VGR_ERROR_COMMAND] = "malformed command",
        [VGR_ERROR_HANDLE] = "unknown handle",
        [VGR_ERROR_RANGE] = "out of range",
        [VGR_ERROR_GRAPH] = "graph refused",
        [VGR_ERROR_COMPUTE] = "computation failed",
        [VGR_ERROR_LIMIT] = "limit exceeded",
        [VGR_ERROR_WORKER_DIED] = "the worker died",
        [VGR_ERROR_INTERNAL] = "internal error",
    };

    return error < sizeof(names) / sizeof(names[0]) ? names[error] : "unknown error";
}

void vgr_conn_fail(struct vgr_conn *c, const char *why)
{
    const struct vgr_control *ctl = vgr_conn_control(c);
    char text[VGR_CONTROL_TEXT];

    if (__atomic_exchange_n(&c->failed, 1, __ATOMIC_ACQ_REL))
        return;
    if (__atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_FAILED) {
        vgr_say_clean(text, sizeof(text), ctl->error_text, sizeof(ctl->error_text));
        vgr_say_error("%s: error %u (%s) at command %llu: %s", why, ctl->error,
                      error_name(ctl->error), (unsigned long long)ctl->error_seq, text);
    } else {
        vgr_say_error("%s", why);
    }
}
