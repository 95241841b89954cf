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

#define FINISH_MS 1000

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

int vgr_discard(int conn)
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

void vgr_discard_finish(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    if (pidfd <= 0)
        return;
    poll(&p, 1, FINISH_MS);
    vgr_discard_end(pidfd);
}

void vgr_discard_end(int pidfd)
{
    waitid(P_PIDFD, (id_t)pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
    close(pidfd);
}
