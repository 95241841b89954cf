/* SPDX-License-Identifier: MIT
 *
 * account.h - how much device memory the workers of one front hold together.
 *
 * Theory of operation
 * -------------------
 *
 * A limit for a VM is a limit over several processes. They share a page of slots, one for each
 * worker, which says what that worker holds. What is in use is the sum of the slots, computed anew
 * each time: there is no second number that could drift from it. A worker that dies, at whatever
 * instruction, leaves its slot behind, and the front clears that when it has reaped the process.
 *
 * Whoever takes does so under a lock in the page, so that two workers that want the last bytes cannot
 * both get them, and one of them does. The holder's slot is in the lock: it goes with the holder.
 * Giving back needs no lock. The front never takes it: it waits for nobody.
 *
 * All workers of a front can write the page. One that was taken over by its guest can say that it
 * holds nothing, or everything, or keep the lock, also in the name of another slot: it takes from other
 * contexts of its front, whose account this is, and from nobody else. What it wrote into slots without a
 * worker, and a lock that it keeps in such a name, end with it. What the front reads here are numbers, nothing more. The limit is
 * not in the page.
 */
#ifndef VGR_COMMON_ACCOUNT_H
#define VGR_COMMON_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#define VGR_ACCOUNT_SLOTS 1024u

struct vgr_account {
    uint32_t lock; /* 1 + the slot of the holder; 0: free */
    uint32_t reserved;
    uint64_t held[VGR_ACCOUNT_SLOTS]; /* bytes */
};

/* A memfd with an empty account, sealed so that it keeps its size, or -errno. The caller's. */
int vgr_account_create(void);

/* Maps it; NULL and errno on failure. The descriptor may be closed. vgr_account_unmap() takes NULL. */
struct vgr_account *vgr_account_map(int fd);
void vgr_account_unmap(struct vgr_account *a);

/* For the worker of `slot`: takes `bytes` more, unless the sum of all slots would be more than
 * `limit` (0: none). False: nothing was taken. May sleep until another worker is out of its way, for a
 * second at most: then nothing is taken. */
bool vgr_account_take(struct vgr_account *a, uint32_t slot, uint64_t limit, uint64_t bytes);

/* For the worker of `slot`: gives back `bytes` of what it took. */
void vgr_account_give(struct vgr_account *a, uint32_t slot, uint64_t bytes);

/* The sum of all slots; at most UINT64_MAX. */
uint64_t vgr_account_sum(const struct vgr_account *a);

/* For the front: the worker of `slot` is gone, or there is none. */
void vgr_account_clear(struct vgr_account *a, uint32_t slot);

#endif
