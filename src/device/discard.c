/* SPDX-License-Identifier: MIT */
#include "device/discard.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/sys.h"

#define FINISH_MS 1000
#define RETRY_MS  1000u
#define CALLS     8u /* to close one, at most */

/* Nothing more can come once reading is shut down; what came before is counted. Of a listening socket the
 * kernel does not say (EINVAL). */
static bool is_empty(int conn)
{
    int bytes;

    shutdown(conn, SHUT_RD);
    return !ioctl(conn, SIOCINQ, &bytes) && !bytes;
}

/* In the child: holds the connection until it is killed. The parent has all the other files too, so that to
 * close them here ends none of them. */
static void __attribute__((noreturn)) hold(int conn, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(conn, 0) < 0 || close_range(1, ~0u, 0))
        _exit(1);
    for (;;)
        pause();
}

/* Returns 0 if `conn` is closed. A positive number is the pidfd of a process that is about to do it, and to
 * be reaped. -errno: there can be no process, and `conn` is still open. */
static int close_elsewhere(int conn)
{
    pid_t parent = getpid(), pid;
    int pidfd;

    if (is_empty(conn)) {
        close(conn);
        return 0;
    }
    shutdown(conn, SHUT_WR); /* whatever comes of it, the client is told now */
    pid = fork();
    if (pid < 0)
        return -errno;
    if (!pid)
        hold(conn, parent);
    close(conn); /* not the last one: the child's is */
    pidfd =
        pidfd_open(pid, 0); /* in the place of the other: there is room even where there is none */
    kill(pid, SIGKILL);
    return pidfd < 0 ? 0 : pidfd; /* without one, it stays a zombie until we end */
}

static void reap(int pidfd)
{
    VGR_SYS_AGAIN(waitid(P_PIDFD, (id_t)pidfd, &(siginfo_t){0}, WEXITED | WNOHANG));
    close(pidfd);
}

/* For the end of the program. */
static void await(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    vgr_sys_poll(&p, 1, FINISH_MS * INT64_C(1000000));
    reap(pidfd);
}

static void end(struct vgr_discard *d)
{
    d->loop = NULL;
    d->done(d);
}

static void process_ended(struct vgr_watch *w, uint32_t events)
{
    struct vgr_discard *d = vgr_container_of(w, struct vgr_discard, watch);
    int pidfd = w->fd;

    vgr_loop_del(d->loop, w);
    reap(pidfd);
    end(d);
}

static void try_again(struct vgr_timer *t);

/* True if d->fd is closed. */
static bool try(struct vgr_discard *d)
{
    int ret = close_elsewhere(d->fd);

    vgr_loop_charge(d->loop, VGR_WORK_CALLS, CALLS);
    vgr_loop_charge(d->loop, VGR_WORK_PROCESSES, ret != 0);
    if (ret < 0) {
        vgr_timer_set(d->loop, &d->retry, RETRY_MS, try_again);
        return false;
    }
    d->fd = -1;
    if (ret && !vgr_loop_add(d->loop, &d->watch, ret, EPOLLIN, process_ended))
        return false;
    if (ret)
        reap(ret); /* it may remain a zombie until we end */
    return true;
}

static void try_again(struct vgr_timer *t)
{
    struct vgr_discard *d = vgr_container_of(t, struct vgr_discard, retry);

    if (try(d))
        end(d);
}

bool vgr_discard(struct vgr_discard *d, struct vgr_loop *loop, int fd,
                 void (*done)(struct vgr_discard *d))
{
    *d = (struct vgr_discard){.loop = loop, .fd = fd, .watch.fd = -1, .done = done};
    if (!try(d))
        return false;
    d->loop = NULL;
    return true;
}

void vgr_discard_finish(struct vgr_discard *d)
{
    int pidfd = d->watch.fd;

    if (!d->loop)
        return;
    vgr_timer_stop(&d->retry);
    vgr_loop_del(d->loop, &d->watch);
    d->loop = NULL;
    if (d->fd >= 0)
        vgr_discard_last(d->fd);
    else
        await(pidfd);
}

void vgr_discard_last(int fd)
{
    int pidfd = close_elsewhere(fd);

    if (pidfd > 0)
        await(pidfd);
}
