/* SPDX-License-Identifier: MIT
 *
 * What a worker counts, read from its file: see worker.h. A page is a queue of its context.
 */
#include <stddef.h>
#include <string.h>

#include "device/worker.h"
#include "protocol/sys.h"

static const struct vgr_counter_info counter_info[] = {VGR_COUNTERS_WORKER(VGR_COUNTER_ROW)};

static bool read_page(const struct vgr_worker *w, unsigned queue, struct vgr_counts_page *page)
{
    return !vgr_sys_pread(w->counts_fd, page, sizeof(*page), queue * sizeof(*page));
}

/* Adds a queue's counters to sum[]. */
static void add_counters(const struct vgr_counts_page *page, uint64_t *sum)
{
    uint64_t now = vgr_counts_now();

    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        sum[i] += page->counters[i];
        if (counter_info[i].unit == VGR_UNIT_SECONDS && page->since[i] && page->since[i] < now)
            sum[i] += now - page->since[i];
    }
}

void vgr_worker_read(struct vgr_worker *w, struct vgr_counts_page *page)
{
    uint64_t sum[VGR_COUNTER_COUNT] = {0};
    struct vgr_counts_page further;

    if (!read_page(w, 0, page))
        memset(page, 0, sizeof(*page));
    add_counters(page, sum);
    for (unsigned q = 1; q < VGR_COUNTS_QUEUES; q++) {
        if ((page->queues >> q & 1) && read_page(w, q, &further))
            add_counters(&further, sum);
    }
    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        if (counter_info[i].unit == VGR_UNIT_LEVEL || sum[i] > w->seen[i])
            w->seen[i] = sum[i];
    }
    if (page->n_devices > VGR_BOOT_MAX_DEVICES)
        page->n_devices = VGR_BOOT_MAX_DEVICES;
    for (unsigned i = 0; i < page->n_devices; i++)
        page->devices[i][sizeof(page->devices[i]) - 1] = '\0';
}

/* Reads a field of a queue's page. */
static bool read_field(const struct vgr_worker *w, unsigned queue, size_t at, void *to, size_t size)
{
    return !vgr_sys_pread(w->counts_fd, to, size, queue * sizeof(struct vgr_counts_page) + at);
}

static bool read_since(const struct vgr_worker *w, unsigned queue, uint64_t *ns)
{
    size_t at = offsetof(struct vgr_counts_page, since[VGR_COUNTER_COMPUTING]);

    return read_field(w, queue, at, ns, sizeof(*ns)) && *ns;
}

uint32_t vgr_worker_queues(const struct vgr_worker *w)
{
    uint32_t queues;

    if (!read_field(w, 0, offsetof(struct vgr_counts_page, queues), &queues, sizeof(queues)))
        queues = 0;
    return (queues | 1) & (uint32_t)((UINT64_C(1) << VGR_COUNTS_QUEUES) - 1);
}

bool vgr_worker_computing(const struct vgr_worker *w, unsigned queue, uint64_t *since,
                          uint32_t *graphs)
{
    uint64_t again;

    if (!read_since(w, queue, since) ||
        !read_field(w, queue, offsetof(struct vgr_counts_page, in_flight), graphs, sizeof(*graphs)))
        return false;
    if (*graphs > VGR_COUNTS_MAX_IN_FLIGHT)
        *graphs = VGR_COUNTS_MAX_IN_FLIGHT;
    /* Else these are the graphs of another time. */
    return read_since(w, queue, &again) && again == *since;
}

void vgr_worker_add(const struct vgr_worker *w, uint64_t *sum)
{
    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        bool over = __builtin_add_overflow(sum[i], w->seen[i], &sum[i]);

        /* A level may be below 0 for a moment, and then the sum is what is left. */
        if (over && counter_info[i].unit != VGR_UNIT_LEVEL)
            sum[i] = UINT64_MAX;
    }
}

void vgr_worker_keep(struct vgr_worker *w)
{
    struct vgr_counts_page page;

    vgr_worker_read(w, &page);
    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        if (counter_info[i].unit == VGR_UNIT_LEVEL)
            w->seen[i] = 0;
    }
    vgr_worker_add(w, w->pool->ended);
    for (unsigned i = 0; i < VGR_FRONT_COUNT; i++)
        w->pool->front_ended[i] += w->front[i];
}
