/* SPDX-License-Identifier: MIT
 *
 * sandbox_attempts_descriptors.h - attempts by way of descriptors, sockets and pipes. Part of sandbox_attempts.h.
 */
#ifndef VGR_SANDBOX_ATTEMPTS_DESCRIPTORS_H
#define VGR_SANDBOX_ATTEMPTS_DESCRIPTORS_H

#include <time.h>

#include "sandbox_attempts.h"

static int tcp_connect(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(1)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return errno;
    return !connect(fd, (struct sockaddr *)&a, sizeof(a)) || errno == ECONNREFUSED ? 0 : errno;
}

static int unix_connect(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd < 0)
        return errno;
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f.socket);
    return to_errno(connect(fd, (struct sockaddr *)&a, sizeof(a)));
}

static int use_io_uring(void)
{
    return to_errno(syscall(SYS_io_uring_setup, 1, NULL)) == EFAULT ? 0 : errno;
}

static int shared_memory(void)
{
    return to_errno(shmget(IPC_PRIVATE, 4096, 0600));
}

static int unknown_call(void)
{
    timer_t timer;

    return to_errno((int)syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer));
}

/* ---- Signals by way of a descriptor ---- */

/* The other worker tells when it hears SIGUSR1. */
static int is_heard(void)
{
    struct pollfd p = {.fd = f.heard, .events = POLLIN};
    uint64_t n;

    return poll(&p, 1, 2000) == 1 && read(f.heard, &n, sizeof(n)) == sizeof(n);
}

static int signal_by_pipe(void)
{
    int ends[2], err;
    uint64_t before;

    while (read(f.heard, &before, sizeof(before)) > 0)
        ;
    if (pipe(ends))
        return errno;
    err = to_errno(fcntl(ends[0], F_SETOWN, f.other));
    if (!err)
        err = to_errno(fcntl(ends[0], F_SETSIG, SIGUSR1));
    if (!err)
        err = to_errno(fcntl(ends[0], F_SETFL, O_ASYNC));
    if (!err)
        err = to_errno(write(ends[1], "x", 1));
    return err ? err : is_heard() ? 0 : ETIME;
}

static int on_pipe(int command, unsigned long argument)
{
    int ends[2];

    return pipe(ends) ? errno : to_errno(syscall(SYS_fcntl, ends[0], command, argument));
}

static int own_pipe_wide(void)
{
    int ends[2];

    return pipe(ends) ? errno
                      : to_errno(syscall(SYS_fcntl, ends[0], F_SETOWN | 1ul << 32, f.other));
}

static int own_pipe_ex(void)
{
    struct f_owner_ex owner = {F_OWNER_PID, f.other};

    return on_pipe(F_SETOWN_EX, (unsigned long)&owner);
}

static int choose_signal(void)
{
    return on_pipe(F_SETSIG, SIGKILL);
}

static int ask_for_signals(void)
{
    return on_pipe(F_SETFL, O_ASYNC | O_NONBLOCK);
}

static int resize_pipe(void)
{
    return on_pipe(F_SETPIPE_SZ, 4096);
}

static int unknown_command(void)
{
    return on_pipe(F_GETPIPE_SZ, 0);
}

static int watch_folder(void)
{
    return to_errno(fcntl(f.folder_fd, F_NOTIFY, DN_CREATE));
}

static int lease_file(void)
{
    return to_errno(fcntl(f.file_fd, F_SETLEASE, F_RDLCK));
}

static int hint_file(void)
{
    uint64_t hint = RWH_WRITE_LIFE_SHORT;

    return to_errno(fcntl(f.file_fd, F_SET_RW_HINT, &hint));
}

/* ---- Device calls ---- */

/* ENOTTY: it reached a file that has no such call. */
static int device_call(int fd, unsigned long command, void *argument)
{
    int err = to_errno(syscall(SYS_ioctl, fd, command, argument));

    return err == ENOTTY || err == EOPNOTSUPP ? 0 : err;
}

static int async_by_ioctl(void)
{
    int on = 1;

    return device_call(f.pipe, FIOASYNC, &on);
}

static int async_by_ioctl_wide(void)
{
    int on = 1;

    return device_call(f.pipe, FIOASYNC | 1ul << 32, &on);
}

static int own_by_ioctl(void)
{
    pid_t pid = f.other;

    return device_call(f.stream, FIOSETOWN, &pid);
}

static int own_by_group_ioctl(void)
{
    pid_t pid = f.other;

    return device_call(f.stream, SIOCSPGRP, &pid);
}

static int flag_by_ioctl(void)
{
    int off = 0;

    return device_call(f.pipe, FIONBIO, &off);
}

static int ask_network(void)
{
    struct ifconf list = {0};

    return device_call(f.stream, SIOCGIFCONF, &list);
}

static int file_flags(void)
{
    int flags;

    return device_call(f.file_fd, FS_IOC_GETFLAGS, &flags);
}

static int clone_file(void)
{
    int err = device_call(f.file_fd, FICLONE, (void *)(long)f.file_fd);

    return err == EINVAL || err == EBADF ? 0 : err;
}

static int map_blocks(void)
{
    int block = 0;
    int err = device_call(f.file_fd, FIBMAP, &block);

    return err == EINVAL ? 0 : err;
}

static int make_tap(void)
{
    return device_call(f.file_fd, TUNSETIFF, NULL);
}

static int use_kvm(void)
{
    return device_call(f.file_fd, 0xae00 /* KVM_GET_API_VERSION */, NULL);
}

static int set_console(void)
{
    return device_call(f.tty, 0x4b3a /* KDSETMODE */, NULL);
}

static int set_terminal(void)
{
    struct termios t;

    if (tcgetattr(f.tty, &t))
        return errno;
    return device_call(f.tty, TCSETS, &t);
}

static int unknown_device_call(void)
{
    return device_call(f.pipe, _IO('z', 1), NULL);
}

/* ---- Sockets and pipes ---- */

static int pair_of_sockets(void)
{
    int ends[2];

    return to_errno(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

/* A descriptor on its way, on a socket that was open before. */
static int send_descriptor(void)
{
    char byte = 'x';
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &f.pipe, sizeof(int));
    return to_errno(sendmsg(f.stream, &m, 0));
}

static int send_messages(void)
{
    struct mmsghdr m = {{0}, 0};

    return to_errno(sendmmsg(f.stream, &m, 1, 0));
}

static int send_plain(void)
{
    return to_errno(send(f.stream, "x", 1, 0));
}

static int receive_descriptor(void)
{
    struct msghdr m = {0};
    int err = to_errno(recvmsg(f.stream, &m, MSG_DONTWAIT));

    return err == EAGAIN ? 0 : err;
}

static int splice_file(void)
{
    int ends[2];
    loff_t at = 0;

    return pipe(ends) ? errno : to_errno(splice(f.file_fd, &at, ends[1], NULL, 1, 0));
}

static int splice_memory(void)
{
    static char page[4096];
    struct iovec iov = {page, sizeof(page)};
    int ends[2];

    return pipe(ends) ? errno : to_errno(vmsplice(ends[1], &iov, 1, 0));
}

static int asynchronous_io(void)
{
    unsigned long context = 0;

    return to_errno(syscall(SYS_io_setup, 1, &context));
}

static int flush_disks(void)
{
    return to_errno(syscall(SYS_syncfs, f.file_fd));
}

static int message_queue(void)
{
    return to_errno(syscall(SYS_mq_open, "vgr-test", O_RDWR, 0, NULL)) == ENOENT ? 0 : errno;
}

#endif
