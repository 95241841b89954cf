/* SPDX-License-Identifier: MIT */
#include "device/control.h"

#include <stdio.h>

#include "protocol/sys.h"

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

struct file_page {
    int fd;
    uint64_t offset;
};

static int file_read(void *opaque, size_t offset, void *buf, size_t len)
{
    const struct file_page *p = opaque;

    return vgr_sys_pread(p->fd, buf, len, p->offset + offset);
}

static int file_write(void *opaque, size_t offset, const void *buf, size_t len)
{
    const struct file_page *p = opaque;

    return vgr_sys_pwrite(p->fd, buf, len, p->offset + offset);
}

void vgr_control_fail_file(int fd, uint64_t offset, enum vgr_error error, const char *text)
{
    struct file_page page = {fd, offset};
    struct vgr_control_io io = {file_read, file_write, &page};

    vgr_control_fail(&io, error, text);
}
