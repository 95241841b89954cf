/* SPDX-License-Identifier: MIT
 *
 * More of everything than the host gives: contexts with a worker, contexts without, resources. Those
 * that were there first go on; when the others are gone, there is room again.
 *
 * A bridged device has room for whatever contexts and resources the graphics before it had room for.
 */
#include <string.h>
#include <unistd.h>

#include <virtgpu_drm.h>

#include "cases.h"
#include "guest.h"

static unsigned many_workers(void)
{
    enum { MOST = 1100 };
    static struct guest g[MOST];
    unsigned tried = 0, limit = 0;

    for (int round = 0; round < 3; round++) {
        unsigned n = 0;

        /* Workers of an earlier round, or case, need a moment to end. */
        while (guest_let_in(&g[n], n < limit ? PATIENCE_MS : 0)) {
            n++;
            tried++;
            CHECK(n < MOST, "no limit");
        }
        guest_fails(&g[n], VGR_ERROR_LIMIT, "limit of");
        CHECK(n > 1 && n >= limit, "%u contexts the first time, %u now", limit, n);
        limit = n;
        /* The last one that was let in, and the first one. */
        for (unsigned i = 0; i < n; i += n - 1) {
            guest_buffer(&g[i], 4096);
            guest_computes(&g[i]);
        }
        for (unsigned i = 0; i <= n; i++)
            guest_close(&g[i]);
    }
    return tried;
}

static void heard_if_bridged(struct guest *g)
{
    if (bridged())
        CHECK(guest_settled(g, PATIENCE_MS) == VGR_STATE_READY, "error %u: %.256s", g->ctl->error,
              g->ctl->error_text);
    else
        guest_ignored(g);
}

static unsigned many_contexts(void)
{
    enum { MOST = 3000 };
    static struct guest g[MOST];
    struct guest first, late;
    int files = bridged() ? 300 : MOST;

    guest_open(&first);
    guest_buffer(&first, 4096);
    addition_define(&first);
    for (int i = 0; i < files; i++) {
        g[i].fd = node_open();
        guest_claim(&g[i]);
        CHECK(!guest_say(&g[i], VGR_SUBMIT_DOORBELL, NULL), "DOORBELL %d", i);
    }
    CHECK(guest_done(&first, addition_run(&first)) && addition_right(&first), "the first suffers");
    /* There is no room: this one is not heard. */
    guest_prepare(&late);
    CHECK(!guest_say(&late, VGR_SUBMIT_OPEN, NULL), "OPEN");
    heard_if_bridged(&late);
    guest_close(&late);
    for (int i = 0; i < files; i++)
        close(g[i].fd);
    guest_open(&late);
    guest_buffer(&late, 4096);
    guest_computes(&late);
    CHECK(guest_done(&first, addition_run(&first)) && addition_right(&first), "the first suffers");
    return (unsigned)files;
}

static unsigned many_resources(void)
{
    enum { MOST = 6000 };
    static uint32_t bo[MOST];
    struct guest first, late;
    int fd = node_open();

    guest_open(&first);
    guest_buffer(&first, 4096);
    addition_define(&first);
    for (int i = 0; i < MOST; i++) {
        struct drm_virtgpu_resource_create r = node_bytes(4096);

        CHECK(!node_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &r), "resource %d", i);
        bo[i] = r.bo_handle;
    }
    CHECK(guest_done(&first, addition_run(&first)) && addition_right(&first), "the first suffers");
    guest_prepare(&late);
    CHECK(!guest_say(&late, VGR_SUBMIT_OPEN, NULL), "OPEN");
    heard_if_bridged(&late);
    guest_close(&late);
    for (int i = 0; i < MOST; i++) {
        struct drm_gem_close c = {.handle = bo[i]};

        CHECK(!node_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &c), "close %d", i);
    }
    guest_open(&late);
    guest_buffer(&late, 4096);
    guest_computes(&late);
    CHECK(guest_done(&first, addition_run(&first)) && addition_right(&first), "the first suffers");
    return MOST;
}

const struct hostile_case cases_many[] = {
    {"many-workers", many_workers},
    {"many-contexts", many_contexts},
    {"many-resources", many_resources},
    {0},
};
