/* SPDX-License-Identifier: MIT
 *
 * sandbox_attempts.h - what test_worker_sandbox tries inside of the sandbox.
 */
#ifndef VGR_SANDBOX_ATTEMPTS_H
#define VGR_SANDBOX_ATTEMPTS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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
#include <time.h>
#include <unistd.h>

#include "worker/sandbox.h"

/* What an attempt may come to, besides an errno and 0 for success. */
#define KILLED  1000 /* by SIGSYS */
#define STOPPED 1001 /* the handler of calls that strict does not know */
#define NOT_RUN 1002

static struct {
    char folder[32], file[64], new_file[64], socket[64];
    int guest_ram;       /* a descriptor that the parent holds, as the front does */
    int tty, front;      /* a terminal, a pidfd of the front */
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

static int read_shadow(void)
{
    return try_open("/etc/shadow", O_RDONLY);
}

static int read_tmp(void)
{
    return try_open(f.file, O_RDONLY);
}

static int write_tmp(void)
{
    return try_open(f.file, O_WRONLY);
}

static int truncate_tmp(void)
{
    return to_errno(truncate(f.file, 0));
}

static int create_tmp(void)
{
    return try_open(f.new_file, O_WRONLY | O_CREAT | O_EXCL);
}

static int remove_tmp(void)
{
    return to_errno(unlink(f.new_file));
}

static int make_folder(void)
{
    return to_errno(mkdir(f.new_file, 0700));
}

static int list_root(void)
{
    return try_open("/", O_RDONLY | O_DIRECTORY);
}

static int read_checkout(void)
{
    return try_open(VGR_SOURCE_FILE, O_RDONLY);
}

static int write_checkout(void)
{
    return try_open(VGR_SOURCE_FILE, O_WRONLY);
}

static int other_process(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)f.parent, name);
    return try_open(path, O_RDONLY);
}

static int read_front_memory(void)
{
    return other_process("mem");
}

static int read_front_environment(void)
{
    return other_process("environ");
}

static int read_init_memory(void)
{
    return try_open("/proc/1/mem", O_RDONLY);
}

static int map_guest_ram(void)
{
    char name[32];

    close(f.guest_ram); /* as the worker did */
    snprintf(name, sizeof(name), "fd/%d", f.guest_ram);
    return other_process(name);
}

static int fetch_guest_ram(void)
{
    return to_errno(syscall(SYS_pidfd_getfd, f.front, f.guest_ram, 0));
}

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

static int run_program(void)
{
    return to_errno(execl("/bin/true", "true", (char *)NULL));
}

static int run_program_at(void)
{
    int fd = open("/usr/bin/true", O_PATH);

    return fd < 0 ? errno : to_errno(fexecve(fd, (char *[]){NULL}, (char *[]){NULL}));
}

static int new_process(void)
{
    pid_t pid = fork();

    if (!pid)
        _exit(0);
    return to_errno(pid);
}

static int trace(void)
{
    return to_errno(ptrace(PTRACE_SEIZE, f.other, NULL, NULL));
}

static int read_memory(void)
{
    char byte;
    struct iovec mine = {&byte, 1}, theirs = {&f, 1};

    return to_errno(process_vm_readv(f.parent, &mine, 1, &theirs, 1, 0));
}

static int signal_front(void)
{
    return to_errno(kill(f.parent, 0));
}

static int signal_worker(void)
{
    return to_errno(kill(f.other, SIGCONT));
}

static int signal_everybody(void)
{
    return to_errno(kill(-1, 0));
}

static int signal_thread(void)
{
    return to_errno(syscall(SYS_tgkill, f.other, f.other, 0));
}

static int signal_by_tkill(void)
{
    return to_errno(syscall(SYS_tkill, f.other, 0));
}

static int limit_front(void)
{
    return to_errno(prlimit(f.parent, RLIMIT_CORE, NULL, &(struct rlimit){0}));
}

static int outlive_front(void)
{
    return to_errno(prctl(PR_SET_PDEATHSIG, 0));
}

static int outlive_front_wide(void)
{
    return to_errno(syscall(SYS_prctl, PR_SET_PDEATHSIG | 1ul << 32, 0));
}

static int make_dumpable(void)
{
    return to_errno(prctl(PR_SET_DUMPABLE, 1));
}

static int type_on_terminal(void)
{
    return to_errno(ioctl(f.tty, TIOCSTI, "x"));
}

static int type_on_terminal_wide(void)
{
    return to_errno(syscall(SYS_ioctl, f.tty, TIOCSTI | 1ul << 32, "x"));
}

static int mount_something(void)
{
    return to_errno(mount("none", f.folder, "tmpfs", 0, NULL));
}

static int new_namespace(void)
{
    return to_errno(unshare(CLONE_NEWUTS));
}

static int new_user_namespace(void)
{
    return to_errno(unshare(CLONE_NEWUSER));
}

static int shared_memory(void)
{
    return to_errno(shmget(IPC_PRIVATE, 4096, 0600));
}

static int use_bpf(void)
{
    return to_errno(syscall(SYS_bpf, 0, NULL, 0)) == EPERM ? EPERM : 0;
}

static int use_io_uring(void)
{
    return to_errno(syscall(SYS_io_uring_setup, 1, NULL)) == EFAULT ? 0 : errno;
}

static int use_userfaultfd(void)
{
    return to_errno(syscall(SYS_userfaultfd, O_CLOEXEC));
}

static int use_keys(void)
{
    return to_errno(syscall(SYS_keyctl, 0, -3, 0));
}

static int use_perf(void)
{
    return to_errno(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)) == EFAULT ? 0 : errno;
}

static int use_handle(void)
{
    return to_errno(syscall(SYS_open_by_handle_at, -1, NULL, 0)) == EFAULT ? 0 : errno;
}

static int load_module(void)
{
    return to_errno(syscall(SYS_finit_module, -1, "", 0)) == EBADF ? 0 : errno;
}

static int reboot_host(void)
{
    return to_errno(syscall(SYS_reboot, 0, 0, 0, NULL)) == EINVAL ? 0 : errno;
}

static int set_clock(void)
{
    return to_errno(syscall(SYS_clock_settime, CLOCK_REALTIME, NULL)) == EFAULT ? 0 : errno;
}

static int change_owner(void)
{
    return to_errno(chmod(f.file, 0644));
}

static int become_another(void)
{
    return to_errno(setuid(1));
}

static int unknown_call(void)
{
    return to_errno(syscall(SYS_inotify_init1, 0));
}

static const struct {
    const char *name;
    int (*run)(void);
    int off, relaxed, strict;
} attempts[] = {
    {"read /etc/shadow", read_shadow, 0, EACCES, EACCES},
    {"read a file in /tmp", read_tmp, 0, EACCES, EACCES},
    {"write a file in /tmp", write_tmp, 0, EACCES, EACCES},
    {"truncate a file in /tmp", truncate_tmp, 0, EACCES, STOPPED},
    {"create a file in /tmp", create_tmp, 0, EACCES, EACCES},
    {"remove a file in /tmp", remove_tmp, 0, EACCES, EACCES},
    {"make a folder in /tmp", make_folder, 0, EACCES, EACCES},
    {"list /", list_root, 0, EACCES, EACCES},
    {"read the checkout", read_checkout, 0, EACCES, EACCES},
    {"write to the checkout", write_checkout, 0, EACCES, EACCES},
    {"read the front's memory by /proc", read_front_memory, 0, EACCES, EACCES},
    {"read the front's environment", read_front_environment, 0, EACCES, EACCES},
    {"open /proc/1/mem", read_init_memory, NOT_RUN, EACCES, EACCES},
    {"map guest memory", map_guest_ram, 0, EACCES, EACCES},
    {"fetch the descriptor of guest memory", fetch_guest_ram, 0, EPERM, KILLED},
    {"connect by TCP", tcp_connect, 0, EPERM, EPERM},
    {"connect to a unix socket", unix_connect, 0, EPERM, EPERM},
    {"run /bin/true", run_program, 0, EPERM, EPERM},
    {"run it by descriptor", run_program_at, 0, EPERM, EPERM},
    {"start a process", new_process, 0, EPERM, EPERM},
    {"trace another worker", trace, 0, EPERM, KILLED},
    {"read the front's memory", read_memory, 0, EPERM, KILLED},
    {"signal the front", signal_front, 0, EPERM, EPERM},
    {"signal another worker", signal_worker, 0, EPERM, EPERM},
    {"signal everybody", signal_everybody, 0, EPERM, EPERM},
    {"signal another worker's thread", signal_thread, 0, EPERM, EPERM},
    {"signal it by tkill", signal_by_tkill, 0, EPERM, EPERM},
    {"limit the front", limit_front, 0, EPERM, EPERM},
    {"outlive the front", outlive_front, 0, EPERM, STOPPED},
    {"outlive the front, by a wide number", outlive_front_wide, 0, EPERM, STOPPED},
    {"become dumpable", make_dumpable, 0, EPERM, STOPPED},
    {"type on the terminal", type_on_terminal, NOT_RUN, EPERM, EPERM},
    {"type on the terminal, by a wide number", type_on_terminal_wide, NOT_RUN, EPERM, EPERM},
    {"mount", mount_something, NOT_RUN, EPERM, KILLED},
    {"enter a namespace", new_namespace, 0, EPERM, KILLED},
    {"enter a user namespace", new_user_namespace, NOT_RUN, EPERM, KILLED},
    {"shared memory", shared_memory, NOT_RUN, EPERM, EPERM},
    {"bpf", use_bpf, 0, EPERM, KILLED},
    {"io_uring", use_io_uring, NOT_RUN, EPERM, KILLED},
    {"userfaultfd", use_userfaultfd, NOT_RUN, EPERM, KILLED},
    {"keys", use_keys, NOT_RUN, EPERM, KILLED},
    {"performance counters", use_perf, NOT_RUN, EPERM, EPERM},
    {"open by handle", use_handle, NOT_RUN, EPERM, KILLED},
    {"load a module", load_module, NOT_RUN, EPERM, KILLED},
    {"reboot", reboot_host, 0, EPERM, KILLED},
    {"set the clock", set_clock, 0, EPERM, KILLED},
    {"change a file's mode", change_owner, 0, EPERM, EPERM},
    {"become another user", become_another, 0, EPERM, EPERM},
    {"a call that strict does not know", unknown_call, 0, 0, STOPPED},
};

#endif
