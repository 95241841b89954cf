/* SPDX-License-Identifier: MIT */
#include "common/account.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The lock is held for a microsecond, or as long as the front takes to reap a holder. */
#define NAP_NS 1000000
#define NAPS   1000

int vgr_account_create(void)
{
    int fd = memfd_create("vgr-account", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err;

    if (fd < 0)
        return -errno;
    if (!ftruncate(fd, sizeof(struct vgr_account)) &&
        !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return fd;
    err = -errno;
    close(fd);
    return err;
}

struct vgr_account *vgr_account_map(int fd)
{
    void *p = mmap(NULL, sizeof(struct vgr_account), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

void vgr_account_unmap(struct vgr_account *a)
{
    if (a)
        munmap(a, sizeof(*a));
}

static bool lock(struct vgr_account *a, uint32_t slot)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};

    for (int i = 0; i < NAPS; i++) {
        uint32_t holder = __atomic_load_n(&a->lock, __ATOMIC_RELAXED);
        bool lie = holder > VGR_ACCOUNT_SLOTS || holder == slot + 1; /* nobody's, or not mine */

        if ((!holder || lie) && __atomic_compare_exchange_n(&a->lock, &holder, slot + 1, false,
                                                            __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
        nanosleep(&nap, NULL);
    }
    return false;
}

static void unlock(struct vgr_account *a, uint32_t slot)
{
    uint32_t me = slot + 1;

    __atomic_compare_exchange_n(&a->lock, &me, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static void set(struct vgr_account *a, uint32_t slot, uint64_t bytes)
{
    __atomic_store_n(&a->held[slot], bytes, __ATOMIC_RELAXED);
}

bool vgr_account_take(struct vgr_account *a, uint32_t slot, uint64_t limit, uint64_t bytes)
{
    uint64_t sum;
    bool fits;

    if (!limit) {
        set(a, slot, a->held[slot] + bytes);
        return true;
    }
    if (!lock(a, slot))
        return false;
    sum = vgr_account_sum(a);
    fits = sum <= limit && bytes <= limit - sum;
    if (fits)
        set(a, slot, a->held[slot] + bytes);
    unlock(a, slot);
    return fits;
}

void vgr_account_give(struct vgr_account *a, uint32_t slot, uint64_t bytes)
{
    set(a, slot, a->held[slot] - bytes);
}

uint64_t vgr_account_sum(const struct vgr_account *a)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < VGR_ACCOUNT_SLOTS; i++) {
        if (__builtin_add_overflow(sum, __atomic_load_n(&a->held[i], __ATOMIC_RELAXED), &sum))
            return UINT64_MAX;
    }
    return sum;
}

void vgr_account_clear(struct vgr_account *a, uint32_t slot)
{
    set(a, slot, 0);
    unlock(a, slot);
}
