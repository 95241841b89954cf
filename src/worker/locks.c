/* SPDX-License-Identifier: MIT */
#include "worker/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libc's header gives one of these names to the other, as the size of off_t wants it. */
int vgr_locks_fcntl(int fd, int cmd, ...) __asm__("fcntl") __attribute__((visibility("default")));
int vgr_locks_fcntl64(int fd, int cmd, ...) __asm__("fcntl64")
    __attribute__((alias("fcntl"), visibility("default")));

#define READ_TRIES  100
#define READ_NAP_US 10000

static bool by_flock;

void vgr_locks_by_flock(void)
{
    by_flock = true;
}

/* Whether flock() can do it. */
static bool is_of_file(int cmd, const struct flock *lock)
{
    return by_flock && (cmd == F_SETLK || cmd == F_SETLKW) && lock && !lock->l_start &&
           lock->l_whence != SEEK_END;
}

/* A lock to read that is to be had at once: as the kernel's, but for other readers, who are done soon. */
static int lock_to_read(int fd)
{
    int ret = flock(fd, LOCK_EX | LOCK_NB);

    for (unsigned i = 0; ret && errno == EWOULDBLOCK && i < READ_TRIES; i++) {
        usleep(READ_NAP_US);
        ret = flock(fd, LOCK_EX | LOCK_NB);
    }
    return ret;
}

static int lock_file(int fd, int cmd, const struct flock *lock)
{
    int wait = cmd == F_SETLKW ? 0 : LOCK_NB;

    switch (lock->l_type) {
    case F_RDLCK:
        return wait ? lock_to_read(fd) : flock(fd, LOCK_EX);
    case F_WRLCK:
        return flock(fd, LOCK_EX | wait);
    default:
        return flock(fd, LOCK_UN);
    }
}

static int control(int fd, int cmd, va_list rest)
{
    void *arg = va_arg(rest, void *); /* or a number, which is passed alike */

    if (is_of_file(cmd, arg))
        return lock_file(fd, cmd, arg);
    return (int)syscall(SYS_fcntl, fd, cmd, arg);
}

int vgr_locks_fcntl(int fd, int cmd, ...)
{
    va_list rest;
    int result;

    va_start(rest, cmd);
    result = control(fd, cmd, rest);
    va_end(rest);
    return result;
}
