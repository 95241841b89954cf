/* SPDX-License-Identifier: MIT
 *
 * The other ioctls of the guest's driver: capsets, textures, blobs, mappings, transfers, contexts.
 * Some never leave the guest's kernel; that is an outcome like any other, and is expected here, so
 * that a kernel in which they do leave makes itself known.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <virtgpu_drm.h>

#include "cases.h"
#include "guest.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static unsigned capsets(void)
{
    static const uint32_t versions[] = {0, 1, 2, 0x7fffffff, 0xffffffff};
    static const uint32_t sizes[] = {1, 63, 64, 65, 4096};
    static uint8_t buf[4096], want[64];
    unsigned tried = 0;
    int fd = node_open();

    CHECK(!node_caps(fd, VGR_CAPSET_ID, VGR_CAPSET_VERSION, want, 64), "no capset");
    CHECK(((struct vgr_capset *)want)->magic == VGR_MAGIC, "no magic");
    for (uint32_t id = 0; id < 70; id++) {
        for (size_t v = 0; v < N(versions); v++, tried++) {
            bool ours = id == VGR_CAPSET_ID && versions[v] <= VGR_CAPSET_VERSION;
            int err = node_caps(fd, id, versions[v], buf, 64);

            CHECK(ours == !err, "capset %u version %u: %s", id, versions[v], strerror(-err));
        }
    }
    for (size_t i = 0; i < N(sizes); i++, tried++) {
        uint32_t n = sizes[i] < 64 ? sizes[i] : 64;

        memset(buf, 0xa5, sizeof(buf));
        CHECK(!node_caps(fd, VGR_CAPSET_ID, 1, buf, sizes[i]), "%u bytes", sizes[i]);
        CHECK(!memcmp(buf, want, n), "%u bytes: another capset", sizes[i]);
        for (size_t k = n; k < sizeof(buf); k++)
            CHECK(buf[k] == 0xa5, "%u bytes: more than that is written", sizes[i]);
    }
    CHECK(node_caps(fd, VGR_CAPSET_ID, 1, NULL, 64) == -EFAULT, "a capset at address 0");
    CHECK(node_caps(fd, VGR_CAPSET_ID, 1, buf, 0) != 0, "a capset of no bytes");
    return tried + 2;
}

/* The host takes a resource for a list of pages, whatever texture it is said to be. */
static unsigned textures(void)
{
    static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
    unsigned tried = 0;
    int fd = node_open();

    for (unsigned i = 0; i < 200; i++, tried++) {
        struct drm_virtgpu_resource_create r = {0};
        uint32_t *fields[] = {&r.target,    &r.format,     &r.bind,       &r.width,      &r.height,
                              &r.depth,     &r.array_size, &r.last_level, &r.nr_samples, &r.flags,
                              &r.bo_handle, &r.res_handle, &r.stride};
        struct drm_gem_close c = {0};

        for (size_t k = 0; k < N(fields); k++)
            *fields[k] = values[random_number() % N(values)];
        r.size = i % 3 ? 4096 * (i % 7) : i;
        if (node_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &r))
            continue;
        c.handle = r.bo_handle;
        CHECK(!node_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &c), "close");
    }
    return tried;
}

static unsigned blobs(void)
{
    static const uint64_t sizes[] = {0, 1, 4096, 1ull << 32, 1ull << 40, ~0ull - 4095};
    unsigned tried = 0;
    int fd = node_open();

    for (uint32_t mem = 0; mem < 6; mem++) {
        for (uint32_t flags = 0; flags < 8; flags++) {
            for (size_t i = 0; i < N(sizes); i++, tried++) {
                struct drm_virtgpu_resource_create_blob b = {
                    .blob_mem = mem, .blob_flags = flags, .size = sizes[i], .blob_id = i};

                CHECK(node_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &b) == -EINVAL,
                      "a blob of type %u, flags %u on a device without blobs", mem, flags);
            }
        }
    }
    return tried;
}

static unsigned mappings(void)
{
    static const uint32_t handles[] = {0, 2, 99, 0x7fffffff, 0xffffffff};
    struct drm_virtgpu_map m = {0};
    unsigned tried = 0;
    struct guest g;
    void *p;

    guest_open(&g);
    guest_buffer(&g, 4096);
    for (size_t i = 0; i < N(handles); i++, tried++) {
        m.handle = handles[i];
        CHECK(node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_MAP, &m) == -ENOENT, "handle %u", handles[i]);
    }
    m.handle = g.bo;
    CHECK(!node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_MAP, &m), "the arena");
    p = mmap(NULL, 2 * GUEST_ARENA, PROT_READ, MAP_SHARED, g.fd, (off_t)m.offset);
    CHECK(p == MAP_FAILED, "twice the arena is mapped");
    p = mmap(NULL, GUEST_ARENA, PROT_READ, MAP_SHARED, g.fd, (off_t)(m.offset + GUEST_ARENA));
    CHECK(p == MAP_FAILED, "what is behind the arena is mapped");
    p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, g.fd, 0);
    CHECK(p == MAP_FAILED, "something at offset 0 is mapped");
    guest_computes(&g);
    return tried + 3;
}

static unsigned transfers(void)
{
    static const uint32_t values[] = {0, 1, 4096, 0x7fffffff, 0xffffffff};
    static uint8_t before[64 << 10];
    unsigned tried = 0;
    struct guest g;
    int err;

    guest_open(&g);
    guest_buffer(&g, 4096);
    for (size_t i = 0; i < sizeof(before); i++)
        g.arena[3 * GUEST_DATA + i] = before[i] = (uint8_t)random_number();
    for (unsigned i = 0; i < 200; i++, tried++) {
        struct drm_virtgpu_3d_transfer_to_host to = {.bo_handle = g.bo};
        struct drm_virtgpu_3d_transfer_from_host from = {.bo_handle = g.bo};
        uint32_t *fields[] = {&to.box.x, &to.box.y, &to.box.z,  &to.box.w,  &to.box.h,
                              &to.box.d, &to.level, &to.offset, &to.stride, &to.layer_stride};

        for (size_t k = 0; k < N(fields); k++)
            *fields[k] = values[random_number() % N(values)];
        /* The kernel of the guest keeps these two for blobs. */
        if (i % 2)
            to.stride = to.layer_stride = 0;
        memcpy(&from.box, &to.box, sizeof(from.box));
        from.level = to.level;
        from.offset = to.offset;
        from.stride = to.stride;
        from.layer_stride = to.layer_stride;
        err = node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST, &to);
        CHECK(!err || err == -EINVAL, "to the host: %s", strerror(-err));
        err = node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_TRANSFER_FROM_HOST, &from);
        CHECK(!err || err == -EINVAL, "from the host: %s", strerror(-err));
    }
    err = node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_WAIT, &(struct drm_virtgpu_3d_wait){g.bo, 0});
    CHECK(!err, "WAIT: %s", strerror(-err));
    CHECK(!memcmp(g.arena + 3 * GUEST_DATA, before, sizeof(before)), "the arena has changed");
    guest_computes(&g);
    return tried;
}

static unsigned contexts(void)
{
    static const uint64_t values[] = {0, 1, 2, 20, 63, 64, 1ull << 32, ~0ull};
    unsigned tried = 0;
    struct guest g;

    guest_open(&g);
    guest_buffer(&g, 4096);
    for (uint64_t param = 0; param < 6; param++) {
        for (size_t i = 0; i < N(values); i++) {
            for (uint32_t n = 0; n < 6; n++, tried++) {
                struct drm_virtgpu_context_set_param p[6];
                struct drm_virtgpu_context_init c = {.num_params = n < 5 ? n : 0xffffffff,
                                                     .ctx_set_params = (uintptr_t)p};
                int fd = n % 2 ? g.fd : node_open();

                for (size_t k = 0; k < N(p); k++)
                    p[k] = (struct drm_virtgpu_context_set_param){param, values[i]};
                CHECK(node_ioctl(fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &c) == -EINVAL,
                      "CONTEXT_INIT of %u parameters on a device that has none", n);
                if (fd != g.fd)
                    close(fd);
            }
        }
    }
    guest_computes(&g);
    return tried;
}

const struct hostile_case cases_kernel[] = {
    {"textures", textures},
    {"mappings", mappings},
    {"transfers", transfers},
    {0},
};

/* What a device has that is no other's: bridge.c has the bridge's. */
const struct hostile_case cases_device[] = {
    {"capsets", capsets},
    {"blobs", blobs},
    {"contexts", contexts},
    {0},
};
