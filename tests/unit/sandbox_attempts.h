/* SPDX-License-Identifier: MIT
 *
 * sandbox_attempts.h - what test_worker_sandbox tries inside of the sandbox, and what the attempts share.
 */
#ifndef VGR_SANDBOX_ATTEMPTS_H
#define VGR_SANDBOX_ATTEMPTS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "worker/sandbox.h"

/* What an attempt may come to, besides an errno and 0 for success. */
#define KILLED  1000 /* by SIGSYS */
#define STOPPED 1001 /* the handler of calls that strict does not know */
#define NOT_RUN 1002

static struct {
    char folder[32], file[64], new_file[64], socket[64];
    int guest_ram;    /* two pages, of which the second begins with 's'; the front holds it */
    int tty, front;   /* a terminal, a pidfd of the front */
    int pipe, stream; /* a pipe's end, a socket */
    int file_fd, folder_fd;
    int heard;           /* an eventfd: the other worker heard SIGUSR1 */
    int processor;       /* one on which the front may run */
    pid_t parent, other; /* the front, another worker */
    struct vgr_boot_sandbox config;
    struct vgr_sandbox sandbox;
} f;

static int to_errno(long ret)
{
    return ret < 0 ? errno : 0;
}

/* ---- Attempts: an errno, or 0 if they succeeded ---- */

static int try_open(const char *path, int flags)
{
    return to_errno(open(path, flags, 0600));
}

/* The first page of guest memory, as a worker has it: mapped, without a descriptor. */
static char *map_page(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f.guest_ram, 0);

    if (page == MAP_FAILED)
        _exit(98);
    close(f.guest_ram);
    return page;
}

#endif
