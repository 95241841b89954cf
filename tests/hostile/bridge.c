/* SPDX-License-Identifier: MIT
 *
 * What only a bridged device has: a trailer in a capset of graphics, contexts that are claimed, rings
 * with fences of our own, blobs that the bridge makes; and the graphics beside them.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <virtgpu_drm.h>

#include "cases.h"
#include "guest.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Where the trailer begins, -1 if it is not there. */
static int find_trailer(const uint8_t *caps, size_t len)
{
    for (size_t i = 0; i + sizeof(struct vgr_bridge_trailer) <= len; i += 8) {
        if (!memcmp(caps + i, VGR_BRIDGE_SIGNATURE, sizeof(VGR_BRIDGE_SIGNATURE)))
            return (int)i;
    }
    return -1;
}

/* Of any length that a guest asks for it gets that much; the other capsets are what they were. */
static unsigned trailer(void)
{
    static uint8_t want[4096], buf[4096];
    unsigned tried = 0;
    int fd = node_open(), at;

    CHECK(!node_caps(fd, VGR_BRIDGE_CAPSET_ID, VGR_BRIDGE_CAPSET_VERSION, want, sizeof(want)),
          "no capset of graphics");
    at = find_trailer(want, sizeof(want));
    CHECK(at > 0, "no trailer");
    for (uint32_t len = 1; len < sizeof(want); len += len < 600 ? 1 : 97, tried++) {
        memset(buf, 0xa5, sizeof(buf));
        CHECK(!node_caps(fd, VGR_BRIDGE_CAPSET_ID, VGR_BRIDGE_CAPSET_VERSION, buf, len),
              "%u bytes of it", len);
        CHECK(len > (uint32_t)at + sizeof(struct vgr_bridge_trailer) || !memcmp(buf, want, len),
              "%u bytes of it: others", len);
        for (size_t k = len; k < sizeof(buf); k++)
            CHECK(buf[k] == 0xa5, "%u bytes of it: more is written", len);
    }
    for (uint32_t id = 0; id < 70; id++, tried++) {
        memset(buf, 0, sizeof(buf));
        if (id != VGR_BRIDGE_CAPSET_ID && !node_caps(fd, id, 1, buf, sizeof(buf)))
            CHECK(find_trailer(buf, sizeof(buf)) < 0, "capset %u has a trailer", id);
    }
    return tried;
}

/* ---- Contexts ---- */

/* In a context of every capset, with a claim, without, and with two: where virgl's is, OPEN is heard
 * after a claim; elsewhere nobody listens. */
static unsigned claims(void)
{
    unsigned tried = 0, ours = 0;

    for (uint64_t capset = 0; capset < 8; capset++) {
        for (unsigned n = 0; n < 3; n++) {
            bool virgl = capset == 1 || capset == 2;
            struct guest g = {.fd = node_open()};

            if (node_context(g.fd, capset, VGR_BRIDGE_RINGS)) {
                CHECK(!virgl, "no context for capset %u", (unsigned)capset);
                close(g.fd);
                continue;
            }
            for (unsigned i = 0; i < n; i++)
                CHECK(!guest_say(&g, VGR_SUBMIT_CLAIM, NULL), "CLAIM is not even accepted");
            CHECK(!guest_resource(&g, GUEST_ARENA), "no arena");
            guest_hello(&g);
            CHECK(!guest_say(&g, VGR_SUBMIT_OPEN, NULL), "OPEN is not even accepted");
            tried++;
            if (virgl && n) {
                ours++;
                CHECK(guest_settled(&g, PATIENCE_MS) == VGR_STATE_READY, "error %u '%.256s'",
                      g.ctl->error, g.ctl->error_text);
            } else {
                nap(100);
                CHECK(g.ctl->state == VGR_STATE_NONE, "capset %u, %u claims: somebody looked",
                      (unsigned)capset, n);
            }
            guest_close(&g);
        }
    }
    CHECK(ours == 4, "%u contexts only", ours);
    return tried;
}

/* CONTEXT_INIT with what no driver would ask for. */
static unsigned odd_contexts(void)
{
    static const uint64_t values[] = {0, 1, 2, 3, 20, 63, 64, 1ull << 32, ~0ull};
    unsigned tried = 0, made = 0;
    struct guest g;

    guest_open(&g);
    guest_buffer(&g, 4096);
    for (uint64_t capset = 0; capset < N(values); capset++) {
        for (uint64_t rings = 0; rings < N(values); rings++, tried++) {
            struct guest other = {.fd = node_open()};

            CHECK(node_context(g.fd, values[capset], values[rings]), "a second context of a file");
            if (!node_context(other.fd, values[capset], values[rings])) {
                made++;
                guest_say(&other, VGR_SUBMIT_CLAIM, NULL);
                guest_say(&other, VGR_SUBMIT_DOORBELL, NULL);
            }
            close(other.fd);
        }
    }
    CHECK(made, "none was made");
    guest_computes(&g);
    return tried;
}

/* Submissions of ours, garbage and graphics' own commands, in a claimed context and in one of graphics. */
static unsigned mixed(void)
{
    /* virgl's: an object of each kind is made, bound, drawn with, destroyed; of nothing that is there. */
    uint32_t words[64];
    struct guest g, graphics = {.fd = node_open()};
    unsigned tried = 0;
    int fence;

    guest_open(&g);
    guest_buffer(&g, 4096);
    addition_define(&g);
    for (uint32_t cmd = 0; cmd < 60; cmd++) {
        for (uint32_t len = 0; len < N(words); len += 9, tried += 2) {
            memset(words, 0, sizeof(words));
            words[0] = len << 16 | (cmd % 12) << 8 | cmd;
            for (uint32_t i = 1; i <= len && i < N(words); i++)
                words[i] = random_number() % 4 ? 0 : (uint32_t)random_number();
            /* Into graphics' context a no-operation only: what they do with the rest is theirs. */
            CHECK(!guest_submit(&g, words, (len + 1) * 4, &fence) && fence_signals(fence),
                  "command %u in a claimed context", cmd);
            words[0] = len << 16;
            CHECK(!guest_submit(&graphics, words, (len + 1) * 4, &fence) && fence_signals(fence),
                  "%u words in a context of graphics", len);
        }
    }
    for (int op = VGR_SUBMIT_OPEN; op <= VGR_SUBMIT_WAIT; op++, tried++)
        CHECK(!guest_say(&graphics, (enum vgr_submit_op)op, &fence) && fence_signals(fence),
              "op %d without a claim", op);
    CHECK(guest_done(&g, addition_run(&g)) && addition_right(&g),
          "the context did not survive: %.256s", g.ctl->error_text);
    return tried;
}

/* ---- Fences ---- */

/* Every operation on every ring, again and again, and with a fence that is kept: all signal, those that
 * wait for the worker when it wakes the guest, those that wait for its end when it has ended. */
static unsigned rings(void)
{
    enum { ROUNDS = 25 };
    static int kept[ROUNDS * 16];
    unsigned tried = 0;

    for (int arena = GUEST_MEMORY; arena <= HOST_BLOB; arena++) {
        struct guest g;
        unsigned n = 0;

        guest_take((enum arena_kind)arena);
        guest_open(&g);
        guest_buffer(&g, 4096);
        addition_define(&g);
        for (int round = 0; round < ROUNDS; round++) {
            for (uint32_t ring = 0; ring < VGR_BRIDGE_RINGS + 1u; ring++) {
                for (uint32_t op = 0; op < 4; op++, tried++) {
                    struct vgr_bridge_submit b = {
                        .nop = VGR_BRIDGE_NOP,
                        .submit = {VGR_MAGIC, op ? op : VGR_SUBMIT_CLAIM, g.resource, 0, g.size, 0},
                    };
                    int err = guest_submit_ring(&g, &b, sizeof(b), ring, &kept[n]);

                    CHECK((ring < VGR_BRIDGE_RINGS) == !err, "op %u on ring %u: %s", op, ring,
                          strerror(-err));
                    n += !err;
                }
            }
        }
        CHECK(guest_done(&g, addition_run(&g)) && addition_right(&g), "the context has died of it");
        CHECK(!node_ioctl(g.fd, DRM_IOCTL_GEM_CLOSE, &(struct drm_gem_close){.handle = g.bo}),
              "GEM_CLOSE");
        for (unsigned i = 0; i < n; i++)
            CHECK(fence_signals(kept[i]), "fence %u never signals", i);
        guest_close(&g);
    }
    return tried;
}

/* A fence that waits for a worker's end, asked for together with OPEN as our library does, and while the
 * program is still there the pages go: it signals, and not before the worker is gone. */
static unsigned life(void)
{
    enum { ROUNDS = 8 };

    for (int round = 0; round < ROUNDS; round++) {
        struct vgr_bridge_submit b = {.nop = VGR_BRIDGE_NOP};
        struct guest g;
        int fence, second;

        guest_take(GUEST_MEMORY);
        guest_prepare(&g);
        b.submit = (struct vgr_submit){VGR_MAGIC, VGR_SUBMIT_OPEN, g.resource, 0, GUEST_ARENA, 0};
        CHECK(!guest_submit_ring(&g, &b, sizeof(b), VGR_BRIDGE_RING_LIFE, &fence), "OPEN");
        CHECK(!guest_submit_ring(&g, &b, sizeof(b), VGR_BRIDGE_RING_LIFE, &second), "again");
        CHECK(guest_settled(&g, PATIENCE_MS) == VGR_STATE_READY, "error %u", g.ctl->error);
        guest_buffer(&g, 4096);
        guest_computes(&g);
        if (round % 2) { /* it ends for what the guest has done */
            g.tail += 4;
            __atomic_store_n(&g.ctl->tail, g.tail, __ATOMIC_SEQ_CST);
            guest_ring(&g, true);
            guest_fails(&g, VGR_ERROR_RING, "corrupt");
        } else {
            CHECK(!node_ioctl(g.fd, DRM_IOCTL_GEM_CLOSE, &(struct drm_gem_close){.handle = g.bo}),
                  "GEM_CLOSE");
        }
        CHECK(fence_signals(fence) && fence_signals(second), "a fence of the worker's life");
        guest_close(&g);
    }
    return ROUNDS;
}

/* ---- Blobs ---- */

static unsigned odd_blobs(void)
{
    static const uint64_t sizes[] = {0,          1,          4096,       1u << 20,     1ull << 31,
                                     1ull << 32, 1ull << 33, 1ull << 40, ~0ull - 4095, ~0ull};
    static const uint64_t ids[] = {0, 1, VGR_BRIDGE_BLOB_ID, ~0ull};
    unsigned tried = 0, mapped = 0;
    struct guest g;

    guest_open(&g);
    guest_buffer(&g, 4096);
    for (uint32_t flags = 0; flags < 8; flags++) {
        for (size_t i = 0; i < N(sizes) * N(ids); i++, tried++) {
            struct drm_virtgpu_resource_create_blob b = {.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
                                                         .blob_flags = flags,
                                                         .size = sizes[i / N(ids)],
                                                         .blob_id = ids[i % N(ids)]};
            struct drm_virtgpu_map m = {0};
            struct drm_gem_close c = {0};
            void *p;

            if (node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &b))
                continue;
            m.handle = c.handle = b.bo_handle;
            if (!node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_MAP, &m)) {
                p = mmap(NULL, b.size, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, (off_t)m.offset);
                if (p != MAP_FAILED) {
                    ((volatile uint8_t *)p)[b.size - 1] = 1;
                    mapped++;
                    munmap(p, b.size);
                }
            }
            CHECK(!node_ioctl(g.fd, DRM_IOCTL_GEM_CLOSE, &c), "close");
        }
    }
    CHECK(mapped, "none was mapped");
    guest_computes(&g);
    return tried;
}

/* More of them than the bridge gives: those that there is no room for cannot be mapped. They are such as
 * take nothing of the guest's window, which would be full before. */
static unsigned many_blobs(void)
{
    enum { MOST = 10000 };
    static uint32_t bo[MOST];
    const uint64_t size = 1u << 20;
    struct guest g, late;
    int n;

    guest_take(GUEST_MEMORY);
    guest_open(&g);
    guest_buffer(&g, 4096);
    for (n = 0; n < MOST; n++) {
        struct drm_virtgpu_resource_create_blob b = {
            .blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
            .size = size,
            .blob_id = VGR_BRIDGE_BLOB_ID,
        };

        CHECK(!node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &b), "blob %d", n);
        bo[n] = b.bo_handle;
    }
    late.fd = node_open();
    guest_claim(&late);
    CHECK(guest_blob(&late, GUEST_ARENA), "there is always room");
    guest_computes(&g);
    close(late.fd);
    while (n-- > 0)
        CHECK(!node_ioctl(g.fd, DRM_IOCTL_GEM_CLOSE, &(struct drm_gem_close){.handle = bo[n]}),
              "close");
    guest_take(HOST_BLOB);
    guest_open(&late);
    guest_buffer(&late, 4096);
    guest_computes(&late);
    return MOST;
}

const struct hostile_case cases_bridge[] = {
    {"trailer", trailer},     {"claims", claims},         {"odd-contexts", odd_contexts},
    {"mixed", mixed},         {"rings", rings},           {"life", life},
    {"odd-blobs", odd_blobs}, {"many-blobs", many_blobs}, {0},
};
