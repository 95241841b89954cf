/* SPDX-License-Identifier: MIT */
#include "device/vhost_keep.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/sys.h"

/* Of struct state and of the record: another number for another layout. */
#define LAYOUT 1u

struct queue_state {
    uint32_t size;
    uint16_t base;
    uint8_t enabled, event_idx, has_addr, has_kick, has_call, reserved;
    struct vgr_vhost_vring_addr addr;
};

/* The descriptors, in this order: the connection, the display socket, the record, the regions' files,
 * each queue's kick and call; those that there are. The sockets are watched. */
struct state {
    struct vgr_keeper_head head;
    uint32_t layout;
    uint32_t record_size;
    uint32_t has_display;
    uint32_t n_regions;
    struct vgr_mem_range regions[VGR_GUESTMEM_REGIONS];
    struct queue_state queues[VGR_VHOST_QUEUES];
};
static_assert(sizeof(struct state) <= VGR_KEEPER_MAX_BYTES, "fits into a message");
static_assert(3 + VGR_GUESTMEM_REGIONS + 2 * VGR_VHOST_QUEUES <= VGR_KEEPER_MAX_FDS, "fits");

/* NULL: errno says why. */
static struct vgr_vhost_record *map_record(int fd)
{
    struct vgr_vhost_record *record;
    struct stat st;
    void *p;

    if (fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(*record)) {
        errno = EINVAL; /* an access behind the end would be our death by SIGBUS */
        return NULL;
    }
    p = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, sizeof(*record), MADV_DONTFORK);
    return p;
}

static void set_record(struct vgr_vhost *v, struct vgr_vhost_record *record)
{
    v->record = record;
    v->gpu.record = record ? &record->gpu : NULL;
    for (int i = 0; i < VGR_VHOST_QUEUES; i++)
        v->queues[i].vq.record = record ? &record->queues[i] : NULL;
}

void vgr_vhost_record_open(struct vgr_vhost *v)
{
    struct vgr_vhost_record *record = NULL;
    int fd = vgr_sys_memfd("vgr-record", MFD_CLOEXEC, sizeof(*record), 0);

    if (fd >= 0)
        record = map_record(fd);
    else
        errno = -fd;
    if (!record) {
        vgr_warn("nothing of this VM's device will outlive this process: %m");
        if (fd >= 0)
            close(fd);
        return;
    }
    v->record_fd = fd;
    set_record(v, record);
}

void vgr_vhost_record_close(struct vgr_vhost *v)
{
    if (v->record)
        munmap(v->record, sizeof(*v->record));
    if (v->record_fd >= 0)
        close(v->record_fd);
    v->record_fd = -1;
    set_record(v, NULL);
}

void vgr_vhost_busy(struct vgr_vhost *v, bool busy)
{
    if (v->record)
        __atomic_store_n(&v->record->busy, busy, __ATOMIC_SEQ_CST);
}

static void add_fd(struct vgr_kept *kept, int fd)
{
    kept->fds[kept->n_fds++] = fd;
}

void vgr_vhost_keep(struct vgr_vhost *v)
{
    static struct vgr_kept kept;
    struct state s = {
        .head.n_watched = v->display_fd >= 0 ? 2 : 1,
        .layout = LAYOUT,
        .record_size = sizeof(*v->record),
        .has_display = v->display_fd >= 0,
        .n_regions = v->mem.n,
    };

    if (!v->record)
        return;
    kept.n_fds = 0;
    add_fd(&kept, v->fd);
    if (s.has_display)
        add_fd(&kept, v->display_fd);
    add_fd(&kept, v->record_fd);
    for (unsigned i = 0; i < v->mem.n; i++) {
        s.regions[i] = v->mem.regions[i].range;
        add_fd(&kept, v->mem.regions[i].fd);
    }
    for (unsigned i = 0; i < VGR_VHOST_QUEUES; i++) {
        const struct vgr_vhost_queue *q = &v->queues[i];

        s.queues[i] = (struct queue_state){
            .size = q->size,
            .base = q->base,
            .enabled = q->enabled,
            .event_idx = q->event_idx,
            .has_addr = q->has_addr,
            .has_kick = q->kick_fd >= 0,
            .has_call = q->vq.call_fd >= 0,
            .addr = q->addr,
        };
        if (q->kick_fd >= 0)
            add_fd(&kept, q->kick_fd);
        if (q->vq.call_fd >= 0)
            add_fd(&kept, q->vq.call_fd);
    }
    memcpy(kept.bytes, &s, sizeof(s));
    kept.len = sizeof(s);
    vgr_keep_store(v->keep, &kept);
}

/* Takes the next descriptor. */
static int next_fd(struct vgr_kept *kept, unsigned *at)
{
    int fd = kept->fds[*at];

    kept->fds[(*at)++] = -1;
    return fd;
}

/* Does the message hold together, and are its descriptors as many as it says? */
static bool sound(const struct state *s, unsigned n_fds)
{
    unsigned n = 2 + s->has_display + s->n_regions;

    if (s->layout != LAYOUT || s->record_size != sizeof(struct vgr_vhost_record) ||
        s->has_display > 1 || s->n_regions > VGR_GUESTMEM_REGIONS)
        return false;
    for (unsigned i = 0; i < VGR_VHOST_QUEUES; i++) {
        const struct queue_state *q = &s->queues[i];

        if (q->has_kick > 1 || q->has_call > 1)
            return false;
        n += q->has_kick + q->has_call;
    }
    return n == n_fds;
}

static int restore_memory(struct vgr_vhost *v, const struct state *s, struct vgr_kept *kept,
                          unsigned *at)
{
    for (unsigned i = 0; i < s->n_regions; i++) {
        int err = vgr_guestmem_add(&v->mem, &s->regions[i], kept->fds[*at]);

        if (err)
            return err;
        next_fd(kept, at);
    }
    return 0;
}

static void restore_queue(struct vgr_vhost_queue *q, const struct queue_state *s,
                          struct vgr_kept *kept, unsigned *at)
{
    q->size = s->size;
    q->base = s->base;
    q->enabled = s->enabled;
    q->event_idx = s->event_idx;
    q->has_addr = s->has_addr;
    q->addr = s->addr;
    q->resume = s->enabled && s->has_addr && s->has_kick; /* else it did not run */
    if (s->has_kick)
        q->kick_fd = next_fd(kept, at);
    if (s->has_call)
        q->vq.call_fd = next_fd(kept, at);
}

static bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd};

    return vgr_sys_poll(&p, 1, 0) > 0;
}

static int restore(struct vgr_vhost *v, const struct state *s, struct vgr_kept *kept)
{
    struct vgr_vhost_record *record;
    unsigned at = 0;
    int err;

    v->fd = next_fd(kept, &at);
    if (s->has_display)
        v->display_fd = next_fd(kept, &at);
    v->record_fd = next_fd(kept, &at);
    record = map_record(v->record_fd);
    if (!record)
        return -errno;
    set_record(v, record);
    err = restore_memory(v, s, kept, &at);
    if (err)
        return err;
    if (hung_up(v->fd))
        return -ECONNRESET;
    if (record->busy) {
        vgr_error("the former vgr-device died while it served QEMU: the VM's device is lost");
        return -ECONNRESET;
    }
    for (unsigned i = 0; i < VGR_VHOST_QUEUES; i++)
        restore_queue(&v->queues[i], &s->queues[i], kept, &at);
    return 0;
}

int vgr_vhost_restore(struct vgr_vhost *v, struct vgr_kept *kept)
{
    struct state s;
    int err = -EPROTO;

    if (kept->len == sizeof(s)) {
        memcpy(&s, kept->bytes, sizeof(s));
        if (sound(&s, kept->n_fds))
            err = restore(v, &s, kept);
    }
    for (unsigned i = 0; i < kept->n_fds; i++) {
        if (kept->fds[i] >= 0)
            close(kept->fds[i]);
    }
    return err;
}
