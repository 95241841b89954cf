/* SPDX-License-Identifier: MIT
 *
 * calls.h - the interface of virglrenderer (1.0 to 1.3), as far as its callers see it.
 *
 * Stated here and not taken from virglrenderer.h, since a bridge must have every call of every
 * version, whichever one it was built beside. Layouts and signatures are those of the library's
 * public header, which only ever adds to them. Struct names carry our prefix; pointers to what we
 * never look into are void pointers.
 *
 * The table has two lists. Calls of VGR_VIRGL_PLAIN are handed to the real library as they come.
 * Those of VGR_VIRGL_HOOKED may concern a context or a resource of ours (hooks.c). An entry is: the
 * type of the result, the name without "virgl_", parameters, arguments, and the result where the real
 * library is too old to have the call.
 */
#ifndef VGR_VIRGL_CALLS_H
#define VGR_VIRGL_CALLS_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct vgr_virgl_callbacks {
    int version;
    void (*write_fence)(void *cookie, uint32_t fence);
    void *(*create_gl_context)(void *cookie, int scanout, void *param);
    void (*destroy_gl_context)(void *cookie, void *ctx);
    int (*make_current)(void *cookie, int scanout, void *ctx);
    int (*get_drm_fd)(void *cookie);
    /* version >= 3 */
    void (*write_context_fence)(void *cookie, uint32_t ctx, uint32_t ring, uint64_t fence);
    int (*get_server_fd)(void *cookie, uint32_t version);
    void *(*get_egl_display)(void *cookie);
};

#define VGR_VIRGL_CALLBACKS_FENCES 3 /* the version that brought write_context_fence */
#define VGR_VIRGL_ASYNC_FENCE_CB   (1 << 8)
#define VGR_VIRGL_CAPSET_MASK      0xffu /* of a context's flags */

struct vgr_virgl_create_args {
    uint32_t handle, target, format, bind, width, height, depth, array_size, last_level, nr_samples;
    uint32_t flags;
};

enum { VGR_VIRGL_BLOB_HOST3D = 2 };

struct vgr_virgl_blob_args {
    uint32_t res_handle;
    uint32_t ctx_id;
    uint32_t blob_mem;
    uint32_t blob_flags;
    uint64_t blob_id;
    uint64_t size;
    const struct iovec *iovecs;
    uint32_t num_iovs;
};

struct vgr_virgl_info {
    uint32_t handle, format, width, height, depth, flags, tex_id, stride;
    int drm_fourcc;
    int fd;
};

struct vgr_virgl_info_ext {
    int version;
    struct vgr_virgl_info base;
    bool has_dmabuf_export;
    int planes;
    uint64_t modifiers;
    void *d3d_tex2d;
};

#define VGR_VIRGL_MAP_CACHED  1u
#define VGR_VIRGL_FD_TYPE_SHM 3u

static_assert(sizeof(struct vgr_virgl_create_args) == 44, "virglrenderer's");
static_assert(sizeof(struct vgr_virgl_blob_args) == 48, "virglrenderer's");
static_assert(sizeof(struct vgr_virgl_info) == 40, "virglrenderer's");
static_assert(offsetof(struct vgr_virgl_callbacks, write_context_fence) == 48, "virglrenderer's");

/* clang-format off */
#define VGR_VIRGL_PLAIN(X)                                                                         \
    X(void *, renderer_get_cursor_data, (uint32_t res, uint32_t *w, uint32_t *h), (res, w, h), NULL)\
    X(void, renderer_get_rect,                                                                     \
      (int res, struct iovec *iov, unsigned n, uint32_t off, int x, int y, int w, int h),          \
      (res, iov, n, off, x, y, w, h), )                                                            \
    X(int, renderer_get_fd_for_texture, (uint32_t tex, int *fd), (tex, fd), -ENOSYS)               \
    X(int, renderer_get_fd_for_texture2, (uint32_t tex, int *fd, int *stride, int *offset),        \
      (tex, fd, stride, offset), -ENOSYS)                                                          \
    X(int, renderer_resource_import_eglimage, (struct vgr_virgl_create_args *args, void *image),   \
      (args, image), ENOSYS)                                                                       \
    X(void, renderer_resource_set_priv, (uint32_t res, void *priv), (res, priv), )                 \
    X(void *, renderer_resource_get_priv, (uint32_t res), (res), NULL)                             \
    X(int, renderer_create_fence, (int fence, uint32_t ctx), (fence, ctx), ENOSYS)                 \
    X(void, renderer_force_ctx_0, (void), (), )                                                    \
    X(void *, set_debug_callback, (void *cb), (cb), NULL)                                          \
    X(void, set_log_callback, (void *cb, void *data, void *free_data), (cb, data, free_data), )    \
    X(int, renderer_get_poll_fd, (void), (), -1)                                                   \
    X(int, renderer_execute, (void *args, uint32_t size), (args, size), -ENOSYS)                   \
    X(int, renderer_resource_import_blob, (const void *args), (args), -ENOSYS)                     \
    X(int, renderer_export_fence, (uint64_t fence, int *fd), (fence, fd), -ENOSYS)                 \
    X(int, renderer_export_signalled_fence, (void), (), -1)                                        \
    X(int, renderer_attach_fence, (int ctx, int fd), (ctx, fd), -ENOSYS)                           \
    X(int, renderer_get_fence_fd, (uint64_t fence), (fence), -1)                                   \
    X(int, renderer_get_dev_fd, (int ctx), (ctx), -1)

#define VGR_VIRGL_HOOKED(X)                                                                        \
    X(int, renderer_init, (void *cookie, int flags, struct vgr_virgl_callbacks *cb),               \
      (cookie, flags, cb), -ENOSYS)                                                                \
    X(void, renderer_poll, (void), (), )                                                           \
    X(void, renderer_cleanup, (void *cookie), (cookie), )                                          \
    X(void, renderer_reset, (void), (), )                                                          \
    X(void, renderer_get_cap_set, (uint32_t set, uint32_t *ver, uint32_t *size),                   \
      (set, ver, size), )                                                                          \
    X(void, renderer_fill_caps, (uint32_t set, uint32_t ver, void *caps), (set, ver, caps), )      \
    X(int, renderer_context_create, (uint32_t ctx, uint32_t len, const char *name),                \
      (ctx, len, name), ENOSYS)                                                                    \
    X(int, renderer_context_create_with_flags,                                                     \
      (uint32_t ctx, uint32_t flags, uint32_t len, const char *name), (ctx, flags, len, name),     \
      ENOSYS)                                                                                      \
    X(void, renderer_context_destroy, (uint32_t ctx), (ctx), )                                     \
    X(void, renderer_context_poll, (uint32_t ctx), (ctx), )                                        \
    X(int, renderer_context_get_poll_fd, (uint32_t ctx), (ctx), -1)                                \
    X(int, renderer_context_create_fence,                                                          \
      (uint32_t ctx, uint32_t flags, uint32_t ring, uint64_t fence), (ctx, flags, ring, fence),    \
      -ENOSYS)                                                                                     \
    X(void, renderer_ctx_attach_resource, (int ctx, int res), (ctx, res), )                        \
    X(void, renderer_ctx_detach_resource, (int ctx, int res), (ctx, res), )                        \
    X(int, renderer_submit_cmd, (void *buf, int ctx, int ndw), (buf, ctx, ndw), -ENOSYS)           \
    X(int, renderer_submit_cmd2, (void *buf, int ctx, int ndw, uint64_t *in, uint32_t n_in),       \
      (buf, ctx, ndw, in, n_in), -ENOSYS)                                                          \
    X(int, renderer_resource_create,                                                               \
      (struct vgr_virgl_create_args *args, struct iovec *iov, uint32_t n), (args, iov, n), ENOSYS) \
    X(int, renderer_resource_create_blob, (const struct vgr_virgl_blob_args *args), (args),        \
      -ENOSYS)                                                                                     \
    X(void, renderer_resource_unref, (uint32_t res), (res), )                                      \
    X(int, renderer_resource_attach_iov, (int res, struct iovec *iov, int n), (res, iov, n),       \
      ENOSYS)                                                                                      \
    X(void, renderer_resource_detach_iov, (int res, struct iovec **iov, int *n), (res, iov, n), )  \
    X(int, renderer_resource_get_info, (int res, struct vgr_virgl_info *info), (res, info), ENOSYS)\
    X(int, renderer_resource_get_info_ext, (int res, struct vgr_virgl_info_ext *info),             \
      (res, info), ENOSYS)                                                                         \
    X(int, renderer_resource_map, (uint32_t res, void **map, uint64_t *size), (res, map, size),    \
      -ENOSYS)                                                                                     \
    X(int, renderer_resource_map_fixed, (uint32_t res, void *addr), (res, addr), -EOPNOTSUPP)      \
    X(int, renderer_resource_unmap, (uint32_t res), (res), -ENOSYS)                                \
    X(int, renderer_resource_get_map_info, (uint32_t res, uint32_t *info), (res, info), -ENOSYS)   \
    X(int, renderer_resource_export_blob, (uint32_t res, uint32_t *type, int *fd),                 \
      (res, type, fd), -ENOSYS)                                                                    \
    X(int, renderer_transfer_read_iov,                                                             \
      (uint32_t res, uint32_t ctx, uint32_t level, uint32_t stride, uint32_t layer_stride,         \
       void *box, uint64_t offset, struct iovec *iov, int n),                                      \
      (res, ctx, level, stride, layer_stride, box, offset, iov, n), ENOSYS)                        \
    X(int, renderer_transfer_write_iov,                                                            \
      (uint32_t res, uint32_t ctx, int level, uint32_t stride, uint32_t layer_stride,              \
       void *box, uint64_t offset, struct iovec *iov, unsigned n),                                 \
      (res, ctx, level, stride, layer_stride, box, offset, iov, n), ENOSYS)
/* clang-format on */

#define VGR_VIRGL_EXPORT __attribute__((visibility("default")))

/* What this library exports. */
#define VGR_VIRGL_DECLARE(ret, name, params, args, missing)                                        \
    VGR_VIRGL_EXPORT ret virgl_##name params;
VGR_VIRGL_PLAIN(VGR_VIRGL_DECLARE)
VGR_VIRGL_HOOKED(VGR_VIRGL_DECLARE)
#undef VGR_VIRGL_DECLARE

#endif
