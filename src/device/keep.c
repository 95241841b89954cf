/* SPDX-License-Identifier: MIT */
#include "device/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fds.h"
#include "common/log.h"
#include "device/listen.h"
#include "protocol/sys.h"

/* One that does not last for so long is not replaced. */
#define LASTS_MS 1000

#define ANSWER_NS INT64_C(5000000000)

static int keeper_path(const struct vgr_keep *k, struct sockaddr_un *addr, char *why,
                       size_t why_size)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if ((size_t)snprintf(addr->sun_path, sizeof(addr->sun_path), "%s.keeper", k->socket) <
        sizeof(addr->sun_path))
        return 0;
    snprintf(why, why_size, "the path of the socket '%s.keeper' is too long", k->socket);
    return -ENAMETOOLONG;
}

/* In the grandchild. */
static void __attribute__((noreturn)) become_keeper(const struct vgr_keep *k, int front,
                                                    int listener)
{
    char *argv[] = {(char *)"vgr-keeper", (char *)k->socket, NULL};
    char *env[] = {NULL};
    int null = VGR_SYS_AGAIN(open("/dev/null", O_RDWR | O_CLOEXEC));

    /* Above the targets first, or a dup2() could overwrite one still needed. */
    front = fcntl(front, F_DUPFD_CLOEXEC, VGR_KEEPER_LISTEN_FD + 1);
    listener = fcntl(listener, F_DUPFD_CLOEXEC, VGR_KEEPER_LISTEN_FD + 1);
    if (null >= 0 && front >= 0 && listener >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 &&
        dup2(null, 2) == 2 && dup2(front, VGR_KEEPER_FRONT_FD) >= 0 &&
        dup2(listener, VGR_KEEPER_LISTEN_FD) >= 0 &&
        !close_range(VGR_KEEPER_LISTEN_FD + 1, ~0u, 0) && !chdir("/"))
        execve(k->program, argv, env);
    _exit(127);
}

/* Starts one that is nobody's child, and returns the connection to it or -errno. */
static int launch(struct vgr_keep *k, char *why, size_t why_size)
{
    struct sockaddr_un addr;
    int s[2], listener, err;
    pid_t pid;

    err = keeper_path(k, &addr, why, why_size);
    if (err)
        return err;
    if (access(k->program, X_OK) < 0) {
        err = errno;
        snprintf(why, why_size, "cannot run %s: %s", k->program, strerror(err));
        return -err;
    }
    listener = vgr_listen(addr.sun_path, SOCK_SEQPACKET, 0600, why, why_size);
    if (listener < 0)
        return listener;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s) < 0) {
        err = errno;
        goto fail;
    }
    pid = fork();
    if (!pid) {
        if (setsid() < 0)
            _exit(127);
        pid = fork();
        if (!pid)
            become_keeper(k, s[1], listener);
        _exit(pid < 0 ? 127 : 0);
    }
    err = pid < 0 ? errno : 0;
    if (pid > 0) {
        int status = -1;

        VGR_SYS_AGAIN(waitpid(pid, &status, 0));
        err = status ? EAGAIN : 0;
    }
    close(s[1]);
    if (!err) {
        close(listener);
        k->started_ms = vgr_now_ms();
        return s[0];
    }
    close(s[0]);
fail:
    close(listener);
    unlink(addr.sun_path);
    snprintf(why, why_size, "cannot start %s: %s", k->program, strerror(err));
    return -err;
}

/* Asks the one that is there. Returns the connection; -ENOENT: there is none, or it is ending. */
static int find(const struct vgr_keep *k, struct vgr_kept *kept, char *why, size_t why_size)
{
    struct pollfd p = {.events = POLLIN};
    struct sockaddr_un addr;
    ssize_t n;
    int fd, err, flags = 0;

    err = keeper_path(k, &addr, why, why_size);
    if (err)
        return err;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        err = errno;
        snprintf(why, why_size, "%s: %s", addr.sun_path, strerror(err));
        return -err;
    }
    if (VGR_SYS_AGAIN(connect(fd, (struct sockaddr *)&addr, sizeof(addr))) < 0) {
        err = errno;
        snprintf(why, why_size, "%s: %s", addr.sun_path, strerror(err));
        close(fd);
        return err == ECONNREFUSED ? -ENOENT : -err;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    p.fd = fd;
    vgr_sys_poll(&p, 1, ANSWER_NS); /* without an answer there is nothing to receive */
    kept->n_fds = 0;
    n = vgr_fds_receive(fd, kept->bytes, sizeof(kept->bytes), kept->fds, VGR_KEEPER_MAX_FDS,
                        &kept->n_fds, &flags);
    if (n < (ssize_t)sizeof(kept->head)) {
        err = n < 0 ? (int)-n : ENOENT;
        snprintf(why, why_size, "%s: no answer: %s", addr.sun_path, strerror(err));
        close(fd);
        return -err;
    }
    kept->len = (size_t)n;
    return fd;
}

static void keeper_gone(struct vgr_watch *w, uint32_t events)
{
    struct vgr_keep *k = vgr_container_of(w, struct vgr_keep, watch);
    char why[256] = "it does not last";
    int fd = -1;

    vgr_loop_close(k->loop, w);
    if (vgr_now_ms() - k->started_ms >= LASTS_MS) {
        vgr_loop_charge(k->loop, VGR_WORK_PROCESSES, 2); /* it is nobody's child */
        fd = launch(k, why, sizeof(why));
    }
    if (fd >= 0 && vgr_loop_add(k->loop, w, fd, EPOLLIN, keeper_gone)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        vgr_warn("vgr-keeper is gone: %s; without it the VM loses its device if this process dies",
                 why);
        return;
    }
    vgr_info("vgr-keeper was gone, another one is there");
    k->renewed(k);
}

int vgr_keep_open(struct vgr_keep *k, struct vgr_loop *loop, const char *program,
                  const char *socket, void (*renewed)(struct vgr_keep *k), struct vgr_kept *kept,
                  char *why, size_t why_size)
{
    int fd, found, err;

    *k = (struct vgr_keep){
        .watch.fd = -1, .loop = loop, .program = program, .socket = socket, .renewed = renewed};
    kept->len = kept->n_fds = 0;
    fd = find(k, kept, why, why_size);
    if (fd == -ENOENT)
        fd = launch(k, why, why_size);
    if (fd < 0)
        return fd;
    found = kept->len && kept->head.n_watched;
    err = vgr_loop_add(loop, &k->watch, fd, EPOLLIN, keeper_gone);
    if (!err)
        return found;
    snprintf(why, why_size, "%s", strerror(-err));
    close(fd);
    return err;
}

void vgr_keep_store(struct vgr_keep *k, const struct vgr_kept *kept)
{
    ssize_t n;

    if (k->watch.fd < 0)
        return;
    n = vgr_fds_send(k->watch.fd, kept->bytes, kept->len, kept->fds, kept->n_fds, 0);
    if (n < 0 && n != -EPIPE && n != -ECONNRESET)
        vgr_warn("vgr-keeper does not take the VM's state: %s", strerror((int)-n));
}

void vgr_keep_close(struct vgr_keep *k)
{
    vgr_loop_close(k->loop, &k->watch);
}
