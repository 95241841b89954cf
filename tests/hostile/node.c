/* SPDX-License-Identifier: MIT
 *
 * The render node: what is asked of the guest's kernel, for a device of ours and for a bridged one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <virtgpu_drm.h>

#include "guest.h"

int node_ioctl(int fd, unsigned long request, void *arg)
{
    int r;

    do
        r = ioctl(fd, request, arg);
    while (r < 0 && (errno == EINTR || errno == EAGAIN));
    return r < 0 ? -errno : 0;
}

int node_caps(int fd, uint32_t id, uint32_t version, void *buf, uint32_t size)
{
    struct drm_virtgpu_get_caps c = {
        .cap_set_id = id, .cap_set_ver = version, .addr = (uintptr_t)buf, .size = size};

    return node_ioctl(fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &c);
}

int node_open(void)
{
    int fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);

    CHECK(fd >= 0, "cannot open the render node: %s", strerror(errno));
    return fd;
}

bool bridged(void)
{
    static int known = -1;
    struct vgr_capset c;
    int fd;

    if (known < 0) {
        fd = node_open();
        known = node_caps(fd, VGR_CAPSET_ID, VGR_CAPSET_VERSION, &c, sizeof(c)) != 0;
        close(fd);
    }
    return known;
}

int node_context(int fd, uint64_t capset, uint64_t rings)
{
    struct drm_virtgpu_context_set_param params[] = {
        {VIRTGPU_CONTEXT_PARAM_CAPSET_ID, capset},
        {VIRTGPU_CONTEXT_PARAM_NUM_RINGS, rings},
    };
    struct drm_virtgpu_context_init init = {.num_params = 2, .ctx_set_params = (uintptr_t)params};

    return node_ioctl(fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init);
}

/* ---- Resources ---- */

static int map_resource(struct guest *g, uint32_t bo, uint32_t resource, uint64_t size)
{
    struct drm_gem_close c = {.handle = bo};
    struct drm_virtgpu_map m = {.handle = bo};
    int err = node_ioctl(g->fd, DRM_IOCTL_VIRTGPU_MAP, &m);

    if (!err) {
        g->arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, (off_t)m.offset);
        err = g->arena == MAP_FAILED ? -errno : 0;
    }
    if (err) {
        g->arena = NULL;
        node_ioctl(g->fd, DRM_IOCTL_GEM_CLOSE, &c);
        return err;
    }
    g->bo = bo;
    g->resource = resource;
    g->size = size;
    g->ctl = (struct vgr_control *)g->arena;
    return 0;
}

struct drm_virtgpu_resource_create node_bytes(uint32_t size)
{
    return (struct drm_virtgpu_resource_create){
        .format = 64, /* R8_UNORM */
        .bind = 1u << 19,
        .width = size,
        .height = 1,
        .depth = 1,
        .array_size = 1,
        .size = size,
    };
}

int guest_resource(struct guest *g, uint64_t size)
{
    struct drm_virtgpu_resource_create r = node_bytes((uint32_t)size);
    int err = node_ioctl(g->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &r);

    return err ? err : map_resource(g, r.bo_handle, r.res_handle, size);
}

int guest_blob(struct guest *g, uint64_t size)
{
    struct drm_virtgpu_resource_create_blob r = {
        .blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
        .blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
        .size = size,
        .blob_id = VGR_BRIDGE_BLOB_ID,
    };
    int err = node_ioctl(g->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &r);

    return err ? err : map_resource(g, r.bo_handle, r.res_handle, size);
}

/* ---- Submissions ---- */

static int submit(const struct guest *g, struct drm_virtgpu_execbuffer *e, const void *data,
                  uint32_t len, int *fence)
{
    int err;

    e->flags |= fence ? VIRTGPU_EXECBUF_FENCE_FD_OUT : 0;
    e->size = len;
    e->command = (uintptr_t)data;
    e->fence_fd = -1;
    err = node_ioctl(g->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, e);
    if (fence)
        *fence = err ? -1 : e->fence_fd;
    return err;
}

int guest_submit(const struct guest *g, const void *data, uint32_t len, int *fence)
{
    struct drm_virtgpu_execbuffer e = {0};

    if (g->claimed && fence)
        return guest_submit_ring(g, data, len, VGR_BRIDGE_RING_WAIT, fence);
    return submit(g, &e, data, len, fence);
}

int guest_submit_ring(const struct guest *g, const void *data, uint32_t len, uint32_t ring,
                      int *fence)
{
    struct drm_virtgpu_execbuffer e = {.flags = VIRTGPU_EXECBUF_RING_IDX, .ring_idx = ring};

    return submit(g, &e, data, len, fence);
}

int guest_send(const struct guest *g, const struct vgr_submit *s, int *fence)
{
    struct vgr_bridge_submit b = {.nop = VGR_BRIDGE_NOP, .submit = *s};

    return bridged() ? guest_submit(g, &b, sizeof(b), fence)
                     : guest_submit(g, s, sizeof(*s), fence);
}

int guest_say(const struct guest *g, enum vgr_submit_op op, int *fence)
{
    struct vgr_submit s = {
        .magic = VGR_MAGIC,
        .op = op,
        .resource = op == VGR_SUBMIT_OPEN ? g->resource : 0,
        .size = op == VGR_SUBMIT_OPEN ? g->size : 0,
    };

    return guest_send(g, &s, fence);
}

void guest_claim(struct guest *g)
{
    int err;

    if (!bridged())
        return;
    err = node_context(g->fd, VGR_BRIDGE_CONTEXT_CAPSET, VGR_BRIDGE_RINGS);
    CHECK(!err, "no context with rings: %s", strerror(-err));
    g->claimed = true;
    err = guest_say(g, VGR_SUBMIT_CLAIM, NULL);
    CHECK(!err, "CLAIM: %s", strerror(-err));
}
