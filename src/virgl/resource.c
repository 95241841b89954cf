/* SPDX-License-Identifier: MIT
 *
 * Resources: those of the guest that have backing in its memory, and blobs of our own.
 */
#include "virgl/resource.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "device/control.h"
#include "protocol/sys.h"
#include "virgl/capset.h"
#include "virgl/link.h"

#define PAGE          4096u
#define MAX_RESOURCES (1u << 20) /* a monitor has fewer */
#define MAX_LOST      1024u

static struct vgr_table resources = {.limit = MAX_RESOURCES};
static struct vgr_table lost = {.limit = MAX_LOST};
static uint64_t blob_bytes; /* of all blobs of ours */
static unsigned n_blobs;    /* each has a descriptor */

struct vgr_bridge_resource *vgr_resource_find(uint32_t id)
{
    struct vgr_table_node *n = vgr_table_find(&resources, id);

    return n ? vgr_container_of(n, struct vgr_bridge_resource, node) : NULL;
}

struct vgr_bridge_resource *vgr_resource_find_blob(uint32_t id)
{
    struct vgr_bridge_resource *res = vgr_resource_find(id);

    return res && res->memfd >= 0 ? res : NULL;
}

static struct vgr_bridge_resource *make(uint32_t id)
{
    struct vgr_bridge_resource *res = calloc(1, sizeof(*res));

    if (!res)
        return NULL;
    res->memfd = -1;
    if (vgr_table_insert(&resources, &res->node, id)) {
        free(res);
        return NULL;
    }
    return res;
}

static void drop(struct vgr_bridge_resource *res)
{
    if (res->user)
        res->user->arena = NULL;
    if (res->mapped)
        munmap(res->mapped, res->size);
    if (res->memfd >= 0) {
        close(res->memfd);
        blob_bytes -= res->size;
        n_blobs--;
    }
    vgr_table_remove(&resources, &res->node);
    free(res);
}

/* ---- The control page ---- */

static int page_read(void *opaque, size_t offset, void *buf, size_t len)
{
    memcpy(buf, (const char *)opaque + offset, len);
    return 0;
}

static int page_write(void *opaque, size_t offset, const void *buf, size_t len)
{
    memcpy((char *)opaque + offset, buf, len);
    return 0;
}

void vgr_resource_tell(const struct vgr_bridge_resource *res, enum vgr_error error,
                       const char *text)
{
    if (res->memfd >= 0) {
        if (res->size >= VGR_CONTROL_SIZE)
            vgr_control_fail_file(res->memfd, 0, error, text);
    } else if (res->n_iov && res->iov[0].iov_len >= VGR_CONTROL_SIZE) {
        struct vgr_control_io io = {page_read, page_write, res->iov[0].iov_base};

        vgr_control_fail(&io, error, text);
    }
}

/* ---- The guest's memory ---- */

void vgr_bridge_backed(uint32_t id, const struct iovec *iov, unsigned n)
{
    struct vgr_bridge_resource *res;

    if (!iov || !n || !vgr_capset_is_offered())
        return;
    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find(id);
    if (!res)
        res = make(id);
    if (!res)
        vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN, "resource %u: no memory to make it an arena",
                      id);
    if (res && res->memfd < 0 && !res->user) {
        res->iov = iov;
        res->n_iov = n;
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
}

/* Waits until `done` says so or patience is over: see bridge.h. */
static bool wait_until(bool (*done)(const struct vgr_bridge_resource *res),
                       const struct vgr_bridge_resource *res)
{
    struct timespec end;
    int err = 0;

    clock_gettime(CLOCK_MONOTONIC, &end); /* which nobody sets back */
    end.tv_nsec += VGR_BRIDGE_PATIENCE_MS * 1000000L;
    end.tv_sec += end.tv_nsec / 1000000000L;
    end.tv_nsec %= 1000000000L;
    while (!done(res) && !err)
        err = pthread_cond_clockwait(&vgr_bridge_changed, &vgr_bridge_lock, CLOCK_MONOTONIC, &end);
    return done(res);
}

static bool unused(const struct vgr_bridge_resource *res)
{
    return !res->user;
}

static bool no_ram(const struct vgr_bridge_resource *res)
{
    return !vgr_links_have_ram();
}

void vgr_bridge_unbacked(uint32_t id)
{
    struct vgr_bridge_resource *res;

    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find(id);
    if (res && res->memfd < 0) {
        if (res->user) {
            vgr_link_end(res->user);
            if (!wait_until(unused, res))
                vgr_log_often(&vgr_bridge_log, VGR_LOG_WARN,
                              "resource %u: its memory is taken from a worker that does not end",
                              id);
        }
        drop(res);
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
}

void vgr_resources_release(void)
{
    if (vgr_links_have_ram() && !wait_until(no_ram, NULL))
        vgr_warn("the machine is reset while a worker that has its memory does not end");
}

/* The monitor still has this blob mapped, so the guest may be able to reach the addresses: they must
 * not become anything else of the monitor's, nor may a write to them be its death. Empty pages take their
 * place. They stay counted among the blobs, as the guest can fill them. */
static void lose(struct vgr_bridge_resource *res)
{
    struct vgr_table_node *n = calloc(1, sizeof(*n));
    void *p = mmap(res->mapped, res->size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

    if (p == MAP_FAILED)
        vgr_warn("a blob stays mapped after the reset: %m"); /* which is as safe */
    res->mapped = NULL;
    blob_bytes += res->size;
    if (!n || vgr_table_insert(&lost, n, res->node.id))
        free(n); /* is_lost() takes a full table for all numbers */
}

bool vgr_bridge_is_lost(uint32_t id)
{
    bool is;

    pthread_mutex_lock(&vgr_bridge_lock);
    is = lost.n == lost.limit || vgr_table_find(&lost, id);
    pthread_mutex_unlock(&vgr_bridge_lock);
    return is;
}

void vgr_resources_reset(void)
{
    struct vgr_table_node *n;

    while ((n = vgr_table_next(&resources, NULL))) {
        struct vgr_bridge_resource *res = vgr_container_of(n, struct vgr_bridge_resource, node);

        if (res->mapped)
            lose(res);
        drop(res);
    }
}

/* ---- Blobs ---- */

static int make_memfd(uint64_t size)
{
    return vgr_sys_memfd("vgr-arena", MFD_CLOEXEC, size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

bool vgr_bridge_blob(const struct vgr_virgl_blob_args *args, int *result)
{
    const struct vgr_capset *cap = vgr_capset_offered();
    struct vgr_bridge_resource *res;
    int fd;

    if (args->blob_mem != VGR_VIRGL_BLOB_HOST3D || !vgr_bridge_is_ours(args->ctx_id))
        return false;
    *result = -EINVAL;
    if (args->blob_id != VGR_BRIDGE_BLOB_ID || args->size < cap->arena_min ||
        args->size > cap->arena_max || args->size % PAGE)
        return true;
    pthread_mutex_lock(&vgr_bridge_lock);
    *result = -ENOMEM;
    if (args->size <= VGR_BRIDGE_MAX_BLOB - blob_bytes && n_blobs < vgr_links_limit() &&
        !vgr_resource_find(args->res_handle)) {
        fd = make_memfd(args->size);
        res = fd < 0 ? NULL : make(args->res_handle);
        if (res) {
            res->memfd = fd;
            res->size = args->size;
            res->ctx = args->ctx_id;
            blob_bytes += args->size;
            n_blobs++;
            *result = 0;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    return true;
}

bool vgr_bridge_is_blob(uint32_t id, uint64_t *size)
{
    const struct vgr_bridge_resource *res;
    bool is;

    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find_blob(id);
    is = res;
    if (is && size)
        *size = res->size;
    pthread_mutex_unlock(&vgr_bridge_lock);
    return is;
}

int vgr_bridge_blob_fd(uint32_t id)
{
    const struct vgr_bridge_resource *res;
    int fd = -ENOENT;

    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find_blob(id);
    if (res) {
        fd = fcntl(res->memfd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            fd = -errno;
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    return fd;
}

int vgr_bridge_map(uint32_t id, void *at, void **map, uint64_t *size)
{
    struct vgr_bridge_resource *res;
    int ret = -ENOENT;
    void *p;

    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find_blob(id);
    if (res && !at && res->mapped) {
        ret = -EINVAL;
    } else if (res) {
        p = mmap(at, res->size, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0),
                 res->memfd, 0);
        ret = p == MAP_FAILED ? -errno : 0;
        if (!ret && !at) {
            res->mapped = *map = p;
            *size = res->size;
        }
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    return ret;
}

int vgr_bridge_unmap(uint32_t id)
{
    struct vgr_bridge_resource *res;
    int ret = -ENOENT;

    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find_blob(id);
    if (res) {
        ret = res->mapped ? 0 : -EINVAL;
        if (res->mapped)
            munmap(res->mapped, res->size);
        res->mapped = NULL;
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    return ret;
}

bool vgr_bridge_unref(uint32_t id)
{
    struct vgr_bridge_resource *res;

    pthread_mutex_lock(&vgr_bridge_lock);
    res = vgr_resource_find_blob(id);
    if (res) {
        if (res->user)
            vgr_link_end(res->user); /* its worker has a mapping of its own: nothing to wait for */
        drop(res);
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    return res;
}
