/* SPDX-License-Identifier: MIT */
#include "worker/counts.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct vgr_counts_page *vgr_counts_map(void)
{
    void *p =
        mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, VGR_BOOT_COUNTS_FD, 0);

    close(VGR_BOOT_COUNTS_FD);
    return p == MAP_FAILED ? NULL : p;
}

void vgr_counts_device(struct vgr_counts_page *p, const char *name)
{
    uint32_t n = p->n_devices;

    if (n == VGR_BOOT_MAX_DEVICES)
        return;
    snprintf(p->devices[n], sizeof(p->devices[n]), "%s", name);
    __atomic_store_n(&p->n_devices, n + 1, __ATOMIC_RELEASE);
}

void vgr_counts_queue(struct vgr_counts_page *p, uint32_t number)
{
    __atomic_store_n(&p->queues, p->queues | 1u << number, __ATOMIC_RELEASE);
}
