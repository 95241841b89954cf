/* SPDX-License-Identifier: MIT
 *
 * raw_client.h - a guest that speaks the direct front by hand, well or badly.
 *
 * Tests of what the host does with bad input need a guest without our guest library's manners. Each
 * step of a session is a function of its own, so that a test can leave one out or do it wrong. The
 * functions that must succeed assert that they do.
 */
#ifndef VGR_TEST_RAW_CLIENT_H
#define VGR_TEST_RAW_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/ring.h"
#include "protocol/wire.h"

#define RAW_ARENA (4u << 20)
#define RAW_RING  (64u << 10)
#define RAW_HEAP  (VGR_CONTROL_SIZE + RAW_RING)
#define RAW_DATA  (1u << 20) /* from here on the heap is the test's */

struct raw_client {
    int socket;
    int fds[VGR_DIRECT_NFDS]; /* arena, the worker's end of the line */
    int line;
    uint8_t *arena;
    struct vgr_control *ctl;
    struct vgr_capset capset;
    struct vgr_ring_producer ring;
};

/* Starts the vgr-device that VGR_DEVICE in the environment names, with the device that RAW_DEVICE
 * names, or the CPU, in the sandbox that RAW_SANDBOX names, or the relaxed one, and waits until it
 * listens. The second one ends it and asserts that it ends well. */
void raw_device_start(void);
void raw_device_stop(void);

/* Instead of both: somebody else's device, which serves this socket. */
void raw_device_at(const char *socket);

/* The process of the context opened last. */
pid_t raw_device_newest_worker(void);

/* Open descriptors and child processes of the device. */
struct raw_holdings {
    unsigned fds;
    unsigned workers;
};
struct raw_holdings raw_device_holdings(void);

/* Waits until the device holds what it held before; asserts that it comes to that. */
void raw_device_settles(struct raw_holdings before);

/* Connects, reads the capset, makes arena and line, writes a good hello and dictionary. */
void raw_connect(struct raw_client *c);

/* Sends OPEN with that magic and size and the first n_fds of fds[]. */
void raw_send_open(struct raw_client *c, uint32_t magic, uint64_t size, unsigned n_fds);

/* raw_connect(), a good OPEN, and waits for READY. */
void raw_open(struct raw_client *c);

/* Waits until the context is READY or FAILED; returns the state. */
uint32_t raw_settled(struct raw_client *c);

/* Pushes a record and publishes it; returns its number. */
uint64_t raw_push(struct raw_client *c, void *cmd, uint16_t op, uint32_t size);

/* Rings the doorbell whether the worker sleeps or not. */
void raw_doorbell(struct raw_client *c);

/* Waits until `seq` is done; false if the context fails instead. */
bool raw_done(struct raw_client *c, uint64_t seq);

/* Asserts that the context fails with `code`, for a reason that contains `text`. */
void raw_assert_fails(struct raw_client *c, enum vgr_error code, const char *text);

/* Asserts that the host hangs up. */
void raw_assert_hangs_up(struct raw_client *c);

/* Allocates buffer `handle` on device 0. */
void raw_buffer(struct raw_client *c, uint32_t handle, uint64_t size);

/* Opens stream 1, computes 1 + 2 on it in buffer 1 and asserts that the result is 3. Once a
 * context. */
void raw_assert_computes(struct raw_client *c);

void raw_close(struct raw_client *c);

#endif
