/* SPDX-License-Identifier: MIT
 *
 * account.h - how much device memory the workers of one front hold together.
 *
 * Theory of operation
 * -------------------
 *
 * A limit for a VM is a limit over several processes. They share a file of slots, one for each worker,
 * which says what that worker holds. What is in use is the sum of the slots, computed anew each time:
 * there is no second number that could drift from it. A worker that dies, at whatever instruction, leaves
 * its slot behind, and the front clears that when it has reaped the process.
 *
 * Each slot is a page of its own, since that is the grain in which the kernel protects memory. A worker
 * reads all and writes its own:
 *
 * - It maps the whole file from a descriptor that the front opened to read only. No mprotect() makes such a
 *   mapping writable, whatever the process does.
 * - It maps one page more from a descriptor that can write, and closes both before it reads a byte that
 *   its guest or its client wrote. The mapping could grow over its neighbours by mremap() or
 *   remap_file_pages(): the sandbox has neither, and where the kernel can seal mappings (mseal, Linux
 *   6.10), these are sealed as well, so that they stay as they are without a sandbox, too.
 *
 * The first page is the front's. It says how many slots have been in use, so that those which never were
 * are not read and take no memory: the account costs 4 KiB for each worker that lives at the same time.
 *
 * Nobody locks anything. Whoever takes says so first, in its slot, as a wish; then it reads all slots, and
 * holds the bytes if everything that is held and wished for fits the limit. Of two that wish at the same
 * time, the later one sees the earlier one's wish, so both cannot get the last bytes: what is held never
 * exceeds the limit. If both see each other, the one with the higher slot withdraws and tries again a little
 * later, so that one of them gets the bytes. A wish that does not go away is waited for, a second at most.
 *
 * A worker in its guest's hands can write anything in its slot. The others take that for at most what an
 * honest worker could have, the context's limit or else the common one, and sums do not wrap around. So it
 * denies others what its program could have had from the front anyway, until its end. It can also say
 * that it holds nothing: the limits are kept by the workers themselves, and this one keeps none. The
 * front believes nothing that is in here; its statistics are from elsewhere (worker/counts.h).
 */
#ifndef VGR_COMMON_ACCOUNT_H
#define VGR_COMMON_ACCOUNT_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define VGR_ACCOUNT_SLOTS 1024u
#define VGR_ACCOUNT_PAGE  4096u

struct vgr_account_slot {
    uint64_t held; /* bytes */
    uint64_t wish; /* bytes that its worker is about to take; 0: none */
    uint8_t pad[VGR_ACCOUNT_PAGE - 16];
};

struct vgr_account_pages {
    uint32_t used; /* slots below this one may hold something */
    uint8_t pad[VGR_ACCOUNT_PAGE - 4];
    struct vgr_account_slot slot[VGR_ACCOUNT_SLOTS];
};
static_assert(sizeof(struct vgr_account_slot) == VGR_ACCOUNT_PAGE, "a slot is a page");
static_assert(sizeof(struct vgr_account_pages) == (1 + VGR_ACCOUNT_SLOTS) * VGR_ACCOUNT_PAGE,
              "account");

/* The front's. One thread's. */
struct vgr_account {
    struct vgr_account_pages *pages; /* NULL: there is none */
    int fd;                          /* the file, sealed so that it keeps its size */
    int read_fd;                     /* to read only */
};

/* A worker's part. One thread's at a time. */
struct vgr_account_share {
    const struct vgr_account_pages *all; /* NULL: there is none */
    struct vgr_account_slot *own;
    uint32_t slot;
    uint64_t limit; /* of all slots together; 0: none */
    uint64_t most;  /* that one slot is believed to have, if there is a limit */
};

/* Makes an empty account. 0 or -errno. The descriptors are the account's; others get copies. */
int vgr_account_create(struct vgr_account *a);

/* Ends the account, if there is one, for the front. */
void vgr_account_destroy(struct vgr_account *a);

/* Before a worker gets `slot`: the others begin to read it. */
void vgr_account_use(struct vgr_account *a, uint32_t slot);

/* The worker of `slot` is gone: it holds nothing. */
void vgr_account_clear(struct vgr_account *a, uint32_t slot);

/* For a worker: maps an account from copies of its descriptors, and `slot` of it to write. `limit` is
 * that of all slots together, `each` that of one of them; 0: none. Returns 0 or -errno. The descriptors
 * stay the caller's; until both are closed, more can be mapped. Mappings are for the life of the process. */
int vgr_account_join(struct vgr_account_share *s, int read_fd, int fd, uint32_t slot,
                     uint64_t limit, uint64_t each);

/* Takes `bytes` more, unless all slots would have more than the limit. False: nothing was taken. May
 * sleep, as is said above. */
bool vgr_account_take(struct vgr_account_share *s, uint64_t bytes);

/* Gives back `bytes` of what was taken. */
void vgr_account_give(struct vgr_account_share *s, uint64_t bytes);

/* What all slots hold, as far as they are believed; at most UINT64_MAX. While others take and give, it is no
 * single moment's. */
uint64_t vgr_account_sum(const struct vgr_account_share *s);

#endif
