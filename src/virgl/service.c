/* SPDX-License-Identifier: MIT */
#include "virgl/service.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/log.h"
#include "protocol/sys.h"
#include "virgl/bridge.h"
#include "virgl/fences.h"
#include "virgl/link.h"

#define ASK_MS     1000
#define BUSY_TRIES 50
#define BUSY_MS    2

static struct vgr_loop loop;
static struct vgr_watch kicked = {.fd = -1};
static struct vgr_timer held; /* fences */
static bool running;          /* with the lock */

/* ---- The broker ---- */

static int broker_address(struct sockaddr_un *addr)
{
    const char *path = getenv("VGR_BROKER");

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!path || !*path)
        return -ENOENT;
    if (strlen(path) >= sizeof(addr->sun_path))
        return -ENAMETOOLONG;
    memcpy(addr->sun_path, path, strlen(path));
    return 0;
}

static int connect_once(void)
{
    struct sockaddr_un addr;
    int fd, err = broker_address(&addr);

    if (err)
        return err;
    fd = vgr_sys_high(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0)
        return -errno;
    if (!VGR_SYS_AGAIN(connect(fd, (struct sockaddr *)&addr, sizeof(addr))))
        return fd;
    err = -errno;
    close(fd);
    return err;
}

int vgr_service_connect(void)
{
    int conn = -EAGAIN;

    for (int i = 0; conn == -EAGAIN && i < BUSY_TRIES; i++) {
        if (i)
            vgr_sys_nap(BUSY_MS * INT64_C(1000000));
        conn = connect_once();
    }
    return conn;
}

int vgr_service_ask(struct vgr_capset *capset)
{
    struct vgr_broker_hello hello = {0};
    const char *path = getenv("VGR_BROKER");
    struct pollfd p = {.events = POLLIN};
    ssize_t n = -1;

    if (!path || !*path) {
        vgr_info("VGR_BROKER names no broker's socket: no tensor devices for this machine");
        return -ENOENT;
    }
    p.fd = vgr_service_connect();
    if (p.fd < 0) {
        vgr_warn("no broker at %s (%s): no tensor devices for this machine", path, strerror(-p.fd));
        return p.fd;
    }
    if (vgr_sys_poll(&p, 1, ASK_MS * INT64_C(1000000)) == 1)
        n = VGR_SYS_AGAIN(recv(p.fd, &hello, sizeof(hello), MSG_DONTWAIT));
    close(p.fd);
    if (n != sizeof(hello) || hello.magic != VGR_BROKER_MAGIC ||
        hello.version != VGR_BROKER_VERSION) {
        vgr_warn("%s is not the socket of a broker of this version: no tensor devices for this "
                 "machine",
                 path);
        return -EPROTO;
    }
    *capset = hello.capset;
    vgr_info("tensor devices by the broker at %s", path);
    return 0;
}

/* ---- The thread ---- */

static void look_at_held(struct vgr_timer *t)
{
    uint32_t next;

    pthread_mutex_lock(&vgr_bridge_lock);
    next = vgr_links_expire();
    pthread_mutex_unlock(&vgr_bridge_lock);
    if (next)
        vgr_timer_set(&loop, t, next, look_at_held);
    else
        vgr_timer_stop(t);
    vgr_fences_deliver();
}

static void kick_ready(struct vgr_watch *w, uint32_t events)
{
    vgr_event_read(w->fd);
    vgr_links_serve(&loop);
    look_at_held(&held); /* there may be one more */
}

static void *run(void *unused)
{
    int err = vgr_loop_run(&loop);

    vgr_error("the bridge's event loop ended: %s", strerror(-err));
    return NULL;
}

static int make_loop(void)
{
    int fd, err = vgr_loop_init(&loop);

    if (err)
        return err;
    fd = vgr_sys_high(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    err = fd < 0 ? -errno : vgr_loop_add(&loop, &kicked, fd, EPOLLIN, kick_ready);
    if (!err)
        return 0;
    if (fd >= 0)
        close(fd);
    vgr_loop_finish(&loop);
    return err;
}

int vgr_service_start(void)
{
    sigset_t all, before;
    pthread_t thread;
    int err = 0;

    pthread_mutex_lock(&vgr_bridge_lock);
    if (!running) {
        err = make_loop();
        if (!err) {
            /* Signals are the monitor's. */
            sigfillset(&all);
            pthread_sigmask(SIG_SETMASK, &all, &before);
            err = -pthread_create(&thread, NULL, run, NULL);
            pthread_sigmask(SIG_SETMASK, &before, NULL);
            if (!err) {
                pthread_setname_np(thread, "vgr-virgl");
                pthread_detach(thread);
                running = true;
            } else {
                vgr_loop_close(&loop, &kicked);
                vgr_loop_finish(&loop);
            }
        }
    }
    pthread_mutex_unlock(&vgr_bridge_lock);
    return err;
}

bool vgr_service_runs(void)
{
    return running;
}

void vgr_service_kick(void)
{
    if (kicked.fd >= 0)
        vgr_event_signal(kicked.fd);
}
