/* SPDX-License-Identifier: MIT
 *
 * guest.h - a guest program that has nothing of ours but the numbers of wire.h: ioctls of the kernel's
 * virtio-gpu driver, a ring by hand, op and type numbers of its own invention.
 *
 * The device may be ours alone, or one of graphics with a bridge in it. In the second kind a context is
 * claimed before it is used, and arenas are resources in the guest's memory and blobs of the host's by
 * turns.
 *
 * The steps of a session are functions of their own, so that a case can leave one out or do it wrong.
 * CHECK() is how a case fails: it says why and ends the process, since each case has one of its own.
 */
#ifndef VGR_HOSTILE_GUEST_H
#define VGR_HOSTILE_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <virtgpu_drm.h>

#include "protocol/wire.h"

/* What takes this long has failed; long enough for an emulated machine. */
#define PATIENCE_MS 60000

#define GUEST_ARENA (4u << 20)
#define GUEST_RING  (64u << 10)
#define GUEST_HEAP  (VGR_CONTROL_SIZE + GUEST_RING)
#define GUEST_REPLY (GUEST_HEAP + (64u << 10)) /* the handshake's; 256 KiB */
#define GUEST_DATA  (1u << 20)                 /* from here on the heap is the case's */

/* This guest's numbers, as its dictionary says. */
enum { OP_NONE = 3, OP_ADD = 41, OP_MUL_MAT = 200 };
enum { TYPE_F32 = 17 };

enum arena_kind { ANY_ARENA, GUEST_MEMORY, HOST_BLOB };

struct guest {
    int fd;
    bool claimed; /* its context has the bridge's rings; never on a device that is ours alone */
    uint32_t bo, resource;
    uint8_t *arena;
    uint64_t size;
    struct vgr_control *ctl;
    uint32_t tail;
    uint64_t seq;
};

_Noreturn void give_up(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define CHECK(what, ...)                                                                           \
    do {                                                                                           \
        if (!(what))                                                                               \
            give_up(__FILE__, __LINE__, __VA_ARGS__);                                              \
    } while (0)

void nap(unsigned ms);
uint64_t now_ms(void);

/* xorshift; the same numbers in each run. */
uint64_t random_number(void);

/* ---- node.c ---- */

/* An ioctl, again if it was interrupted: 0 or -errno. */
int node_ioctl(int fd, unsigned long request, void *arg);

/* DRM_IOCTL_VIRTGPU_GET_CAPS. */
int node_caps(int fd, uint32_t id, uint32_t version, void *buf, uint32_t size);

/* Opens the render node. The file that it returns has no context in the kernel yet. */
int node_open(void);

/* Whether the device is one of graphics, with a bridge in it. */
bool bridged(void);

/* CONTEXT_INIT with a capset and a number of rings: 0 or -errno. */
int node_context(int fd, uint64_t capset, uint64_t rings);

/* What the kernel is asked for when a 3D resource is to be nothing but `size` bytes of guest memory. */
struct drm_virtgpu_resource_create node_bytes(uint32_t size);

/* A 3D resource of `size` bytes in g->fd, or a blob of the host's, mapped. 0 or -errno; then nothing is
 * left. */
int guest_resource(struct guest *g, uint64_t size);
int guest_blob(struct guest *g, uint64_t size);

/* EXECBUFFER of anything; `fence`, if not NULL, becomes a descriptor. 0 or -errno. */
int guest_submit(const struct guest *g, const void *data, uint32_t len, int *fence);

/* The same for a ring of a claimed context. */
int guest_submit_ring(const struct guest *g, const void *data, uint32_t len, uint32_t ring,
                      int *fence);

/* The same with a submission, wrapped for a bridge where there is one. */
int guest_send(const struct guest *g, const struct vgr_submit *s, int *fence);

/* The same with a good one. */
int guest_say(const struct guest *g, enum vgr_submit_op op, int *fence);

/* Where there is a bridge, makes the context its; does nothing elsewhere. */
void guest_claim(struct guest *g);

/* Whether a fence signals within PATIENCE_MS; closes it. */
bool fence_signals(int fence);

/* ---- guest.c ---- */

/* Writes a good hello and dictionary into the arena. */
void guest_hello(struct guest *g);

/* Which arenas guest_prepare() takes on a bridged device from now on. */
void guest_take(enum arena_kind kind);

/* node_open(), a claim, an arena of GUEST_ARENA, guest_hello(). */
void guest_prepare(struct guest *g);

/* Waits until the context is READY or FAILED, and returns which; NONE after `ms`. */
uint32_t guest_settled(const struct guest *g, unsigned ms);

/* guest_prepare(), OPEN, READY. False: the limit of contexts is still reached after `ms`, and the context has
 * FAILED; the workers of contexts that are over take a moment to end. */
bool guest_let_in(struct guest *g, unsigned ms);

/* The same: there must be room before PATIENCE_MS are over. */
void guest_open(struct guest *g);

/* Closes the node with all that hangs on it, and unmaps the arena. */
void guest_close(struct guest *g);

/* Writes a record behind the last one and publishes it; returns its number. */
uint64_t guest_push(struct guest *g, void *cmd, enum vgr_cmd_op op, uint32_t size);

/* Rings if the worker sleeps; `always`: in any case. */
void guest_ring(struct guest *g, bool always);

/* Waits until `seq` is done; false if the context has failed. */
bool guest_done(struct guest *g, uint64_t seq);

/* The context fails with `code` for a reason that contains `text`. */
void guest_fails(struct guest *g, enum vgr_error code, const char *text);

/* Nobody looks at this arena, within a short while. */
void guest_ignored(struct guest *g);

/* Opens stream 1 and allocates buffer 1 of `size` bytes. */
void guest_buffer(struct guest *g, uint64_t size);

/* A matrix of F32 at `offset` in buffer 1. */
struct vgr_tensor matrix(int64_t columns, int64_t rows, uint64_t offset);

/* The good session that is done to or beside the bad ones: 1 + 2 by eight floats, in buffer 1 and
 * stream 1, which are there; define, set, run, get, published one by one. Returns the last number. */
struct addition {
    struct vgr_graph g;
    struct vgr_tensor t[3];
};
#define ADDITION_IN    GUEST_DATA
#define ADDITION_OUT   (GUEST_DATA + 4096)
#define ADDITION_GRAPH (GUEST_DATA + 8192)
void addition_define(struct guest *g);
uint64_t addition_run(struct guest *g);
bool addition_right(const struct guest *g);

/* addition_define(), addition_run(), waits, and the result is right. */
void guest_computes(struct guest *g);

#endif
