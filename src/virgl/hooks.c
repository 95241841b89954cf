/* SPDX-License-Identifier: MIT
 *
 * The functions of virglrenderer's that may concern a context or a resource of ours.
 *
 * Each asks the bridge, and calls the real function if the answer is that it is none of ours, or if
 * it is the real library itself that calls.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/log.h"
#include "virgl/bridge.h"
#include "virgl/capset.h"
#include "virgl/fences.h"
#include "virgl/real.h"
#include "virgl/service.h"

__attribute__((constructor)) static void loaded(void)
{
    vgr_log_borrow();
}

/* ---- The renderer ---- */

/* QEMU asks for capsets before it starts the renderer, others after. */
static bool decide(void)
{
    static bool named;
    const char *level = getenv("VGR_VIRGL_LOG");

    if (!named) {
        named = true;
        vgr_log_init("vgr-virgl", level && vgr_log_level_parse(level) >= 0
                                      ? (enum vgr_log_level)vgr_log_level_parse(level)
                                      : VGR_LOG_INFO);
    }
    return vgr_capset_decide();
}

static void machine_reset(void *unused)
{
    vgr_fences_stop();
    vgr_bridge_machine_reset();
    vgr_fences_resume();
}

/* Where the monitor is QEMU, it tells us itself when the machine is reset; on the thread that calls us. */
static void watch_resets(void)
{
    static bool watching;
    void (*register_reset)(void (*)(void *), void *);

    if (watching)
        return;
    watching = true;
    *(void **)(&register_reset) = dlsym(RTLD_DEFAULT, "qemu_register_reset");
    if (register_reset)
        register_reset(machine_reset, NULL);
}

int virgl_renderer_init(void *cookie, int flags, struct vgr_virgl_callbacks *cb)
{
    int ret = vgr_real_renderer_init(cookie, flags, cb);
    /* For tests: what is allowed from any thread is allowed from the monitor's. */
    bool async = flags & VGR_VIRGL_ASYNC_FENCE_CB && !getenv("VGR_VIRGL_SYNC");
    int err;

    if (ret || vgr_real_is_inside() || !decide())
        return ret;
    if (cb && cb->version >= VGR_VIRGL_CALLBACKS_FENCES && cb->write_context_fence)
        vgr_fences_start(cb->write_context_fence, cookie, async);
    else
        vgr_warn("this monitor knows no fences of contexts: guests wait by napping");
    watch_resets();
    err = vgr_service_start();
    if (err)
        vgr_error("cannot start the bridge's thread: %s", strerror(-err));
    vgr_debug("%s fences", async ? "asynchronous" : "synchronous");
    return ret;
}

void virgl_renderer_poll(void)
{
    vgr_real_renderer_poll();
    if (!vgr_real_is_inside())
        vgr_fences_poll();
}

void virgl_renderer_cleanup(void *cookie)
{
    if (!vgr_real_is_inside()) {
        vgr_fences_stop();
        vgr_bridge_reset();
    }
    vgr_real_renderer_cleanup(cookie);
}

void virgl_renderer_reset(void)
{
    if (!vgr_real_is_inside()) {
        vgr_fences_stop();
        vgr_bridge_reset();
        vgr_fences_resume();
    }
    vgr_real_renderer_reset();
}

void virgl_renderer_get_cap_set(uint32_t set, uint32_t *ver, uint32_t *size)
{
    vgr_real_renderer_get_cap_set(set, ver, size);
    if (!vgr_real_is_inside() && decide() && set == VGR_BRIDGE_CAPSET_ID && *size)
        *size = vgr_capset_size(*size);
}

void virgl_renderer_fill_caps(uint32_t set, uint32_t ver, void *caps)
{
    uint32_t max_ver = 0, size = 0;

    vgr_real_renderer_fill_caps(set, ver, caps);
    if (vgr_real_is_inside() || set != VGR_BRIDGE_CAPSET_ID || !caps || !vgr_capset_is_offered())
        return;
    vgr_real_renderer_get_cap_set(set, &max_ver, &size);
    if (size)
        vgr_capset_write(caps, size);
}

/* ---- Contexts ---- */

int virgl_renderer_context_create(uint32_t ctx, uint32_t len, const char *name)
{
    int ret;

    if (!vgr_real_is_inside() && vgr_bridge_is_ours(ctx))
        return EINVAL;
    ret = vgr_real_renderer_context_create(ctx, len, name);
    if (!ret && !vgr_real_is_inside())
        vgr_bridge_context_made(ctx, VGR_BRIDGE_CONTEXT_CAPSET);
    return ret;
}

int virgl_renderer_context_create_with_flags(uint32_t ctx, uint32_t flags, uint32_t len,
                                             const char *name)
{
    int ret;

    if (!vgr_real_is_inside() && vgr_bridge_is_ours(ctx))
        return EINVAL;
    ret = vgr_real_renderer_context_create_with_flags(ctx, flags, len, name);
    if (!ret && !vgr_real_is_inside())
        vgr_bridge_context_made(ctx, flags & VGR_VIRGL_CAPSET_MASK);
    return ret;
}

void virgl_renderer_context_destroy(uint32_t ctx)
{
    if (vgr_real_is_inside() || !vgr_bridge_context_destroy(ctx))
        vgr_real_renderer_context_destroy(ctx);
}

void virgl_renderer_context_poll(uint32_t ctx)
{
    if (vgr_real_is_inside() || !vgr_bridge_is_ours(ctx))
        vgr_real_renderer_context_poll(ctx);
    else
        vgr_fences_poll();
}

int virgl_renderer_context_get_poll_fd(uint32_t ctx)
{
    if (!vgr_real_is_inside() && vgr_bridge_is_ours(ctx))
        return -1;
    return vgr_real_renderer_context_get_poll_fd(ctx);
}

int virgl_renderer_context_create_fence(uint32_t ctx, uint32_t flags, uint32_t ring, uint64_t fence)
{
    int ret;

    if (!vgr_real_is_inside() && vgr_bridge_fence(ctx, ring, fence, &ret))
        return ret;
    return vgr_real_renderer_context_create_fence(ctx, flags, ring, fence);
}

void virgl_renderer_ctx_attach_resource(int ctx, int res)
{
    if (vgr_real_is_inside() || !vgr_bridge_attach((uint32_t)ctx, (uint32_t)res))
        vgr_real_renderer_ctx_attach_resource(ctx, res);
}

void virgl_renderer_ctx_detach_resource(int ctx, int res)
{
    if (vgr_real_is_inside() || !vgr_bridge_detach((uint32_t)ctx, (uint32_t)res))
        vgr_real_renderer_ctx_detach_resource(ctx, res);
}

/* True, and the result: the submission was for us. */
static bool submit(void *buf, int ctx, int ndw, int *ret)
{
    bool claim;

    if (vgr_real_is_inside() || !vgr_capset_is_offered())
        return false;
    *ret = vgr_bridge_submit((uint32_t)ctx, buf, ndw, &claim);
    if (claim)
        vgr_real_renderer_context_destroy((uint32_t)ctx);
    return *ret != 1;
}

int virgl_renderer_submit_cmd(void *buf, int ctx, int ndw)
{
    int ret;

    return submit(buf, ctx, ndw, &ret) ? ret : vgr_real_renderer_submit_cmd(buf, ctx, ndw);
}

int virgl_renderer_submit_cmd2(void *buf, int ctx, int ndw, uint64_t *in, uint32_t n_in)
{
    int ret;

    return submit(buf, ctx, ndw, &ret) ? ret
                                       : vgr_real_renderer_submit_cmd2(buf, ctx, ndw, in, n_in);
}

/* ---- Resources ---- */

static bool is_blob(uint32_t res)
{
    return !vgr_real_is_inside() && vgr_bridge_is_blob(res, NULL);
}

int virgl_renderer_resource_create(struct vgr_virgl_create_args *args, struct iovec *iov,
                                   uint32_t n)
{
    int ret;

    if (is_blob(args->handle))
        return EINVAL;
    ret = vgr_real_renderer_resource_create(args, iov, n);
    if (!ret && !vgr_real_is_inside())
        vgr_bridge_backed(args->handle, iov, n);
    return ret;
}

int virgl_renderer_resource_create_blob(const struct vgr_virgl_blob_args *args)
{
    int ret;

    if (is_blob(args->res_handle))
        return -EINVAL;
    if (!vgr_real_is_inside() && vgr_bridge_blob(args, &ret))
        return ret;
    ret = vgr_real_renderer_resource_create_blob(args);
    if (!ret && !vgr_real_is_inside())
        vgr_bridge_backed(args->res_handle, args->iovecs, args->num_iovs);
    return ret;
}

void virgl_renderer_resource_unref(uint32_t res)
{
    if (!vgr_real_is_inside()) {
        if (vgr_bridge_unref(res))
            return;
        vgr_bridge_unbacked(res);
    }
    vgr_real_renderer_resource_unref(res);
}

int virgl_renderer_resource_attach_iov(int res, struct iovec *iov, int n)
{
    int ret;

    if (is_blob((uint32_t)res))
        return EINVAL;
    ret = vgr_real_renderer_resource_attach_iov(res, iov, n);
    if (!ret && !vgr_real_is_inside() && n > 0)
        vgr_bridge_backed((uint32_t)res, iov, (unsigned)n);
    return ret;
}

void virgl_renderer_resource_detach_iov(int res, struct iovec **iov, int *n)
{
    if (is_blob((uint32_t)res)) {
        if (iov)
            *iov = NULL;
        if (n)
            *n = 0;
        return;
    }
    if (!vgr_real_is_inside())
        vgr_bridge_unbacked((uint32_t)res);
    vgr_real_renderer_resource_detach_iov(res, iov, n);
}

/* Of a blob of ours there is nothing to show on a screen. */
static bool blob_info(int res, struct vgr_virgl_info *info)
{
    uint64_t size;

    if (vgr_real_is_inside() || !vgr_bridge_is_blob((uint32_t)res, &size))
        return false;
    *info = (struct vgr_virgl_info){.handle = (uint32_t)res, .fd = -1};
    return true;
}

int virgl_renderer_resource_get_info(int res, struct vgr_virgl_info *info)
{
    return blob_info(res, info) ? 0 : vgr_real_renderer_resource_get_info(res, info);
}

int virgl_renderer_resource_get_info_ext(int res, struct vgr_virgl_info_ext *info)
{
    struct vgr_virgl_info base;

    if (!blob_info(res, &base))
        return vgr_real_renderer_resource_get_info_ext(res, info);
    *info = (struct vgr_virgl_info_ext){.version = info->version, .base = base};
    return 0;
}

int virgl_renderer_resource_map(uint32_t res, void **map, uint64_t *size)
{
    if (!vgr_real_is_inside() && vgr_bridge_is_lost(res))
        return -EBUSY;
    if (is_blob(res))
        return vgr_bridge_map(res, NULL, map, size);
    return vgr_real_renderer_resource_map(res, map, size);
}

int virgl_renderer_resource_map_fixed(uint32_t res, void *addr)
{
    if (is_blob(res))
        return addr ? vgr_bridge_map(res, addr, NULL, NULL) : -EINVAL;
    return vgr_real_renderer_resource_map_fixed(res, addr);
}

int virgl_renderer_resource_unmap(uint32_t res)
{
    return is_blob(res) ? vgr_bridge_unmap(res) : vgr_real_renderer_resource_unmap(res);
}

int virgl_renderer_resource_get_map_info(uint32_t res, uint32_t *info)
{
    if (!is_blob(res))
        return vgr_real_renderer_resource_get_map_info(res, info);
    *info = VGR_VIRGL_MAP_CACHED;
    return 0;
}

int virgl_renderer_resource_export_blob(uint32_t res, uint32_t *type, int *fd)
{
    if (!is_blob(res))
        return vgr_real_renderer_resource_export_blob(res, type, fd);
    *fd = vgr_bridge_blob_fd(res);
    *type = VGR_VIRGL_FD_TYPE_SHM;
    return *fd < 0 ? *fd : 0;
}

int virgl_renderer_transfer_read_iov(uint32_t res, uint32_t ctx, uint32_t level, uint32_t stride,
                                     uint32_t layer_stride, void *box, uint64_t offset,
                                     struct iovec *iov, int n)
{
    if (!vgr_real_is_inside() && (is_blob(res) || vgr_bridge_is_ours(ctx)))
        return EINVAL;
    return vgr_real_renderer_transfer_read_iov(res, ctx, level, stride, layer_stride, box, offset,
                                               iov, n);
}

int virgl_renderer_transfer_write_iov(uint32_t res, uint32_t ctx, int level, uint32_t stride,
                                      uint32_t layer_stride, void *box, uint64_t offset,
                                      struct iovec *iov, unsigned n)
{
    if (!vgr_real_is_inside() && (is_blob(res) || vgr_bridge_is_ours(ctx)))
        return EINVAL;
    return vgr_real_renderer_transfer_write_iov(res, ctx, level, stride, layer_stride, box, offset,
                                                iov, n);
}
