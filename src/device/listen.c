/* SPDX-License-Identifier: MIT */
#include "device/listen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "device/discard.h"
#include "protocol/sys.h"

/* System calls for a new connection, what its owner does at once included. */
#define ACCEPT_CALLS 4u

/* Makes room at `path`: 0 if there is nothing or a dead socket was removed, else -errno. Whether a
 * socket is served can only be learnt by asking. EPROTOTYPE: served, by a socket of another type. */
static int clear_path(const struct sockaddr_un *addr, int type, char *why, size_t why_size)
{
    struct stat st;
    int fd, err;

    if (lstat(addr->sun_path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        err = errno;
        snprintf(why, why_size, "%s: %s", addr->sun_path, strerror(err));
        return -err;
    }
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, why_size, "%s exists and is not a socket", addr->sun_path);
        return -EEXIST;
    }
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        err = errno;
        snprintf(why, why_size, "%s exists, and whether it is served cannot be asked: %s",
                 addr->sun_path, strerror(err));
        return -err;
    }
    err = VGR_SYS_AGAIN(connect(fd, (const struct sockaddr *)addr, sizeof(*addr))) < 0 ? errno : 0;
    close(fd);
    if (err == EACCES || err == ENOMEM || err == ENOBUFS) {
        snprintf(why, why_size, "%s exists: %s", addr->sun_path, strerror(err));
        return err == EACCES ? -EADDRINUSE : -err;
    }
    if (err != ECONNREFUSED) {
        snprintf(why, why_size, "%s is in use by another process", addr->sun_path);
        return -EADDRINUSE;
    }
    if (unlink(addr->sun_path) < 0) {
        err = errno;
        snprintf(why, why_size, "cannot remove the stale socket %s: %s", addr->sun_path,
                 strerror(err));
        return -err;
    }
    return 0;
}

int vgr_listen(const char *path, int type, mode_t mode, char *why, size_t why_size)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd, err;

    if (!path[0] || strlen(path) >= sizeof(addr.sun_path)) {
        snprintf(why, why_size, "socket path '%s' must have 1 to %zu bytes", path,
                 sizeof(addr.sun_path) - 1);
        return -ENAMETOOLONG;
    }
    memcpy(addr.sun_path, path, strlen(path));
    err = clear_path(&addr, type, why, why_size);
    if (err)
        return err;

    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Linux makes the file with the permissions of the socket: there is no moment of others. */
    if (fd >= 0 && !fchmod(fd, mode) && !bind(fd, (struct sockaddr *)&addr, sizeof(addr)) &&
        !listen(fd, 16))
        return fd;
    err = errno;
    snprintf(why, why_size, "cannot listen on %s: %s", path, strerror(err));
    if (fd >= 0)
        close(fd);
    return -err;
}

static void serve(struct vgr_listener *l)
{
    vgr_again_stop(&l->again);
    l->accepted = 0;
    l->ready(l);
}

static void listener_ready(struct vgr_watch *w, uint32_t events)
{
    serve(vgr_container_of(w, struct vgr_listener, watch));
}

static void listener_retry(struct vgr_timer *t)
{
    serve(vgr_container_of(t, struct vgr_listener, retry));
}

static void listener_again(struct vgr_again *a)
{
    serve(vgr_container_of(a, struct vgr_listener, again));
}

static void remove_file(const struct vgr_listener *l)
{
    struct stat st;

    if (!lstat(l->path, &st) && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
}

int vgr_listener_add(struct vgr_listener *l, struct vgr_loop *loop, int fd, const char *path,
                     void (*ready)(struct vgr_listener *l))
{
    struct stat st = {0};
    int err;

    *l = (struct vgr_listener){.watch.fd = -1, .loop = loop, .path = path, .ready = ready};
    if (!lstat(path, &st)) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    err = vgr_loop_add(loop, &l->watch, fd, EPOLLIN | EPOLLET, listener_ready);
    if (err) {
        close(fd);
        remove_file(l);
    }
    return err;
}

int vgr_listener_next(struct vgr_listener *l)
{
    int fd = -1;

    if (l->watch.fd < 0)
        return -1;
    if (l->accepted == VGR_LISTENER_TURN || (l->accepted && vgr_loop_spent(l->loop))) {
        vgr_loop_again(l->loop, &l->again, listener_again);
        return -1;
    }
    vgr_loop_charge(l->loop, VGR_WORK_CALLS, ACCEPT_CALLS);
    do {
        fd = accept4(l->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd >= 0) {
        l->failed = false;
        l->accepted++;
        return fd;
    }
    if (errno == EAGAIN)
        return -1;
    if (!l->failed)
        vgr_log_often(&l->log, VGR_LOG_ERROR, "%s: cannot accept: %s", l->path, strerror(errno));
    l->failed = true;
    vgr_listener_again(l, VGR_LISTENER_RETRY_MS);
    return -1;
}

void vgr_listener_again(struct vgr_listener *l, uint32_t ms)
{
    if (l->watch.fd >= 0)
        vgr_timer_set(l->loop, &l->retry, ms, listener_retry);
}

void vgr_listener_close(struct vgr_listener *l)
{
    int fd = l->watch.fd;

    if (fd < 0)
        return;
    vgr_loop_del(l->loop, &l->watch);
    /* Connections that nobody accepted go with it, and what their clients have sent. Where that fails, it all
     * goes with this process. */
    vgr_discard_last(fd);
    vgr_timer_stop(&l->retry);
    vgr_again_stop(&l->again);
    remove_file(l);
}
