/* SPDX-License-Identifier: MIT
 *
 * boot.h - how a front hands a context to its worker.
 *
 * The front starts one `vgr-worker --boot` process per context (fork and exec, so that the worker has
 * an address space of its own, without the front's mapping of guest memory). It finds these
 * descriptors open and no others:
 *
 *   0      /dev/null
 *   1,2    a socket for log lines, to write only, which the front reads (device/worker_log.h)
 *   3      boot file: a memfd with struct vgr_boot, then n_runs x struct vgr_boot_run
 *   4      line: doorbells come here, wake-ups go here (common/line.h)
 *   5      counters: a sealed memfd with struct vgr_counts_page (counts.h), mapped by the worker
 *   6      account: a sealed memfd with the device memory of all workers (common/account.h), to read only
 *   7      the same file, to write: the worker maps the page of its own slot
 *   8...   n_fds files that hold the arena's pages
 *
 * A client of a socket (boot.client) sends its arena as descriptors, a direct one its line too. The front
 * never takes them: on somebody else's descriptor even close() may wait for its owner, for ever. So the worker
 * finds the client's connection as descriptor 8, its message still in the queue, and no runs (and /dev/null as
 * descriptor 4, if the line is still to come), and receives all of it itself (handover.h). Only that worker can
 * come to harm. If it refuses what it
 * gets, it tells the client by a struct vgr_notice and exits with VGR_BOOT_REFUSED.
 *
 * The worker's first act is to map the counters and the account and to close those descriptors, before it
 * reads a byte that its client wrote: by descriptor 7 it could write others' slots. Then it maps the runs,
 * in order, as one linear arena, and closes the boot file, the page files and the connection, before it
 * reads a byte that the guest wrote in the arena. The front has validated the runs of a boot file; the
 * worker trusts it.
 *
 * Then it gives up what it does not need (sandbox.h).
 *
 * The worker is killed by the front with SIGKILL when the context is closed, and by PR_SET_PDEATHSIG
 * when the front dies. By itself it ends with exit status 1 when the context has failed and the
 * control page says why.
 *
 * `vgr-worker --probe` has the front's stdout and stderr. It gets the boot file only, with no runs: it goes
 * as far as a worker that has not met its guest yet, says what of the sandbox this machine lacks, and exits
 * with 0, or with 2 and a log line where no worker would come up.
 *
 * `vgr-worker --list-devices [NAME...]` prints the devices that a context would get, and exits with
 * 2 and a log line where a name is unknown or GGML finds none.
 */
#ifndef VGR_WORKER_BOOT_H
#define VGR_WORKER_BOOT_H

#include <stdint.h>

#define VGR_BOOT_MAGIC       0x544f4f42u
#define VGR_BOOT_FD          3
#define VGR_BOOT_LINE_FD     4
#define VGR_BOOT_COUNTS_FD   5
#define VGR_BOOT_ACCOUNT_FD  6
#define VGR_BOOT_SLOT_FD     7
#define VGR_BOOT_FILES_FD    8
#define VGR_BOOT_CONN_FD     8 /* instead of files */
#define VGR_BOOT_MAX_FILES   16u
#define VGR_BOOT_MAX_DEVICES 16u
#define VGR_BOOT_MAX_GROUPS  8u

/* Each run is a mapping of the worker. The kernel allows 65530 of them a process by default
 * (vm.max_map_count); what is left is for libraries. The front refuses an arena of more runs with
 * VGR_ERROR_ARENA, and the guest tries a smaller one. An operator who changes the kernel's limit
 * changes this one, up to an arena of 4 GiB in single pages. */
#define VGR_BOOT_DEFAULT_RUNS 60000u
#define VGR_BOOT_MAX_RUNS     (1u << 20)

#define VGR_BOOT_REFUSED 3 /* exit status, see above */

/* Whose message the worker is to receive. */
enum vgr_boot_client {
    VGR_BOOT_NO_CLIENT, /* the arena is in the boot file */
    VGR_BOOT_DIRECT,    /* protocol/wire.h, direct front */
    VGR_BOOT_BROKER,    /* common/broker.h */
};

/* How much of the host a worker gives up (sandbox.h). */
enum vgr_sandbox_mode {
    VGR_SANDBOX_STRICT, /* zero: the default */
    VGR_SANDBOX_RELAXED,
    VGR_SANDBOX_OFF,
};

/* Kinds of GPUs' device nodes that a worker opens, by the devices that it offers. */
#define VGR_NODES_DRM    1u /* /dev/dri */
#define VGR_NODES_NVIDIA 2u
#define VGR_NODES_KFD    4u
#define VGR_NODES_OTHER  8u
#define VGR_NODES_ALL    15u

struct vgr_boot_sandbox {
    uint32_t mode;  /* enum vgr_sandbox_mode */
    uint32_t nodes; /* VGR_NODES_... */
    uint32_t has_user;
    uint32_t uid, gid, n_groups; /* if has_user */
    uint32_t groups[VGR_BOOT_MAX_GROUPS];
    char shader_cache[256]; /* a folder that workers write to, or "" */
};

struct vgr_boot {
    uint32_t magic;
    uint32_t n_fds;
    uint32_t n_runs;
    uint32_t log_level;    /* as in common/log.h */
    uint64_t arena_size;   /* sum of the runs' lengths, or what the client says; multiple of 4096 */
    uint32_t context;      /* the front's number, for log lines */
    uint32_t n_devices;    /* 0: every GPU, or the CPU where there is none */
    uint32_t account_slot; /* this worker's */
    uint32_t client;       /* enum vgr_boot_client */
    uint64_t memory_limit; /* device memory of all workers of the front; 0: none */
    uint64_t context_memory_limit;          /* of this one; 0: none */
    char devices[VGR_BOOT_MAX_DEVICES][64]; /* names of host devices ("Vulkan0", "CPU") */
    struct vgr_boot_sandbox sandbox;
};

struct vgr_boot_run {
    uint32_t file; /* index: descriptor VGR_BOOT_FILES_FD + file */
    uint32_t reserved;
    /* Multiples of 4096. The worker refuses those that are none of the pages that the kernel maps the file by. */
    uint64_t offset; /* in the file */
    uint64_t length;
};

#endif
