/* SPDX-License-Identifier: MIT
 *
 * log.h - log lines of the host's programs.
 *
 * One line per call to stderr, written with a single write(2) so that the lines of several processes
 * do not mix. Nobody waits for a reader: what a full pipe has no room for is lost. The guest library
 * does not use this: it logs through GGML.
 *
 * Texts of guests, clients and drivers get into lines. Each line is cleaned as a whole, as protocol/text.h
 * says, so that none of them can end a line, begin another one or steer a terminal.
 *
 * Whether a pipe has room is asked before the write, whose description may be shared and is left in blocking
 * mode. So a writer would wait if somebody else filled the pipe in between. A worker cannot: it has no
 * descriptor of the log (device/worker_log.h). Left are programs to which the operator gave the same pipe.
 */
#ifndef VGR_COMMON_LOG_H
#define VGR_COMMON_LOG_H

#include <stddef.h>
#include <stdint.h>

/* The longest line, its newline included. */
#define VGR_LOG_LINE 1024u

/* Of one kind of lines: so many in so long a time are written, the others counted. */
#define VGR_LOG_BURST     10u
#define VGR_LOG_WINDOW_MS 10000u

struct vgr_log_limit {
    uint64_t since_ms;
    unsigned written, left_out;
    unsigned burst; /* instead of VGR_LOG_BURST, or 0; the owner's to set */
};

enum vgr_log_level {
    VGR_LOG_ERROR = 0,
    VGR_LOG_WARN = 1,
    VGR_LOG_INFO = 2,
    VGR_LOG_DEBUG = 3,
};

/* Sets what is written from now on, and the prefix of every line ("vgr-device", "vgr-worker[3]").
 * `prefix` is copied (63 bytes at most); "" stands for a process whose log another one reads and prefixes.
 * Not thread-safe; call at start. */
void vgr_log_init(const char *prefix, enum vgr_log_level level);

/* For a library in somebody else's process, when it is loaded. Its lines raise no signal there, and if there is
 * no stderr at that time none are written: its number may later be a file of that process's. */
void vgr_log_borrow(void);

/* The level of a name ("error", "warn", "info", "debug"), or -EINVAL. */
int vgr_log_level_parse(const char *name);

/* The level in force. */
enum vgr_log_level vgr_log_level_get(void);

/* Writes one line; `fmt` without a newline. Lines over 1 KiB are cut. Keeps errno. Thread-safe. */
__attribute__((format(printf, 2, 3))) void vgr_log(enum vgr_log_level level, const char *fmt, ...);

/* Writes a line of another process, `len` bytes of any content, with that one's prefix (63 bytes at most)
 * and whatever the level is. Thread-safe. */
void vgr_log_text(const char *prefix, const char *text, size_t len);

/* Like vgr_log() for a line that a guest or a client can provoke as often as it likes; `limit` is 0 at first, but for
 * its burst.
 * Not thread-safe. */
__attribute__((format(printf, 3, 4))) void
vgr_log_often(struct vgr_log_limit *limit, enum vgr_log_level level, const char *fmt, ...);

#define vgr_error(...) vgr_log(VGR_LOG_ERROR, __VA_ARGS__)
#define vgr_warn(...)  vgr_log(VGR_LOG_WARN, __VA_ARGS__)
#define vgr_info(...)  vgr_log(VGR_LOG_INFO, __VA_ARGS__)
#define vgr_debug(...) vgr_log(VGR_LOG_DEBUG, __VA_ARGS__)

#endif
