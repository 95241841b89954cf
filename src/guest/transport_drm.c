/* SPDX-License-Identifier: MIT
 *
 * The virtio-gpu render node.
 *
 * Theory of operation
 * -------------------
 *
 * A vgr device is a virtio-gpu that has a capset of our id with our magic in it; reading it has no
 * side effect on other devices. The arena is a plain 3D resource, which the kernel backs with
 * ordinary pages of the guest. Submissions are EXECBUFFERs of one struct vgr_submit.
 *
 * Two properties of the kernel's driver shape the rest. Errors of the device are invisible here: an
 * ioctl and its fence succeed whatever the device answered, so all news comes through the arena.
 * And all fences of a device without CONTEXT_INIT share one timeline, so that any later fence
 * completes all earlier ones: a fence is a hint, after which the caller looks at shared memory.
 *
 * A submission that nobody answers stays in the virtqueue, and who submits to a full one sleeps where no
 * signal reaches it. So a fence that has not come is slept on again, and nothing is submitted beside it:
 * if the host is gone, all that a process leaves in the queue is a few entries.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <virtgpu_drm.h>
#include <xf86drm.h>

#include "guest/log.h"
#include "guest/transport.h"

/* Gallium's numbers for what the kernel passes through unread. */
#define PIPE_BUFFER     0
#define FORMAT_R8_UNORM 64
#define BIND_STAGING    (1u << 19)

/* A submission without WAIT completes at once. Nobody answers for this long: nobody is there. */
#define ALIVE_MS 3000

/* `fence` NULL: no fence. */
static int submit(struct vgr_transport *t, enum vgr_submit_op op, int *fence)
{
    struct vgr_submit s = {
        .magic = VGR_MAGIC,
        .op = op,
        .resource = op == VGR_SUBMIT_OPEN ? t->resource : 0,
        .size = op == VGR_SUBMIT_OPEN ? t->arena_size : 0,
    };
    struct drm_virtgpu_execbuffer e = {
        .flags = fence ? VIRTGPU_EXECBUF_FENCE_FD_OUT : 0,
        .size = sizeof(s),
        .command = (uintptr_t)&s,
        .fence_fd = -1,
    };

    if (drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &e))
        return -errno;
    if (fence)
        *fence = e.fence_fd;
    return 0;
}

static void drm_drop(struct vgr_transport *t)
{
    struct drm_gem_close c = {.handle = t->bo};

    if (t->arena)
        munmap(t->arena, t->arena_size);
    t->arena = NULL;
    if (t->bo)
        drmIoctl(t->fd, DRM_IOCTL_GEM_CLOSE, &c);
    t->bo = 0;
}

static int drm_arena(struct vgr_transport *t, uint64_t size)
{
    struct drm_virtgpu_resource_create r = {
        .target = PIPE_BUFFER,
        .format = FORMAT_R8_UNORM,
        .bind = BIND_STAGING,
        .width = (uint32_t)size,
        .height = 1,
        .depth = 1,
        .array_size = 1,
        .size = (uint32_t)size,
    };
    struct drm_virtgpu_map m = {0};
    void *p;
    int err;

    if (size > UINT32_MAX)
        return -EFBIG;
    t->arena_size = size;
    if (drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &r))
        return -errno;
    t->bo = r.bo_handle;
    t->resource = r.res_handle;

    m.handle = t->bo;
    if (drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_MAP, &m))
        goto fail;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, (off_t)m.offset);
    if (p == MAP_FAILED)
        goto fail;
    t->arena = p;
    return 0;

fail:
    err = -errno;
    drm_drop(t);
    return err;
}

static int drm_open(struct vgr_transport *t)
{
    return submit(t, VGR_SUBMIT_OPEN, NULL);
}

static int drm_doorbell(struct vgr_transport *t)
{
    return submit(t, VGR_SUBMIT_DOORBELL, NULL);
}

static bool wait_fence(int fence, int64_t timeout_ns)
{
    struct pollfd p = {.fd = fence, .events = POLLIN};
    struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};

    return ppoll(&p, 1, &ts, NULL) > 0;
}

static void drm_sleep(struct vgr_transport *t, int64_t timeout_ns)
{
    struct timespec pause = {.tv_nsec = 1000000};

    /* Without a fence to sleep on, at least do not burn the CPU. */
    if (t->fence < 0 && submit(t, VGR_SUBMIT_WAIT, &t->fence)) {
        t->fence = -1;
        nanosleep(&pause, NULL);
    } else if (wait_fence(t->fence, timeout_ns)) {
        close(t->fence);
        t->fence = -1;
    }
}

static bool drm_alive(struct vgr_transport *t)
{
    int fence = -1;
    bool answered;

    if (submit(t, VGR_SUBMIT_DOORBELL, &fence))
        return false;
    answered = wait_fence(fence, ALIVE_MS * INT64_C(1000000));
    close(fence);
    return answered;
}

static void drm_close(struct vgr_transport *t)
{
    drm_drop(t);
    if (t->fence >= 0)
        close(t->fence);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = t->fence = -1;
}

static const struct vgr_transport_ops drm_ops = {
    .name = "virtio-gpu",
    .arena = drm_arena,
    .open = drm_open,
    .doorbell = drm_doorbell,
    .sleep = drm_sleep,
    .alive = drm_alive,
    .drop = drm_drop,
    .close = drm_close,
};

static bool is_virtio_gpu(int fd)
{
    drmVersionPtr v = drmGetVersion(fd);
    bool is = v && v->name && !strcmp(v->name, "virtio_gpu");

    drmFreeVersion(v);
    return is;
}

static bool has_driver(const char *device, const char *name)
{
    char path[300], driver[256];
    const char *base;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/driver", device);
    n = readlink(path, driver, sizeof(driver) - 1);
    if (n < 0)
        return false;
    driver[n] = 0;
    base = strrchr(driver, '/');
    return base && !strcmp(base + 1, name);
}

/* The same for a node that we may not open: sysfs tells everybody. The node's device is the one that
 * carries the virtio device, a PCI device for instance, or, in older kernels, the virtio device. */
static bool is_virtio_gpu_by_sysfs(const char *node)
{
    char pattern[300];
    glob_t g = {0};
    bool is = false;

    snprintf(pattern, sizeof(pattern), "/sys/class/drm/%s/device", node);
    if (has_driver(pattern, "virtio_gpu"))
        return true;
    strcat(pattern, "/virtio*");
    if (!glob(pattern, 0, NULL, &g)) {
        for (size_t i = 0; i < g.gl_pathc; i++)
            is |= has_driver(g.gl_pathv[i], "virtio_gpu");
    }
    globfree(&g);
    return is;
}

/* 0 if the node at `path` is a vgr device, and t->fd is open. */
static int try_node(struct vgr_transport *t, const char *path)
{
    struct drm_virtgpu_get_caps caps = {
        .cap_set_id = VGR_CAPSET_ID,
        .addr = (uintptr_t)&t->capset,
        .size = sizeof(t->capset),
    };
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int err;

    if (fd < 0) {
        err = -errno;
        vgr_say_debug("%s: %s", path, strerror(errno));
        return err;
    }
    if (!is_virtio_gpu(fd)) {
        vgr_say_debug("%s: another kind of GPU", path);
        err = -ENODEV;
        goto fail;
    }
    memset(&t->capset, 0, sizeof(t->capset));
    if (drmIoctl(fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps)) {
        err = -errno;
        vgr_say_debug("%s: virtio-gpu without a vgr capset: %s", path, strerror(errno));
        /* EBUSY: the device never answered, as when QEMU's memory is not shared with it. */
        err = err == -EBUSY ? err : -ENODEV;
        goto fail;
    }
    if (t->capset.magic != VGR_MAGIC) {
        vgr_say_debug("%s: virtio-gpu of another kind", path);
        err = -ENODEV;
        goto fail;
    }
    vgr_say_debug("%s: vgr device, protocol %u to %u", path, t->capset.version_min,
                  t->capset.version_max);
    t->fd = fd;
    return 0;

fail:
    close(fd);
    return err;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strverscmp((*a)->d_name, (*b)->d_name);
}

static int is_render_node(const struct dirent *d)
{
    return !strncmp(d->d_name, "renderD", 7);
}

int vgr_transport_drm(struct vgr_transport *t)
{
    struct dirent **list = NULL;
    char path[300], busy[300] = "", denied[300] = "";
    int n, err = -ENODEV;

    *t = (struct vgr_transport){
        .ops = &drm_ops, .fd = -1, .doorbell = -1, .wakeup = -1, .memory = -1, .fence = -1};

    n = scandir("/dev/dri", &list, is_render_node, by_name);
    if (n <= 0)
        vgr_say_debug("no render node in /dev/dri");
    for (int i = 0; i < n; i++) {
        if (err) {
            int e;

            snprintf(path, sizeof(path), "/dev/dri/%s", list[i]->d_name);
            e = try_node(t, path);
            if (!e)
                err = 0;
            else if (e == -EBUSY)
                strcpy(busy, path);
            else if (e == -EACCES && is_virtio_gpu_by_sysfs(list[i]->d_name))
                strcpy(denied, path);
        }
        free(list[i]);
    }
    free(list);
    if (err && busy[0]) {
        vgr_say_error("%s does not answer; if this is a vgr device, give QEMU's memory backend "
                      "share=on",
                      busy);
        err = -EBUSY;
    } else if (err && denied[0]) {
        vgr_say_warn("no permission to open %s (is the user in the group 'render'?)", denied);
        err = -EACCES;
    }
    return err;
}
