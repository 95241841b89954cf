/* SPDX-License-Identifier: MIT
 *
 * sys.h - system calls, made so that a process which is somebody else's is left as it was.
 *
 * The guest library and the bridge live in other people's processes. Such a process has signals with
 * handlers, a profiler's a thousand times a second; limits whose excess ends it by a signal; and perhaps
 * no standard streams, whose numbers the kernel then gives to the next file that is opened. The calls
 * below do not fail because a signal came, raise none, and return no descriptor below 3. The programs of
 * the host use them too, for the first of these reasons.
 *
 * All functions are thread-safe.
 */
#ifndef VGR_PROTOCOL_SYS_H
#define VGR_PROTOCOL_SYS_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The value of `call`, which is made again for as long as it returns a negative number with EINTR. Not for
 * calls with a time-out, which would begin anew, nor for close(), which has closed the descriptor. */
#define VGR_SYS_AGAIN(call)                                                                        \
    __extension__({                                                                                \
        __typeof__(call) vgr_sys_ret;                                                              \
        do {                                                                                       \
            vgr_sys_ret = (call);                                                                  \
        } while (vgr_sys_ret < 0 && errno == EINTR);                                               \
        vgr_sys_ret;                                                                               \
    })

/* Nanoseconds of the clock by which all of the waiting below goes, and which nobody sets (CLOCK_MONOTONIC). */
int64_t vgr_sys_now(void);

/* poll() for `ns` nanoseconds (negative: without limit). A signal does not end it: it goes on with the time
 * that is left. Returns what poll() does, with errno. */
int vgr_sys_poll(struct pollfd *p, nfds_t n, int64_t ns);

/* Sleeps for `ns` nanoseconds, or until vgr_sys_now() is `when`, whatever signals come. */
void vgr_sys_nap(int64_t ns);
void vgr_sys_nap_until(int64_t when);

/* Returns `fd` if it is 3 or more, or negative. Otherwise moves it: returns another descriptor of the same
 * file, 3 or more and close-on-exec, or -1 and errno. `fd` is closed in either case. */
int vgr_sys_high(int fd);

/* Closes *fd, unless it is negative, and makes it -1. */
void vgr_sys_close(int *fd);

/* Makes a memfd of `size` bytes, all zero. `flags` as for memfd_create(2), `seals` as for F_ADD_SEALS (0: not
 * sealed). Returns the descriptor, 3 or more, or -errno; -EFBIG is the process's limit for files. */
int vgr_sys_memfd(const char *name, unsigned flags, uint64_t size, int seals);

/* Writes all `len` bytes at the file's position. Returns 0 or -errno. */
int vgr_sys_write(int fd, const void *buf, size_t len);

/* Reads or writes all `len` bytes at offset `at`. Returns 0 or -errno; -EIO: the file is shorter. */
int vgr_sys_pread(int fd, void *buf, size_t len, uint64_t at);
int vgr_sys_pwrite(int fd, const void *buf, size_t len, uint64_t at);

/* Between these two calls this thread gets no SIGPIPE and no SIGXFSZ by what it writes. `err` is what came of
 * it: -EPIPE and -EFBIG are where the kernel has raised one. Both keep errno. Without such an error they make no
 * system call but rt_sigprocmask, nor for a thread that blocks both: jails of monitors know no other. */
struct vgr_sys_hush {
    sigset_t mask; /* as it was before */
    sigset_t kept; /* of the thread's own, to be left waiting */
};
void vgr_sys_hush(struct vgr_sys_hush *h);
void vgr_sys_unhush(const struct vgr_sys_hush *h, int err);

#endif
