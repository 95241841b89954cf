/* SPDX-License-Identifier: MIT */
#include "hostile/worker_clients.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/broker.h"
#include "unit/send_fds.h"
#include "worker/boot.h"

/* ---- Descriptors ---- */

static int tap(void)
{
    static const char path[] = "/dev/vgr-tun"; /* the driver's own /dev */
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd;

    if (mknod(path, S_IFCHR | 0600, makedev(10, 200)) && errno != EEXIST)
        return -1;
    fd = open(path, O_RDWR | O_CLOEXEC);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "vgr%d", (int)getpid());
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &r)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Somebody who reads it is still there a moment later. */
static bool reading_hangs(int fd)
{
    pid_t pid = fork();
    char byte;
    bool hangs;

    if (!pid) {
        (void)!pread(fd, &byte, 1, 0);
        _exit(0);
    }
    usleep(100000);
    hangs = waitpid(pid, NULL, WNOHANG) == 0;
    kill(pid, SIGKILL);
    if (hangs)
        waitpid(pid, NULL, 0);
    return hangs;
}

static int full_event(void)
{
    uint64_t most = UINT64_MAX - 1;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)!write(fd, &most, sizeof(most));
    return fd;
}

/* ---- Messages ---- */

/* Sends an OPEN with an arena of `size` bytes in `files[0]`, its list of runs in `files[1]`. Returns the
 * connection. */
static int send_open(const struct front *f, uint64_t size, const int *files, const int *events)
{
    struct vgr_submit direct = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = size};
    struct vgr_broker_open broker = {.magic = VGR_BROKER_MAGIC,
                                     .version = VGR_BROKER_VERSION,
                                     .n_runs = 1,
                                     .n_files = 1,
                                     .size = size};
    bool is_broker = f->kind == FRONT_BROKER;
    int conn = front_connect(f->path, is_broker ? SOCK_STREAM : SOCK_SEQPACKET);
    int fds[4] = {is_broker ? files[1] : files[0], events[0], events[1], files[0]};
    char hello[128];
    struct pollfd p = {.fd = conn, .events = POLLIN};

    if (conn < 0 || poll(&p, 1, FRONT_PATIENCE_MS) != 1 || recv(conn, hello, sizeof(hello), 0) <= 0)
        return conn;
    if (is_broker)
        (void)send_fds(conn, &broker, sizeof(broker), fds, 4);
    else
        (void)send_fds(conn, &direct, sizeof(direct), fds, 3);
    return conn;
}

static int arena_file(void)
{
    int fd = memfd_create("arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, ATTACK_ARENA) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)))
        return -1;
    return fd;
}

static int runs_file(void)
{
    struct vgr_boot_run run = {.length = ATTACK_ARENA};
    int fd = memfd_create("runs", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || write(fd, &run, sizeof(run)) != sizeof(run))
        return -1;
    return fd;
}

bool client_with_tap(struct front *f)
{
    int files[2] = {tap(), -1}, events[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    bool well = files[0] >= 0 && reading_hangs(files[0]);
    int conn;

    if (f->kind == FRONT_VHOST)
        return well; /* QEMU's descriptors are QEMU's */
    files[1] = files[0];
    if (f->kind == FRONT_BROKER)
        files[0] = arena_file();
    conn = send_open(f, ATTACK_ARENA, files, events);
    usleep(100000);
    well = front_answers(f) && well;
    close(conn);
    close(files[0]);
    if (files[1] != files[0])
        close(files[1]);
    close(events[0]);
    close(events[1]);
    return well;
}

static volatile bool enough;

struct flags {
    pthread_t thread;
    int events[2];
};

static void *clear_flags(void *arg)
{
    const struct flags *f = arg;

    while (!enough) {
        for (int i = 0; i < 2; i++)
            fcntl(f->events[i], F_SETFL, O_RDWR);
    }
    return NULL;
}

static bool with_full_events(struct front *f, uint64_t size)
{
    struct flags flags = {.events = {full_event(), full_event()}};
    int files[2] = {arena_file(), runs_file()};
    bool well = true;

    enough = false;
    if (pthread_create(&flags.thread, NULL, clear_flags, &flags))
        return false;
    for (int i = 0; i < 8 && well; i++) {
        int conn = send_open(f, size, files, flags.events);

        usleep(20000);
        well = front_answers(f);
        close(conn);
    }
    enough = true;
    pthread_join(flags.thread, NULL);
    for (int i = 0; i < 2; i++) {
        close(files[i]);
        close(flags.events[i]);
    }
    return well;
}

bool client_refused(struct front *f)
{
    return f->kind == FRONT_VHOST || with_full_events(f, 4096);
}

/* The arena has no hello: the worker says so and ends. */
bool client_served(struct front *f)
{
    return f->kind == FRONT_VHOST || with_full_events(f, ATTACK_ARENA);
}
