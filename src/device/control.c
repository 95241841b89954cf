/* SPDX-License-Identifier: MIT */
#include "device/control.h"

#include <stdio.h>

void vgr_control_fail(const struct vgr_control_io *io, enum vgr_error error, const char *text)
{
    struct vgr_failure f = {.state = VGR_STATE_FAILED, .error = error};
    uint32_t state;

    if (io->read(io->opaque, VGR_FAILURE_OFFSET, &state, sizeof(state)) ||
        state == VGR_STATE_FAILED)
        return;
    snprintf(f.error_text, sizeof(f.error_text), "%s", text);
    if (io->write(io->opaque, VGR_FAILURE_OFFSET + sizeof(f.state), &f.error,
                  sizeof(f) - sizeof(f.state)))
        return;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    io->write(io->opaque, VGR_FAILURE_OFFSET, &f.state, sizeof(f.state));
}
