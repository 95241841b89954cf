/* SPDX-License-Identifier: MIT
 *
 * worker.h - what the attacking worker (worker.c) and the program that starts it (worker_drive.c) share.
 *
 * Theory of operation
 * -------------------
 *
 * The attacker is the real vgr-worker, every line of it, with one function exchanged: where the worker would
 * read the guest's first bytes, the attacker looks for a word in the arena. If it is there, the worker has
 * been taken over. So it always stands where a hostile guest stands: behind the real start, the real sandbox
 * and the real libraries. A context without that word is served as always.
 *
 * Attempts lie in tables, one a file, and run one after the other in one context. What an attempt comes to
 * is written to the arena, so that an attempt that kills the worker is known as well: the next context goes
 * on behind it. A call that the sandbox answers with SIGSYS is caught, as a worker in foreign hands would.
 *
 * Outcomes. An attempt returns 0 if it has reached what it aims at, HARMLESS if nothing kept it from trying
 * and yet nobody but its own context was harmed, or the errno with which it was refused.
 */
#ifndef VGR_HOSTILE_WORKER_H
#define VGR_HOSTILE_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ATTACK_MAGIC  0x6b63617474612121ull
#define ATTACK_SECRET 0x7365637265742121ull /* all of guest memory outside of the arenas */
#define ATTACK_OFFSET (3u << 19)            /* of the page in the arena: in the first run */
#define ATTACK_ARENA  (4u << 20)
#define ATTACK_MAX    512u

/* What an attempt returns besides an errno. */
#define HARMLESS (-1)
/* How it may end otherwise, in struct attack_result. */
#define STOPPED (-2) /* SIGSYS was raised: the call was not made */
#define KILLED  (-3) /* the kernel killed the worker for the call */
#define DIED    (-4) /* the worker ended otherwise */

/* Flags of an attempt. */
enum {
    STRICT_ONLY = 1,  /* relaxed does not promise it (docs/security.md) */
    ALONE = 2,        /* the worker is of no use afterwards */
    MAY_HARMLESS = 4, /* to be let do it is fine, too: `why` says why nobody is harmed */
};

/* What the driver is asked to do, with its answer. */
enum attack_ask {
    ASK_NOTHING,
    ASK_FRONT, /* ring this worker's doorbell, then see whether the front answers */
    ASK_OPEN,  /* open a fresh context and have it compute */
    ASK_LOG,   /* has anything come to the log that must not be in it? */
    ASK_GUEST, /* the same, after a guest has come whose texts are bad */
    ASK_MOUTH, /* as ASK_FRONT, with the front asked to log a line meanwhile */
    ASK_TAP,   /* what worker_clients.h says */
    ASK_REFUSED,
    ASK_SERVED,
};
enum { ANSWER_WELL = 1, ANSWER_HARMED = 2 };

struct attack_result {
    char name[56], asset[16], why[104];
    uint32_t flags;
    uint32_t landlock; /* the lowest version that forbids it; 0: the filter does */
    uint32_t begun, ended;
    int32_t outcome;
};

/* In the arena, at ATTACK_OFFSET. The first part is the driver's. */
struct attack_page {
    uint64_t magic;
    uint32_t first;    /* attempt to go on with */
    uint32_t control;  /* there is no sandbox: show that the attempts are in earnest */
    uint32_t relaxed;  /* leave out STRICT_ONLY */
    uint32_t landlock; /* version in force; attempts that need more are left out */
    uint32_t user;     /* the worker has a user of its own */
    int32_t victim;    /* a process of the worker's user that counts signals */
    int32_t monitor;   /* the process that holds guest memory, as QEMU does */
    int32_t front, other_worker, other_front;
    uint64_t secret_at; /* in the monitor's memory */
    uint64_t ram_dev, ram_ino;
    char folder[64];  /* of other people: `file`, `socket` are in it */
    uint32_t hits;    /* signals that have come to the victim */
    uint32_t cpus[3]; /* processors that victim, front and other worker may run on: how many */
    uint32_t answer;
    /* The attacker's. */
    uint32_t ask;
    uint32_t n, done;
    struct attack_result result[ATTACK_MAX];
};

/* ---- The attacker's own ---- */

/* Where it stands. */
struct scene {
    struct attack_page *page;
    uint8_t *arena;
    int doorbell, wakeup; /* one descriptor, where both are a line */
};
extern struct scene scene;

struct attempt {
    const char *name;
    int (*run)(void);
    unsigned flags;
    const char *why; /* nobody is harmed, with MAY_HARMLESS */
    int (*control)(
        void); /* shows without a sandbox that the attempt is in earnest; NULL: run() does */
    unsigned landlock;
};

struct attempts {
    const char *asset;
    const struct attempt *list;
    size_t n;
};
#define ATTEMPTS(var, asset, list)                                                                 \
    const struct attempts var = {asset, list, sizeof(list) / sizeof((list)[0])}

extern const struct attempts attack_ram, attack_memory, attack_signals, attack_scheduling,
    attack_processes, attack_files, attack_devices, attack_sockets, attack_kernel, attack_events,
    attack_pages, attack_log, attack_resources;

/* 0, or the errno of a call that has returned `ret`. */
int attack_errno(long ret);

/* A call by its number: there is no library between. */
long attack_call(long nr, ...);

/* Has the driver do something. HARMLESS if all is well, 0 if harm is done. */
int attack_ask(enum attack_ask what);

/* Whether the victim gets a signal within a moment: 0, else HARMLESS. */
int attack_hit(uint32_t before);

/* Runs `f`; EFAULT if it touches what it must not. */
int attack_touch(int (*f)(void *), void *arg);

/* FOLDER/NAME */
int attack_path(char *buf, size_t size, const char *name);

#endif
