/* SPDX-License-Identifier: MIT
 *
 * sandbox_attempts_processes.h - attempts on processes, users and the kernel. Part of sandbox_attempts.h.
 */
#ifndef VGR_SANDBOX_ATTEMPTS_PROCESSES_H
#define VGR_SANDBOX_ATTEMPTS_PROCESSES_H

#include "sandbox_attempts.h"

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

static int new_namespace(void)
{
    return to_errno(unshare(CLONE_NEWUTS));
}

static int new_user_namespace(void)
{
    return to_errno(unshare(CLONE_NEWUSER));
}

static int use_bpf(void)
{
    return to_errno(syscall(SYS_bpf, 0, NULL, 0)) == EPERM ? EPERM : 0;
}

static int use_keys(void)
{
    return to_errno(syscall(SYS_keyctl, 0, -3, 0));
}

static int use_perf(void)
{
    return to_errno(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)) == EFAULT ? 0 : errno;
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

static int become_another(void)
{
    return to_errno(setuid(1));
}

static int signal_by_pidfd(void)
{
    return to_errno(syscall(SYS_pidfd_send_signal, f.front, 0, NULL, 0));
}

static int queue_signal(void)
{
    siginfo_t info = {.si_code = SI_QUEUE};

    return to_errno(syscall(SYS_rt_sigqueueinfo, f.parent, 0, &info));
}

static int queue_own_signal(void)
{
    siginfo_t info = {.si_code = SI_QUEUE};

    return to_errno(syscall(SYS_rt_sigqueueinfo, getpid(), SIGURG, &info));
}

/* How many signals are queued for processes of this user; they have one limit for all of them. */
static long queued_signals(void)
{
    char text[4096];
    const char *at;
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    at = strstr(text, "SigQ:");
    return at ? strtol(at + 5, NULL, 10) : -1;
}

/* A process may signal itself. What it blocks waits in the queue. */
static int fill_queue(void)
{
    long before = queued_signals();
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN);
    if (before < 0 || sigprocmask(SIG_BLOCK, &blocked, NULL))
        return 97;
    for (int i = 0; i < 1000; i++) {
        if (kill(getpid(), SIGRTMIN))
            return errno;
    }
    return queued_signals() - before >= 1000 ? 0 : EAGAIN;
}

/* The sandbox says that it was done: whether it was, the front tells. */
static int move_front(void)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(f.processor, &cpus);
    return to_errno(sched_setaffinity(f.parent, sizeof(cpus), &cpus));
}

static int ask_front_processors(void)
{
    cpu_set_t cpus;

    return to_errno(sched_getaffinity(f.parent, sizeof(cpus), &cpus));
}

static int ask_front_scheduler(void)
{
    return to_errno(sched_getscheduler(f.parent));
}

static int schedule_front(void)
{
    return to_errno(sched_setscheduler(f.parent, SCHED_OTHER, &(struct sched_param){0}));
}

static int make_front_nice(void)
{
    return to_errno(setpriority(PRIO_PROCESS, (id_t)f.parent, 0));
}

static int ask_front_priority(void)
{
    errno = 0;
    getpriority(PRIO_PROCESS, (id_t)f.parent);
    return errno;
}

static int front_disk_priority(void)
{
    return to_errno(syscall(SYS_ioprio_get, 1, f.parent));
}

static int front_robust_list(void)
{
    void *list;
    size_t len;

    return to_errno(syscall(SYS_get_robust_list, f.parent, &list, &len));
}

/* A lock that the front seems to hold: whoever waits for it lends the front his priority. Waiting ends
 * by the clock; EPERM is the kernel's answer to a private lock of another process. Both are a success,
 * since the filter answers ENOSYS. */
static int lend_priority(int op)
{
    struct timespec end;
    uint32_t lock = (uint32_t)f.parent;
    int err;

    clock_gettime(CLOCK_REALTIME, &end);
    err = to_errno(syscall(SYS_futex, &lock, op, 0, &end, NULL, 0));
    return err == ETIMEDOUT || err == EPERM ? 0 : err;
}

static int lock_pi(void)
{
    return lend_priority(FUTEX_LOCK_PI);
}

static int lock_pi_private(void)
{
    return lend_priority(FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG);
}

static int lock_pi2(void)
{
    return lend_priority(13 | FUTEX_CLOCK_REALTIME);
}

/* An option that this kernel does not have is one that the filter let pass. */
static int set_option(int option, unsigned long value)
{
    int err = to_errno(prctl(option, value, 0, 0, 0));

    return err == EINVAL || err == ENODEV || err == ENXIO ? 0 : err;
}

static int invite_tracer(void)
{
    return set_option(PR_SET_PTRACER, (unsigned long)f.other);
}

static int become_reaper(void)
{
    return set_option(PR_SET_CHILD_SUBREAPER, 1);
}

static int set_slack(void)
{
    return set_option(PR_SET_TIMERSLACK, 1);
}

static int set_speculation(void)
{
    return set_option(PR_SET_SPECULATION_CTRL, 0);
}

static int move_memory_marks(void)
{
    return set_option(PR_SET_MM, 0);
}

static int share_core(void)
{
    return set_option(62 /* PR_SCHED_CORE */, 0);
}

static int unknown_option(void)
{
    return set_option(PR_GET_TIMERSLACK, 0);
}

static int raw_process(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (!pid)
        _exit(0);
    return to_errno(pid);
}

static int raw_process3(void)
{
    return to_errno(syscall(SYS_clone3, NULL, 0)) == EINVAL ? 0 : errno;
}

static int thread_in_namespace(void)
{
    return to_errno(syscall(SYS_clone,
                            CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                CLONE_SYSVSEM | CLONE_NEWNET,
                            NULL, NULL, NULL, NULL));
}

static int strange_thread(void)
{
    return to_errno(
        syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, NULL, NULL, NULL, NULL));
}

static int compare_front_files(void)
{
    return to_errno(syscall(SYS_kcmp, getpid(), f.parent, 0, 0, 0));
}

#endif
