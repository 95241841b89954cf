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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/broker.h"
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

/* A line whose two ends have no room. */
static bool full_line(int *line)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line))
        return false;
    for (int i = 0; i < 2; i++) {
        while (send(line[i], "xxxxxxxxxxxxxxxx", 16, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
        }
    }
    return true;
}

/* ---- Messages ---- */

/* Sends an OPEN with an arena of `size` bytes in `file`, its list of runs in `runs`. Returns the connection. */
static int send_open(const struct front *f, uint64_t size, int file, int runs, int line)
{
    struct vgr_submit direct = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = size};
    struct vgr_broker_open broker = {.magic = VGR_BROKER_MAGIC,
                                     .version = VGR_BROKER_VERSION,
                                     .n_runs = 1,
                                     .n_files = 1,
                                     .size = size};
    int conn = front_connect(f->path, SOCK_STREAM);
    char hello[128];
    struct pollfd p = {.fd = conn, .events = POLLIN};

    if (conn < 0 || poll(&p, 1, FRONT_PATIENCE_MS) != 1 || recv(conn, hello, sizeof(hello), 0) <= 0)
        return conn;
    if (f->kind == FRONT_BROKER)
        (void)send_fds(conn, &broker, sizeof(broker), (int[]){runs, line, file}, 3);
    else
        (void)send_fds(conn, &direct, sizeof(direct), (int[]){file, line}, 2);
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
    int device = tap(), file = arena_file(), runs = runs_file(), line[2], conn;
    bool well = device >= 0 && reading_hangs(device);

    if (f->kind == FRONT_VHOST)
        return well; /* QEMU's descriptors are QEMU's */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line))
        return false;
    for (int i = 0; i < 3; i++) {
        conn = send_open(f, ATTACK_ARENA, i == 0 ? device : file, i == 1 ? device : runs,
                         i == 2 ? device : line[1]);
        usleep(100000);
        well = front_answers(f) && well;
        close(conn);
    }
    close(device);
    close(file);
    close(runs);
    close(line[0]);
    close(line[1]);
    return well;
}

static volatile bool enough;

struct flags {
    pthread_t thread;
    int line[2];
};

static void *clear_flags(void *arg)
{
    const struct flags *f = arg;

    while (!enough) {
        for (int i = 0; i < 2; i++)
            fcntl(f->line[i], F_SETFL, O_RDWR);
    }
    return NULL;
}

static bool with_full_line(struct front *f, uint64_t size)
{
    int file = arena_file(), runs = runs_file();
    struct flags flags;
    bool well = full_line(flags.line);

    enough = false;
    if (!well || pthread_create(&flags.thread, NULL, clear_flags, &flags))
        return false;
    for (int i = 0; i < 8 && well; i++) {
        int conn = send_open(f, size, file, runs, flags.line[1]);

        usleep(20000);
        well = front_answers(f);
        close(conn);
    }
    enough = true;
    pthread_join(flags.thread, NULL);
    close(file);
    close(runs);
    close(flags.line[0]);
    close(flags.line[1]);
    return well;
}

bool client_refused(struct front *f)
{
    return f->kind == FRONT_VHOST || with_full_line(f, 4096);
}

/* The arena has no hello: the worker says so and ends. */
bool client_served(struct front *f)
{
    return f->kind == FRONT_VHOST || with_full_line(f, ATTACK_ARENA);
}
