/* SPDX-License-Identifier: MIT */
#include "worker/locks.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libc's header gives one of these names to the other, as the size of off_t wants it. */
int vgr_locks_fcntl(int fd, int cmd, ...) __asm__("fcntl") __attribute__((visibility("default")));
int vgr_locks_fcntl64(int fd, int cmd, ...) __asm__("fcntl64")
    __attribute__((visibility("default")));

static bool by_flock;

void vgr_locks_by_flock(void)
{
    by_flock = true;
}

/* Of a lock that one of flock() can stand for, the operation, else -1. */
static int operation(int cmd, const struct flock *lock)
{
    if (!by_flock || (cmd != F_SETLK && cmd != F_SETLKW) || !lock || lock->l_start ||
        lock->l_whence == SEEK_END)
        return -1;
    switch (lock->l_type) {
    case F_RDLCK:
        return LOCK_SH;
    case F_WRLCK:
        return LOCK_EX;
    case F_UNLCK:
        return LOCK_UN;
    default:
        return -1;
    }
}

static int control(int fd, int cmd, va_list rest)
{
    void *arg = va_arg(rest, void *); /* or a number, which is passed alike */
    int op = operation(cmd, arg);

    if (op >= 0)
        return flock(fd, cmd == F_SETLKW ? op : op | LOCK_NB);
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

int vgr_locks_fcntl64(int fd, int cmd, ...)
{
    va_list rest;
    int result;

    va_start(rest, cmd);
    result = control(fd, cmd, rest);
    va_end(rest);
    return result;
}
