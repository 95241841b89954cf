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
 * A bridged device is one for graphics that has our trailer in the capset of virgl: then a context is
 * claimed before anything else, submissions are wrapped, and the arena is a blob of the host's, if the
 * device has memory to show it in.
 *
 * Two properties of the kernel's driver shape the rest. Errors of the device are invisible here: an
 * ioctl and its fence succeed whatever the device answered, so all news comes through the arena.
 * And all fences of a device without CONTEXT_INIT share one timeline, so that any later fence
 * completes all earlier ones: a fence is a hint, after which the caller looks at shared memory. A
 * bridged device has CONTEXT_INIT, and rings of our own; where it lacks it, there is no fence to wait
 * on, and sleeping is napping.
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
#include <unistd.h>

#include <virtgpu_drm.h>
#include <xf86drm.h>

#include "guest/log.h"
#include "guest/transport.h"
#include "protocol/sys.h"

/* Gallium's numbers for what the kernel passes through unread. */
#define PIPE_BUFFER     0
#define FORMAT_R8_UNORM 64
#define BIND_STAGING    (1u << 19)

/* A submission without WAIT completes at once. Nobody answers for this long: nobody is there. */
#define ALIVE_MS 3000

#define BLOB_TRIES 8

/* Without a fence to sleep on, so long. */
#define NAP_NS INT64_C(300000)

/* `fence` NULL: no fence. */
static int submit(struct vgr_transport *t, enum vgr_submit_op op, int *fence)
{
    struct vgr_bridge_submit b = {
        .nop = VGR_BRIDGE_NOP,
        .submit =
            {
                .magic = VGR_MAGIC,
                .op = op,
                .resource = op == VGR_SUBMIT_OPEN ? t->resource : 0,
                .size = op == VGR_SUBMIT_OPEN ? t->arena_size : 0,
            },
    };
    bool life = op == VGR_SUBMIT_OPEN && t->rings && !t->blob;
    struct drm_virtgpu_execbuffer e = {
        .flags = fence ? VIRTGPU_EXECBUF_FENCE_FD_OUT : 0,
        .size = t->bridged ? sizeof(b) : sizeof(b.submit),
        .command = t->bridged ? (uintptr_t)&b : (uintptr_t)&b.submit,
        .fence_fd = -1,
    };

    if (t->rings && (fence || life)) {
        e.flags |= VIRTGPU_EXECBUF_RING_IDX;
        e.ring_idx = life ? VGR_BRIDGE_RING_LIFE : VGR_BRIDGE_RING_WAIT;
    }
    if (life) {
        e.bo_handles = (uintptr_t)&t->bo;
        e.num_bo_handles = 1;
    }
    if (drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &e))
        return -errno;
    if (!fence)
        return 0;
    *fence = vgr_sys_high(e.fence_fd);
    return *fence < 0 ? -errno : 0;
}

static bool wait_fence(int fence, int64_t timeout_ns)
{
    struct pollfd p = {.fd = fence, .events = POLLIN};
    int ready = vgr_sys_poll(&p, 1, timeout_ns);

    if (ready < 0)
        vgr_sys_nap(timeout_ns < NAP_NS ? timeout_ns : NAP_NS);
    return ready > 0;
}

static bool drm_alive(struct vgr_transport *t)
{
    int fence = -1, err = submit(t, VGR_SUBMIT_DOORBELL, &fence);
    bool answered;

    /* That this process has no more descriptors, or no memory, says nothing of the host. */
    if (err)
        return err == -EMFILE || err == -ENFILE || err == -ENOMEM;
    answered = wait_fence(fence, ALIVE_MS * INT64_C(1000000));
    close(fence);
    return answered;
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
    t->blob = false;
}

static int make_resource(struct vgr_transport *t)
{
    struct drm_virtgpu_resource_create r = {
        .target = PIPE_BUFFER,
        .format = FORMAT_R8_UNORM,
        .bind = BIND_STAGING,
        .width = (uint32_t)t->arena_size,
        .height = 1,
        .depth = 1,
        .array_size = 1,
        .size = (uint32_t)t->arena_size,
    };

    if (drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &r))
        return -errno;
    t->bo = r.bo_handle;
    t->resource = r.res_handle;
    return 0;
}

static int make_blob(struct vgr_transport *t)
{
    struct drm_virtgpu_resource_create_blob r = {
        .blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
        .blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
        .size = t->arena_size,
        .blob_id = VGR_BRIDGE_BLOB_ID,
    };

    if (drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &r))
        return -errno;
    t->bo = r.bo_handle;
    t->resource = r.res_handle;
    t->blob = true;
    return 0;
}

static int map_arena(struct vgr_transport *t)
{
    struct drm_virtgpu_map m = {.handle = t->bo};
    void *p;
    int err;

    if (!drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_MAP, &m)) {
        p = mmap(NULL, t->arena_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, (off_t)m.offset);
        if (p != MAP_FAILED) {
            t->arena = p;
            return 0;
        }
    }
    err = -errno;
    drm_drop(t);
    return err;
}

static bool has_param(int fd, uint64_t param)
{
    int value = 0;
    struct drm_virtgpu_getparam p = {.param = param, .value = (uintptr_t)&value};

    return !drmIoctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &p) && value;
}

/* Makes the context of a bridged device ours. */
static int claim(struct vgr_transport *t)
{
    struct drm_virtgpu_context_set_param params[] = {
        {VIRTGPU_CONTEXT_PARAM_CAPSET_ID, VGR_BRIDGE_CONTEXT_CAPSET},
        {VIRTGPU_CONTEXT_PARAM_NUM_RINGS, VGR_BRIDGE_RINGS},
    };
    struct drm_virtgpu_context_init init = {
        .num_params = sizeof(params) / sizeof(params[0]),
        .ctx_set_params = (uintptr_t)params,
    };

    if (!t->bridged || t->claimed)
        return 0;
    t->claimed = true;
    t->rings = !drmIoctl(t->fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init);
    if (!t->rings)
        vgr_say_debug("no context with rings: %s", strerror(errno));
    return submit(t, VGR_SUBMIT_CLAIM, NULL);
}

/* Whether the host has made the blob shows in the mapping only, for which the kernel waits where no signal
 * reaches: nothing of that where nobody answers. And some numbers of resources cannot be had after a
 * machine was reset (vgr_bridge_is_lost()): the next may do. */
static int blob_arena(struct vgr_transport *t)
{
    int err = -ETIMEDOUT;

    if (t->rings && !drm_alive(t))
        return err;
    for (unsigned i = 0; err && i < BLOB_TRIES; i++) {
        err = make_blob(t);
        if (err)
            return err;
        err = map_arena(t);
    }
    return err;
}

static int drm_arena(struct vgr_transport *t, uint64_t size)
{
    int err;

    if (size > UINT32_MAX)
        return -EFBIG;
    err = claim(t);
    if (err)
        return err;
    t->arena_size = size;
    if (t->bridged && has_param(t->fd, VIRTGPU_PARAM_RESOURCE_BLOB) &&
        has_param(t->fd, VIRTGPU_PARAM_HOST_VISIBLE)) {
        err = blob_arena(t);
        if (!err || err == -ETIMEDOUT)
            return err;
        vgr_say_debug("no blob for the arena: %s", strerror(-err));
    }
    err = make_resource(t);
    return err ? err : map_arena(t);
}

static int drm_open(struct vgr_transport *t)
{
    return submit(t, VGR_SUBMIT_OPEN, NULL);
}

static int drm_doorbell(struct vgr_transport *t)
{
    return submit(t, VGR_SUBMIT_DOORBELL, NULL);
}

static void drm_sleep(struct vgr_transport *t, int64_t timeout_ns)
{
    int64_t pause = timeout_ns < NAP_NS ? timeout_ns : NAP_NS;

    if (t->bridged && !t->rings) {
        vgr_sys_nap(pause);
    } else if (t->fence < 0 && submit(t, VGR_SUBMIT_WAIT, &t->fence)) {
        t->fence = -1;
        vgr_sys_nap(pause);
    } else if (wait_fence(t->fence, timeout_ns)) {
        vgr_sys_close(&t->fence);
    }
}

static void drm_close(struct vgr_transport *t)
{
    drm_drop(t);
    vgr_sys_close(&t->fence);
    vgr_sys_close(&t->fd);
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

/* 0 if the device of graphics has a bridge, and t->capset is its. */
static int find_bridge(struct vgr_transport *t, int fd)
{
    static const size_t room = 4096; /* the capset has 400 bytes */
    uint8_t *buf = calloc(1, room);
    struct drm_virtgpu_get_caps caps = {
        .cap_set_id = VGR_BRIDGE_CAPSET_ID,
        .cap_set_ver = VGR_BRIDGE_CAPSET_VERSION,
        .addr = (uintptr_t)buf,
        .size = (uint32_t)room,
    };
    struct vgr_bridge_trailer trailer;
    int err = -ENODEV;

    if (!buf)
        return -ENOMEM;
    if (!drmIoctl(fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps)) {
        for (size_t i = 0; err && i + sizeof(trailer) <= room; i += 8) {
            if (memcmp(buf + i, VGR_BRIDGE_SIGNATURE, sizeof(trailer.signature)))
                continue;
            memcpy(&trailer, buf + i, sizeof(trailer));
            t->capset = trailer.capset;
            err = trailer.capset.magic == VGR_MAGIC ? 0 : -ENODEV;
        }
    }
    free(buf);
    return err;
}

/* 0 if the node at `path` is a vgr device, and t->fd is open. */
static int try_node(struct vgr_transport *t, const char *path)
{
    struct drm_virtgpu_get_caps caps = {
        .cap_set_id = VGR_CAPSET_ID,
        .addr = (uintptr_t)&t->capset,
        .size = sizeof(t->capset),
    };
    int fd = vgr_sys_high(VGR_SYS_AGAIN(open(path, O_RDWR | O_CLOEXEC)));
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
        /* EBUSY: the device never answered, as when QEMU's memory is not shared with it. */
        if (err != -EBUSY && !find_bridge(t, fd)) {
            vgr_say_debug("%s: bridged device, protocol %u to %u", path, t->capset.version_min,
                          t->capset.version_max);
            t->bridged = true;
            t->fd = fd;
            return 0;
        }
        vgr_say_debug("%s: virtio-gpu without a vgr capset: %s", path, strerror(-err));
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

static const struct vgr_transport none = {
    .ops = &drm_ops, .fd = -1, .line = -1, .workers = -1, .memory = -1, .fence = -1};

/* Where the node is now: if its driver is bound anew while we hold the old one, it gets another name. */
static void find_node(const struct vgr_node *node, char path[VGR_NODE_SIZE])
{
    char pattern[sizeof(node->device) + 16];
    glob_t g = {0};

    strcpy(path, node->path);
    snprintf(pattern, sizeof(pattern), "%s/drm/renderD*", node->device);
    if (node->device[0] && !glob(pattern, 0, NULL, &g))
        snprintf(path, VGR_NODE_SIZE, "/dev/dri/%.32s", strrchr(g.gl_pathv[0], '/') + 1);
    globfree(&g);
}

static void set_node(struct vgr_node *node, const char *name)
{
    char link[300], *device;

    snprintf(node->path, sizeof(node->path), "/dev/dri/%.32s", name);
    snprintf(link, sizeof(link), "/sys/class/drm/%s/device", name);
    device = realpath(link, NULL);
    if (device && strlen(device) < sizeof(node->device))
        strcpy(node->device, device);
    free(device);
}

int vgr_transport_drm(struct vgr_transport *t, const struct vgr_node *node)
{
    char path[VGR_NODE_SIZE];
    int err;

    *t = none;
    find_node(node, path);
    err = try_node(t, path);
    if (err == -EBUSY)
        vgr_say_error("%s does not answer", path);
    return err;
}

unsigned vgr_transport_drm_find(struct vgr_node *nodes, unsigned max)
{
    struct dirent **list = NULL;
    char path[300], busy[300] = "", denied[300] = "";
    unsigned found = 0;
    int n;

    n = scandir("/dev/dri", &list, is_render_node, by_name);
    if (n <= 0)
        vgr_say_debug("no render node in /dev/dri");
    for (int i = 0; i < n; i++) {
        struct vgr_transport t = none;
        int err = -ENODEV;

        snprintf(path, sizeof(path), "/dev/dri/%s", list[i]->d_name);
        if (found < max)
            err = try_node(&t, path);
        if (!err) {
            drm_close(&t);
            set_node(&nodes[found++], list[i]->d_name);
        } else if (err == -EBUSY) {
            strcpy(busy, path);
        } else if (err == -EACCES && is_virtio_gpu_by_sysfs(list[i]->d_name)) {
            strcpy(denied, path);
        }
        free(list[i]);
    }
    free(list);
    if (!found && busy[0])
        vgr_say_error("%s does not answer; if this is a vgr device, give QEMU's memory backend "
                      "share=on",
                      busy);
    else if (!found && denied[0])
        vgr_say_warn("no permission to open %s (is the user in the group 'render'?)", denied);
    return found;
}
