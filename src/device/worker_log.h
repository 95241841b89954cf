/* SPDX-License-Identifier: MIT
 *
 * worker_log.h - what a worker writes to its stdout and stderr, as lines of the front's log.
 *
 * Theory of operation
 * -------------------
 *
 * A worker may be in its guest's hands, so it does not hold the front's log. Its stdout and stderr are one
 * end of a pair of sockets that the front makes for it; the front reads the other end in its event loop,
 * splits lines, cleans them (protocol/text.h), and writes them with a prefix that the worker has no part in.
 * So a worker neither writes as the front or as another worker, nor more than its share, and what it does
 * to the flags or the size of its end is its own affair: the two ends have nothing in common.
 *
 * It is a socket and not a pipe, because who reads a pipe waits for a lock that a writer holds while its
 * page faults are served. A socket's writer copies before it takes the lock. The front reads without waiting.
 * A worker may have to wait for the front, so that none of its lines is lost in between.
 *
 * It carries messages, one for each write(), and not a stream: to read something wakes whoever waits for room
 * at the worker's end, once for each piece that was written, and of a stream a call takes as many pieces as
 * there are, those that come meanwhile too. A write() of more than VGR_WORKER_LOG_MESSAGE bytes fails in the
 * worker. What a call costs is measured (common/cost.h), and once a worker has been killed its log is not read
 * before it is gone, when nobody waits at its end.
 *
 * A descriptor that is sent along with bytes would be closed by the front when it reads them, and closing
 * can take as long as its sender likes (a TCP socket that lingers). Linux 6.16 and later refuse to send one
 * on these sockets; before, only the sandbox does, which has no sendmsg.
 *
 * Limits
 * ------
 *
 * Of each worker VGR_WORKER_LOG_LINES lines are written at once and one each second from then on. These
 * come out of what all workers of a front have together, so a guest that starts one worker after the other
 * gains nothing. At log level debug all of that is ten times as much. Once a worker has used up its lines,
 * the next ones are left out until it has VGR_LOG_BURST again, and their number is said. The last that were
 * left out are kept, and written when the worker ends: they may say why.
 *
 * Reading costs the front time. Each turn takes a message; when a worker has been read for
 * VGR_WORKER_LOG_CHARGE bytes, where small messages count as VGR_WORKER_LOG_LEAST, it is not looked at for
 * VGR_WORKER_LOG_PAUSE_MS.
 */
#ifndef VGR_DEVICE_WORKER_LOG_H
#define VGR_DEVICE_WORKER_LOG_H

#include <stdbool.h>

#include "common/cost.h"
#include "common/log.h"
#include "device/loop.h"

#define VGR_WORKER_LOG_CHARGE    16384u
#define VGR_WORKER_LOG_LEAST     128u /* what a small message counts as */
#define VGR_WORKER_LOG_PAUSE_MS  100u
#define VGR_WORKER_LOG_LINES     100u
#define VGR_WORKER_LOG_LAST      20u   /* lines at a worker's end, if it has used up its own */
#define VGR_WORKER_LOG_ALL_LINES 1000u /* of all workers at once, then */
#define VGR_WORKER_LOG_ALL_RATE  10u   /* each second */
#define VGR_WORKER_LOG_BUFFER    (16u << 10) /* of the socket, as SO_SNDBUF takes it */
#define VGR_WORKER_LOG_MESSAGE                                                                     \
    (2u * VGR_WORKER_LOG_BUFFER) /* the kernel doubles it, for its own part */
#define VGR_WORKER_LOG_REST                                                                        \
    64u /* messages that are read at a worker's end, at most: all that have room */

/* Lines that may be written: some have been used, and time gives them back. All 0: none is used. */
struct vgr_worker_log_lines {
    uint64_t since_ms;
    unsigned used;
};

/* All 0: not open. */
struct vgr_worker_log {
    struct vgr_loop *loop; /* NULL: not open */
    struct vgr_watch watch;
    struct vgr_timer pause;
    struct vgr_worker_log_lines *all; /* of all workers */
    struct vgr_worker_log_lines own;
    int fd; /* the front's end */
    uint32_t number;
    unsigned charged;     /* bytes read since the last pause */
    struct vgr_cost cost; /* of reading */
    /* The owner's to set after vgr_worker_log_open(), or NULL: what it cost to read a message. */
    void (*read)(struct vgr_worker_log *l, enum vgr_cost_found found);
    unsigned left_out; /* lines */
    bool cut;          /* the rest of a line that is too long follows */
    size_t len;
    size_t n_tail;           /* bytes that were ever put there since it was empty */
    char line[VGR_LOG_LINE]; /* begun */
    char tail[4096];         /* a ring: the last lines that were left out, each with its newline */
};

/* Opens the log of worker `number`. `loop` and `all`, which is one for all workers of a front, must outlive
 * it. Returns the end that is to be the worker's stdout and stderr (the caller closes it), or -errno. For
 * the loop's thread, like the other one. */
int vgr_worker_log_open(struct vgr_worker_log *l, struct vgr_loop *loop,
                        struct vgr_worker_log_lines *all, uint32_t number);

/* Reads no more before vgr_worker_log_close(). No-op for one that is not open. */
void vgr_worker_log_rest(struct vgr_worker_log *l);

/* When the worker is gone: writes what is left in the socket and closes it. It does not wait for processes that
 * still hold the other end. No-op for one that is not open. */
void vgr_worker_log_close(struct vgr_worker_log *l);

#endif
