/* SPDX-License-Identifier: MIT
 *
 * keep.h - the front's end of vgr-keeper (keeper/keeper.h), which outlives it.
 *
 * A keeper that dies is replaced: the front has all that it kept. Without one the front works, but
 * its death would be its VM's device's.
 */
#ifndef VGR_DEVICE_KEEP_H
#define VGR_DEVICE_KEEP_H

#include "device/loop.h"
#include "keeper/keeper.h"

/* What is kept. Begins with struct vgr_keeper_head. */
struct vgr_kept {
    union {
        struct vgr_keeper_head head;
        uint8_t bytes[VGR_KEEPER_MAX_BYTES];
    };
    size_t len;
    int fds[VGR_KEEPER_MAX_FDS];
    unsigned n_fds;
};

struct vgr_keep {
    struct vgr_watch watch; /* the connection to it */
    struct vgr_loop *loop;
    const char *program;
    const char *socket; /* the front's, which it is named after */
    uint64_t started_ms;
    /* A new one was started and keeps nothing yet. */
    void (*renewed)(struct vgr_keep *k);
};

/* Finds the keeper of the front on `socket`, or starts `program` as one. Both strings stay the caller's
 * and are used until the end. 1: there was one, *kept is what it keeps and its descriptors are the caller's;
 * 0: it keeps nothing; -errno with a sentence in `why`. Called before the loop runs: may block for
 * some seconds. */
int vgr_keep_open(struct vgr_keep *k, struct vgr_loop *loop, const char *program,
                  const char *socket, void (*renewed)(struct vgr_keep *k), struct vgr_kept *kept,
                  char *why, size_t why_size);

/* Has it keep this and nothing else. Descriptors stay the caller's. No-op without a keeper. */
void vgr_keep_store(struct vgr_keep *k, const struct vgr_kept *kept);

/* Leaves it with what it keeps. */
void vgr_keep_close(struct vgr_keep *k);

#endif
