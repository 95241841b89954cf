/* SPDX-License-Identifier: MIT
 *
 * worker.h - starting, watching and ending `vgr-worker` processes.
 *
 * Theory of operation
 * -------------------
 *
 * A worker is started with fork and exec and gets the descriptors that worker/boot.h lists, nothing
 * else. Those of a client it receives itself: the front never has them. Its end is learnt from a pidfd in the event loop; nobody ever waits for it in a call. A
 * worker may be stuck in a GPU driver for as long as it likes: SIGKILL is sent, `exited` is called
 * whenever it is really gone. Only then are the arena's pages free of it, so an owner that lends out
 * guest memory keeps that memory from being reused until `exited`.
 *
 * Each worker counts what it does in a page of its own (worker/counts.h), which is read here when
 * somebody asks, and once more at its end, for the totals. What is read is never lower than what was
 * read before: whoever computes rates can rely on that, whatever the worker does.
 *
 * What device memory a worker holds is in its slot of the pool's account (common/account.h), which the
 * other workers read. It is given back here when the process is reaped: the driver has it then, too.
 *
 * The pool bounds the number of processes, those that are being killed included: a guest that opens
 * and closes contexts in a loop cannot pile up processes.
 */
#ifndef VGR_DEVICE_WORKER_H
#define VGR_DEVICE_WORKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/account.h"
#include "device/loop.h"
#include "device/worker_log.h"
#include "worker/boot.h"
#include "worker/counts.h"

/* Lines about contexts in VGR_LOG_WINDOW_MS: many may be opened at once, and few all the time. */
#define VGR_WORKER_POOL_BURST 100u

struct vgr_worker;
struct vgr_watchdog;

struct vgr_worker_pool {
    struct vgr_loop *loop;
    const char *path;           /* of the vgr-worker program */
    const char *const *devices; /* names given to every worker */
    unsigned n_devices;         /* at most VGR_BOOT_MAX_DEVICES, each shorter than 64 bytes */
    struct vgr_boot_sandbox sandbox;
    unsigned limit;    /* of processes alive, at most VGR_ACCOUNT_SLOTS */
    unsigned max_runs; /* of one worker's arena; at most VGR_BOOT_MAX_RUNS */
    unsigned alive;
    uint64_t memory_limit;             /* device memory of all workers, bytes; 0: none */
    uint64_t context_memory_limit;     /* of one worker; 0: none */
    struct vgr_account account;        /* made by the first start, ends with the pool */
    bool slot_used[VGR_ACCOUNT_SLOTS]; /* of the account */
    struct vgr_watchdog *watchdog;     /* NULL: graphs may run for ever */
    uint32_t last_number;
    struct vgr_worker_log_lines log_lines; /* of all workers */
    struct vgr_log_limit log;              /* of lines about contexts: opened, closed, ended */
    struct vgr_worker *first;              /* all alive, in a list, youngest first */
    /* For the statistics, since the start of the program. */
    uint64_t started_ns; /* CLOCK_REALTIME; the owner's to set */
    uint64_t opened;     /* workers started */
    uint64_t refused;    /* contexts that got none, or whose worker refused the client */
    uint64_t failed;     /* workers that ended by themselves */
    uint64_t timed_out;  /* workers that the watchdog ended */
    uint64_t ended[VGR_COUNTER_COUNT]; /* sums over the workers that are gone */
    uint64_t front_ended[VGR_FRONT_COUNT];
};

/* What a worker is to map: runs of pages of up to VGR_BOOT_MAX_FILES files. */
struct vgr_arena {
    uint64_t size; /* sum of the runs */
    int files[VGR_BOOT_MAX_FILES];
    unsigned n_files;
    const struct vgr_boot_run *runs;
    unsigned n_runs;
};

/* What a worker starts with: an arena and its end of a line (common/line.h), or the connection of a client
 * that has sent an arena. */
struct vgr_worker_job {
    struct vgr_arena arena; /* of a client only its size */
    int line;               /* -1: the client has sent it */
    enum vgr_boot_client client;
    int conn;
};

/* How the guest of a worker is attached. */
enum vgr_attachment {
    VGR_ATTACHED_DIRECT, /* a program on this host */
    VGR_ATTACHED_BRIDGE, /* a VM, by the bridge in its monitor: doorbells and wake-ups go through that */
    VGR_ATTACHED_VM, /* a VM, by the front, which relays them and counts them in front[] */
};

struct vgr_worker {
    struct vgr_watch watch; /* the pidfd */
    struct vgr_worker_pool *pool;
    struct vgr_worker *prev, *next;
    pid_t pid;
    uint32_t number; /* of the context, for log lines */
    uint32_t slot;   /* in the account of device memory */
    struct vgr_worker_log log;
    bool killed;
    bool refused; /* it has refused what its client handed over, and told the client */
    enum vgr_attachment attached; /* how its guest is; set by the front after the start */
    uint64_t front[VGR_FRONT_COUNT];
    int counts_fd; /* struct vgr_counts_page, one for each queue */
    uint64_t arena_size;
    uint64_t started_ns;              /* CLOCK_REALTIME */
    uint64_t seen[VGR_COUNTER_COUNT]; /* as read last */
    /* Called once, from the event loop, when the process is gone and reaped. `reason` says how it
     * ended ("was killed by signal 9 (Killed)"). The owner may free the object in it. */
    void (*exited)(struct vgr_worker *w, const char *reason);
    /* Which limit it has passed, and was killed for; else empty. The owner tells the guest so in `exited`. */
    char over_limit[96];
    uint64_t tell_at; /* the watchdog's: vgr_counts_now(), 0: never */
    /* The owner's to set after the start, or NULL: it does not die, so the guest is to be told now. */
    void (*tell)(struct vgr_worker *w);
};

/* Makes what all workers share, if it is not there; the first start does so, too. 0 or -errno. */
int vgr_worker_pool_prepare(struct vgr_worker_pool *pool);

/* Starts a worker on `job` and sets w->number. All descriptors stay the caller's. Returns 0 or -errno;
 * -EUSERS: the limit is reached. */
int vgr_worker_start(struct vgr_worker_pool *pool, struct vgr_worker *w,
                     const struct vgr_worker_job *job,
                     void (*exited)(struct vgr_worker *w, const char *reason));

/* Reads a live worker's counters into w->seen, the sums of its queues, and what else it tells into
 * *page: the names of its devices, each ended with a NUL, VGR_BOOT_MAX_DEVICES at most. Their bytes may
 * be anything. */
void vgr_worker_read(struct vgr_worker *w, struct vgr_counts_page *page);

/* The queues of a live worker, a bit each. The first is always one. */
uint32_t vgr_worker_queues(const struct vgr_worker *w);

/* For a queue of a live worker that is computing: since when (vgr_counts_now()), and how many graphs
 * its devices have. False: it is not. */
bool vgr_worker_computing(const struct vgr_worker *w, unsigned queue, uint64_t *since,
                          uint32_t *graphs);

/* Adds w->seen to sum[], one for each counter. Whatever a worker has counted, a sum of what only rises
 * does not wrap around: it stays at UINT64_MAX. */
void vgr_worker_add(const struct vgr_worker *w, uint64_t *sum);

/* Adds what a worker counted to the sums of its pool: for worker.c, once it has ended. */
void vgr_worker_keep(struct vgr_worker *w);

/* What a call on something that the worker holds has cost (vgr_cost_end()): others get their turn, or the worker
 * is killed for it. */
void vgr_worker_cost(struct vgr_worker *w, enum vgr_cost_found found);

/* Kills it because it has passed a limit, which `text` says: to the log, and to the guest at its end. No-op
 * for one that was killed before. */
void vgr_worker_over_limit(struct vgr_worker *w, const char *text);

/* Sends SIGKILL, and does not read its log any more until `exited`, which follows later. No-op if it was sent before or the process is gone. */
void vgr_worker_kill(struct vgr_worker *w);

/* True from a successful start to the call of `exited`. */
bool vgr_worker_alive(const struct vgr_worker *w);

/* At the end of the program: kills all workers and waits until they are gone, `ms` at most. */
void vgr_worker_pool_finish(struct vgr_worker_pool *pool, uint32_t ms);

/* Runs `path --list-devices [NAME]...` and waits for it.
 * Returns its exit status, or -errno if it cannot be run or dies by a signal (-ECANCELED). For the
 * start of the program only: it blocks. */
int vgr_worker_list_devices(const char *path, const char *const *devices, unsigned n_devices);

/* Runs `vgr-worker --probe` with the pool's settings: a worker up to its handshake. Else as above. */
int vgr_worker_probe(const struct vgr_worker_pool *pool);

#endif
