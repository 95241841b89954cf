/* SPDX-License-Identifier: MIT
 *
 * worker_fronts.h - a real vgr-device and its guests, played by hand: a VM on vhost-user, programs on the
 * direct front, a monitor with the bridge in it on the broker.
 *
 * Guest memory is one memfd, all of it ATTACK_SECRET but for the arenas. Those of a VM are two runs the wrong
 * way round; a program on the direct front has a memfd of its own, with as much secret behind the arena.
 * Functions that may find the front blocked say so by false, after FRONT_PATIENCE_MS.
 */
#ifndef VGR_HOSTILE_WORKER_FRONTS_H
#define VGR_HOSTILE_WORKER_FRONTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hostile/worker.h"
#include "protocol/ring.h"

#define FRONT_PATIENCE_MS 60000
#define FRONT_RAM         ((size_t)26 << 20)
#define FRONT_SLOTS       3u

enum front_kind { FRONT_VHOST, FRONT_DIRECT, FRONT_BROKER };

struct front {
    enum front_kind kind;
    pid_t pid; /* 0: it did not start, or was stopped, and ended with `status`, as of waitpid(2) */
    int status;
    char path[96], stats[96];
    int log; /* what it writes */
    /* Guest memory. */
    int ram_fd;
    uint8_t *ram;
    /* vhost-user: QEMU's connection and the control queue. */
    int conn, kick;
    uint16_t offered;
    bool lost; /* it did not answer in time: nothing more can be asked */
    pthread_mutex_t lock;
};

/* A guest program's context. */
struct guest {
    struct front *front;
    unsigned slot;  /* 0..FRONT_SLOTS - 1: one context each at a time */
    uint8_t *arena; /* linear, as the worker sees it */
    struct vgr_control *ctl;
    struct vgr_ring_producer ring;
    int conn, line; /* direct */
    int file;
    bool open;
};

/* The device of this program, `arguments` ending with NULL in addition to those of the front itself. */
bool front_start(struct front *f, enum front_kind kind, const char *folder, const char *device,
                 char *const *arguments);
/* Ends it; true if it goes in peace. */
bool front_stop(struct front *f);
bool front_answers(struct front *f);
/* Its longest turn in us, as its statistics say; 0: they do not. */
uint64_t front_longest_turn(struct front *f);
/* Is all of the VM's memory outside of its arenas and its queue still the secret? */
bool front_memory_is_whole(const struct front *f);
/* Something that it has to log. */
void front_vex(struct front *f);
/* Open descriptors and child processes. `newest` may be NULL. */
void front_holds(const struct front *f, unsigned *fds, unsigned *workers, pid_t *newest);

/* Makes its memory: an arena with a good hello in it, but for the version of GGML if `odd`. */
bool guest_open(struct guest *g, struct front *f, unsigned slot, bool odd);
/* Asks the front for a worker. */
bool guest_start(struct guest *g);
bool guest_bell(struct guest *g);
/* Ends it and waits for the worker's end. */
bool guest_close(struct guest *g);
uint32_t guest_state(const struct guest *g);
/* The same, and waits until it is ready; false if it fails or takes too long. */
bool guest_ready(struct guest *g);
/* Buffer, stream and graph for guest_computes(). */
bool guest_prepare(struct guest *g);
/* A round trip with a graph; 1: right, 0: wrong, -1: no answer. */
int guest_computes(struct guest *g);

/* For worker_fronts.c: the monitor with the bridge (worker_bridge.c). */
bool bridge_start(struct front *f);
bool bridge_open(struct guest *g, const size_t *halves);
bool bridge_bell(struct guest *g);
bool bridge_close(struct guest *g);
/* For worker_fronts.c: a VM (worker_vhost.c). */
bool vhost_start(struct front *f);
bool vhost_open(struct guest *g, const size_t *halves, uint64_t size);
bool vhost_bell(struct guest *g);
bool vhost_close(struct guest *g);
bool vhost_answers(struct front *f);

void front_nap(void);
uint64_t front_now_ms(void);
int front_connect(const char *path, int type);

#endif
