/* SPDX-License-Identifier: MIT
 *
 * fuzz_virgl.c - the bridge in a monitor, from its guest: contexts, submissions, resources, fences.
 *
 * Theory of operation
 * -------------------
 *
 * The input becomes calls of virglrenderer's interface, as a monitor makes them when its guest asks for
 * anything: the numbers, sizes, flags and command buffers are the guest's, the pointers the monitor's.
 * Behind the bridge is a virglrenderer of tables (fake_monitor.h). The bridge's thread does not run;
 * what it would do is done in between, and the broker, which has said at the start that it is there,
 * is not reached: so workers do not come to life, and every context that is opened learns why.
 *
 * At the end nothing may be left: no context, no descriptor, no fence that was not given back.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "common/broker.h"
#include "common/log.h"
#include "fake_monitor.h"
#include "virgl/bridge.h"
#include "virgl/capset.h"
#include "virgl/fences.h"
#include "virgl/link.h"

#define ACTIONS 96
#define ARENA   (1u << 20)
#define IDS     8u

static struct vgr_loop loop;
static uint64_t next_fence, owed, paid;

static void count_fence(void *cookie, uint32_t ctx, uint32_t ring, uint64_t id)
{
    FUZZ_CHECK(id && id <= next_fence);
    paid++;
}

/* What the thread would do. */
static void serve(void)
{
    vgr_links_serve(&loop);
    virgl_renderer_poll();
}

static uint32_t number(struct fuzz_in *in)
{
    return fuzz_mostly(in, IDS);
}

static void send_commands(struct fuzz_in *in, uint32_t ctx)
{
    struct vgr_bridge_submit b = {
        .nop = VGR_BRIDGE_NOP,
        .submit = {.magic = VGR_MAGIC},
    };
    uint32_t raw[32];

    if (fuzz_below(in, 8)) {
        b.submit.op = fuzz_mostly(in, 6);
        b.submit.resource = number(in);
        b.submit.size = fuzz_below(in, 4) ? ARENA * (1 + fuzz_below(in, 4)) : fuzz_size(in);
        virgl_renderer_submit_cmd(&b, (int)ctx, sizeof(b) / 4);
    } else {
        uint32_t n = fuzz_below(in, 32);

        fuzz_bytes(in, raw, n * 4);
        virgl_renderer_submit_cmd(raw, (int)ctx, (int)fuzz_mostly(in, n + 1));
    }
}

static void make_backing(struct fuzz_in *in, uint32_t res)
{
    static uint8_t private[8192];
    struct vgr_virgl_create_args args = {.handle = res};
    struct iovec *iov;
    int n = 1 + (int)fuzz_below(in, 4);

    virgl_renderer_resource_create(&args, NULL, 0);
    if (res >= MON_IDS || mon.iov[res])
        return;
    iov = mon.pages[res];
    for (int i = 0; i < n; i++) {
        uint64_t at = fuzz_below(in, MON_RAM >> 12) << 12,
                 len = (uint64_t)ARENA >> fuzz_below(in, 3);

        if (fuzz_rarely(in))
            at += fuzz_below(in, 4096);
        if (at + len > MON_RAM)
            at = 0;
        iov[i] = (struct iovec){mon.ram + at, len};
        if (fuzz_rarely(in))
            iov[i] = (struct iovec){private, sizeof(private)};
    }
    virgl_renderer_resource_attach_iov((int)res, iov, n);
}

static void lose_backing(struct fuzz_in *in, uint32_t res)
{
    struct iovec *iov = NULL;
    int n = 0;

    serve(); /* or it waits for a worker's end */
    if (fuzz_below(in, 2))
        virgl_renderer_resource_detach_iov((int)res, &iov, &n);
    virgl_renderer_resource_unref(res);
}

static void make_blob(struct fuzz_in *in, uint32_t res)
{
    struct vgr_virgl_blob_args args = {
        .res_handle = res,
        .ctx_id = number(in),
        .blob_mem = fuzz_below(in, 8) ? VGR_VIRGL_BLOB_HOST3D : fuzz_u8(in),
        .blob_id = fuzz_below(in, 8) ? VGR_BRIDGE_BLOB_ID : fuzz_u32(in),
        .size = fuzz_below(in, 4) ? ARENA : fuzz_size(in),
    };

    virgl_renderer_resource_create_blob(&args);
}

static void use_blob(struct fuzz_in *in, uint32_t res)
{
    struct vgr_virgl_info info;
    struct vgr_virgl_info_ext ext = {0};
    uint32_t type;
    uint64_t size;
    void *map;
    int fd;

    switch (fuzz_below(in, 6)) {
    case 0:
        virgl_renderer_resource_map(res, &map, &size);
        break;
    case 1:
        virgl_renderer_resource_unmap(res);
        break;
    case 2:
        if (!virgl_renderer_resource_export_blob(res, &type, &fd))
            close(fd);
        break;
    case 3:
        virgl_renderer_resource_get_info((int)res, &info);
        virgl_renderer_resource_get_info_ext((int)res, &ext);
        break;
    case 4:
        virgl_renderer_transfer_read_iov(res, number(in), 0, 0, 0, NULL, 0, NULL, 0);
        break;
    default:
        virgl_renderer_transfer_write_iov(res, number(in), 0, 0, 0, NULL, 0, NULL, 0);
    }
}

static void make_fence(struct fuzz_in *in, uint32_t ctx)
{
    uint32_t ring = fuzz_mostly(in, 4);
    bool ours = vgr_bridge_is_ours(ctx);

    FUZZ_CHECK(!virgl_renderer_context_create_fence(ctx, 1, ring, ++next_fence));
    owed += ours;
}

static void reset(void)
{
    serve();
    virgl_renderer_reset();
    owed = paid; /* fences of before are gone with their machine */
}

static void act(struct fuzz_in *in)
{
    uint32_t what = fuzz_below(in, 16), ctx = number(in), res = number(in);

    switch (what) {
    case 0:
        virgl_renderer_context_create_with_flags(ctx, fuzz_mostly(in, 5), 1, "c");
        break;
    case 1:
        virgl_renderer_context_destroy(ctx);
        break;
    case 2: /* what guests of ours begin with */
        if (!virgl_renderer_context_create_with_flags(ctx, 2, 1, "c"))
            mon_submit(ctx, VGR_SUBMIT_CLAIM, 0, 0);
        break;
    case 3:
    case 4:
    case 5:
        send_commands(in, ctx);
        if (fuzz_below(in, 2))
            make_fence(in, ctx);
        break;
    case 6:
        make_fence(in, ctx);
        break;
    case 7:
    case 8:
        virgl_renderer_ctx_attach_resource((int)ctx, (int)res);
        break;
    case 9:
        virgl_renderer_ctx_detach_resource((int)ctx, (int)res);
        break;
    case 10:
        make_backing(in, res);
        break;
    case 11:
        lose_backing(in, res);
        break;
    case 12:
        make_blob(in, res);
        break;
    case 13:
        use_blob(in, res);
        break;
    case 14:
        serve();
        break;
    default:
        if (fuzz_rarely(in))
            reset();
        virgl_renderer_context_poll(ctx);
        virgl_renderer_context_get_poll_fd(ctx);
    }
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- A broker that only says that it is there ---- */

static void *greet(void *arg)
{
    const struct vgr_broker_hello hello = {
        .magic = VGR_BROKER_MAGIC,
        .version = VGR_BROKER_VERSION,
        .capset = {.magic = VGR_MAGIC, .arena_min = ARENA, .arena_max = 4 * ARENA},
    };
    int fd = accept(*(int *)arg, NULL, NULL);

    FUZZ_CHECK(send(fd, &hello, sizeof(hello), 0) == sizeof(hello));
    close(fd);
    return NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;
    uint32_t ver, size;

    setenv("VGR_VIRGL_LOG", "error", 1);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/vgr-fuzz-%d", (int)getpid());
    FUZZ_CHECK(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 1));
    FUZZ_CHECK(!pthread_create(&thread, NULL, greet, &fd));
    setenv("VGR_BROKER", addr.sun_path, 1);
    virgl_renderer_get_cap_set(1, &ver, &size);
    pthread_join(thread, NULL);
    FUZZ_CHECK(size > MON_CAPSET);
    unsetenv("VGR_BROKER");
    close(fd);
    unlink(addr.sun_path);
    FUZZ_CHECK(!vgr_loop_init(&loop) && !mon_make_ram());
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    int before = count_fds();

    next_fence = owed = paid = 0;
    vgr_fences_start(count_fence, NULL, false);
    for (int i = 0; i < ACTIONS && in.left; i++)
        act(&in);
    for (uint32_t ctx = 0; ctx < IDS; ctx++)
        virgl_renderer_context_destroy(ctx);
    serve();
    FUZZ_CHECK(paid == owed);
    for (uint32_t ctx = 0; ctx < IDS; ctx++)
        FUZZ_CHECK(!vgr_bridge_is_ours(ctx));
    reset();
    FUZZ_CHECK(count_fds() == before);
    return 0;
}
