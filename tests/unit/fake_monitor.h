/* SPDX-License-Identifier: MIT
 *
 * fake_monitor.h - a monitor around the bridge: a virglrenderer that only keeps tables (what the bridge
 * calls vgr_real_*), guest memory, the callbacks that a monitor gives, and the calls that its guest
 * makes it make.
 */
#ifndef VGR_FAKE_MONITOR_H
#define VGR_FAKE_MONITOR_H

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/wire.h"
#include "virgl/calls.h"
#include "virgl/real.h"

#define MON_IDS     32u
#define MON_CAPSET  100u /* bytes of virgl's own; no multiple of 8 */
#define MON_RAM     (16u << 20)
#define MON_FENCES  256u
#define MON_MAX_IOV 64

static struct monitor {
    /* The real library. */
    bool context[MON_IDS];
    struct iovec *iov[MON_IDS];
    int n_iov[MON_IDS];
    unsigned submits, real_fences, transfers;
    /* The guest. */
    int ram_fd;
    uint8_t *ram;
    struct iovec pages[MON_IDS][MON_MAX_IOV];
    /* The callbacks. */
    pthread_mutex_t lock;
    struct {
        uint32_t ctx, ring;
        uint64_t id;
        bool own_thread; /* on the monitor's */
    } fences[MON_FENCES];
    unsigned n_fences;
    pthread_t thread;
} mon = {.lock = PTHREAD_MUTEX_INITIALIZER};

__thread int vgr_real_depth;

/* ---- The real library ---- */

#define MON_MISSING(ret, name, params, args, missing)                                              \
    ret vgr_real_##name params                                                                     \
    {                                                                                              \
        return missing;                                                                            \
    }
VGR_VIRGL_PLAIN(MON_MISSING)

int vgr_real_renderer_init(void *cookie, int flags, struct vgr_virgl_callbacks *cb)
{
    return 0;
}

void vgr_real_renderer_poll(void)
{
}

void vgr_real_renderer_cleanup(void *cookie)
{
}

void vgr_real_renderer_reset(void)
{
    memset(mon.context, 0, sizeof(mon.context));
    memset(mon.iov, 0, sizeof(mon.iov));
}

void vgr_real_renderer_get_cap_set(uint32_t set, uint32_t *ver, uint32_t *size)
{
    *ver = set == 1 || set == 2 ? 1 : 0;
    *size = *ver ? MON_CAPSET : 0;
}

void vgr_real_renderer_fill_caps(uint32_t set, uint32_t ver, void *caps)
{
    memset(caps, 0x55, MON_CAPSET);
}

int vgr_real_renderer_context_create_with_flags(uint32_t ctx, uint32_t flags, uint32_t len,
                                                const char *name)
{
    if (!ctx || ctx >= MON_IDS || mon.context[ctx])
        return EINVAL;
    mon.context[ctx] = true;
    return 0;
}

/* As the real one does: by its exported name. */
int vgr_real_renderer_context_create(uint32_t ctx, uint32_t len, const char *name)
{
    int ret;

    vgr_real_depth++;
    ret = virgl_renderer_context_create_with_flags(ctx, 2, len, name);
    vgr_real_depth--;
    return ret;
}

void vgr_real_renderer_context_destroy(uint32_t ctx)
{
    if (ctx < MON_IDS)
        mon.context[ctx] = false;
}

void vgr_real_renderer_context_poll(uint32_t ctx)
{
}

int vgr_real_renderer_context_get_poll_fd(uint32_t ctx)
{
    return -1;
}

int vgr_real_renderer_context_create_fence(uint32_t ctx, uint32_t flags, uint32_t ring, uint64_t id)
{
    mon.real_fences++;
    return 0;
}

void vgr_real_renderer_ctx_attach_resource(int ctx, int res)
{
}

void vgr_real_renderer_ctx_detach_resource(int ctx, int res)
{
}

int vgr_real_renderer_submit_cmd(void *buf, int ctx, int ndw)
{
    mon.submits++;
    return 0;
}

int vgr_real_renderer_submit_cmd2(void *buf, int ctx, int ndw, uint64_t *in, uint32_t n_in)
{
    mon.submits++;
    return 0;
}

int vgr_real_renderer_resource_create(struct vgr_virgl_create_args *args, struct iovec *iov,
                                      uint32_t n)
{
    return 0;
}

int vgr_real_renderer_resource_create_blob(const struct vgr_virgl_blob_args *args)
{
    return -EINVAL;
}

void vgr_real_renderer_resource_unref(uint32_t res)
{
    if (res < MON_IDS)
        mon.iov[res] = NULL;
}

int vgr_real_renderer_resource_attach_iov(int res, struct iovec *iov, int n)
{
    if (res <= 0 || res >= (int)MON_IDS || mon.iov[res])
        return EINVAL;
    mon.iov[res] = iov;
    mon.n_iov[res] = n;
    return 0;
}

void vgr_real_renderer_resource_detach_iov(int res, struct iovec **iov, int *n)
{
    if (res <= 0 || res >= (int)MON_IDS)
        return;
    *iov = mon.iov[res];
    *n = mon.n_iov[res];
    mon.iov[res] = NULL;
}

int vgr_real_renderer_resource_get_info(int res, struct vgr_virgl_info *info)
{
    return EINVAL;
}

int vgr_real_renderer_resource_get_info_ext(int res, struct vgr_virgl_info_ext *info)
{
    return EINVAL;
}

int vgr_real_renderer_resource_map(uint32_t res, void **map, uint64_t *size)
{
    return -EINVAL;
}

int vgr_real_renderer_resource_map_fixed(uint32_t res, void *addr)
{
    return -EINVAL;
}

int vgr_real_renderer_resource_unmap(uint32_t res)
{
    return -EINVAL;
}

int vgr_real_renderer_resource_get_map_info(uint32_t res, uint32_t *info)
{
    return -EINVAL;
}

int vgr_real_renderer_resource_export_blob(uint32_t res, uint32_t *type, int *fd)
{
    return -EINVAL;
}

int vgr_real_renderer_transfer_read_iov(uint32_t res, uint32_t ctx, uint32_t level, uint32_t stride,
                                        uint32_t layer_stride, void *box, uint64_t offset,
                                        struct iovec *iov, int n)
{
    mon.transfers++;
    return 0;
}

int vgr_real_renderer_transfer_write_iov(uint32_t res, uint32_t ctx, int level, uint32_t stride,
                                         uint32_t layer_stride, void *box, uint64_t offset,
                                         struct iovec *iov, unsigned n)
{
    mon.transfers++;
    return 0;
}

/* ---- The monitor ---- */

static void mon_fence(void *cookie, uint32_t ctx, uint32_t ring, uint64_t id)
{
    pthread_mutex_lock(&mon.lock);
    if (mon.n_fences < MON_FENCES) {
        mon.fences[mon.n_fences].ctx = ctx;
        mon.fences[mon.n_fences].ring = ring;
        mon.fences[mon.n_fences].own_thread = pthread_equal(pthread_self(), mon.thread);
        mon.fences[mon.n_fences++].id = id;
    }
    pthread_mutex_unlock(&mon.lock);
}

/* Has the guest been told that this fence is done? */
static inline bool mon_done(uint64_t id)
{
    bool done = false;

    pthread_mutex_lock(&mon.lock);
    for (unsigned i = 0; i < mon.n_fences; i++)
        done |= mon.fences[i].id == id;
    pthread_mutex_unlock(&mon.lock);
    return done;
}

static struct vgr_virgl_callbacks mon_callbacks = {
    .version = 3,
    .write_context_fence = mon_fence,
};

static inline int mon_power_on(bool async)
{
    mon.thread = pthread_self();
    return virgl_renderer_init(&mon, async ? VGR_VIRGL_ASYNC_FENCE_CB : 0, &mon_callbacks);
}

static inline int mon_make_ram(void)
{
    mon.ram_fd = memfd_create("ram", MFD_CLOEXEC);
    if (mon.ram_fd < 0 || ftruncate(mon.ram_fd, MON_RAM))
        return -1;
    mon.ram = mmap(NULL, MON_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, mon.ram_fd, 0);
    return mon.ram == MAP_FAILED ? -1 : 0;
}

/* A resource of `size` bytes of the guest's memory from `offset` on, in two pieces that are the wrong
 * way round there. Attached to a context. */
static inline int mon_resource(uint32_t res, uint32_t ctx, size_t offset, size_t size)
{
    struct iovec *iov = mon.pages[res];
    struct vgr_virgl_create_args args = {.handle = res, .width = (uint32_t)size};
    int ret = virgl_renderer_resource_create(&args, NULL, 0);

    iov[0] = (struct iovec){mon.ram + offset + size / 2, size / 2};
    iov[1] = (struct iovec){mon.ram + offset, size / 2};
    if (!ret)
        ret = virgl_renderer_resource_attach_iov((int)res, iov, 2);
    virgl_renderer_ctx_attach_resource((int)ctx, (int)res);
    return ret;
}

static inline int mon_submit(uint32_t ctx, enum vgr_submit_op op, uint32_t res, uint64_t size)
{
    struct vgr_bridge_submit b = {
        .nop = VGR_BRIDGE_NOP,
        .submit = {.magic = VGR_MAGIC, .op = op, .resource = res, .size = size},
    };

    return virgl_renderer_submit_cmd(&b, (int)ctx, sizeof(b) / 4);
}

/* A context of graphics that a guest claims. */
static inline int mon_claimed(uint32_t ctx)
{
    int ret = virgl_renderer_context_create_with_flags(ctx, 2, 3, "ctx");

    return ret ? ret : mon_submit(ctx, VGR_SUBMIT_CLAIM, 0, 0);
}

static inline int mon_blob(uint32_t res, uint32_t ctx, uint64_t size)
{
    struct vgr_virgl_blob_args args = {
        .res_handle = res,
        .ctx_id = ctx,
        .blob_mem = VGR_VIRGL_BLOB_HOST3D,
        .blob_id = VGR_BRIDGE_BLOB_ID,
        .size = size,
    };

    return virgl_renderer_resource_create_blob(&args);
}

#endif
