/* SPDX-License-Identifier: MIT
 *
 * sandbox_calls.c - which system calls a worker may make: seccomp.
 *
 * Three kinds of calls that a worker does not need:
 *
 *   never   no library of ours has an honest use for them. Relaxed: EPERM. Strict: the kernel kills.
 *   refuse  libraries try them and can do without: EPERM.
 *   others  relaxed allows what is on no list. Strict stops it with SIGSYS, which tells the guest and
 *           the log the number of the call and ends the context: a driver that needs more than the
 *           list has fails loudly, not strangely. (Code that took over the worker can catch the
 *           signal; it gains nothing by it, the call is not made.)
 *
 * New processes count as refused: they would outlive the worker. clone3() hides its flags from a
 * filter, so it "does not exist", and the C library goes on with clone().
 *
 * Strict is two filters, the relaxed one and a list of what is allowed on top of it.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "worker/sandbox.h"

static const char *const never[] = {
    /* other processes' memory and descriptors */
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "process_madvise",
    "move_pages", "migrate_pages",
    /* the file tree, namespaces */
    "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick",
    "move_mount", "open_tree", "mount_setattr", "unshare", "setns", "open_by_handle_at",
    "name_to_handle_at", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "mknod", "mknodat",
    "fanotify_init", "fanotify_mark",
    /* the kernel */
    "bpf", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
    "reboot", "iopl", "ioperm", "modify_ldt", "syslog", "vhangup", "sethostname", "setdomainname",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "keyctl", "add_key",
    "request_key", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "lookup_dcookie", "uselib"};

static const char *const refuse[] = {"execve",      "execveat",        "fork",
                                     "vfork",       "socket",          "connect",
                                     "bind",        "listen",          "accept",
                                     "accept4",     "perf_event_open", "shmget",
                                     "shmat",       "shmctl",          "msgget",
                                     "msgsnd",      "msgrcv",          "msgctl",
                                     "semget",      "semop",           "semtimedop",
                                     "semctl",      "mq_open",         "mq_unlink",
                                     "tkill",       "pidfd_open",      "pidfd_send_signal",
                                     "personality", "setpgid",         "setsid",
                                     "ioprio_set",  "chmod",           "fchmod",
                                     "fchmodat",    "fchmodat2",       "chown",
                                     "fchown",      "lchown",          "fchownat",
                                     "setxattr",    "lsetxattr",       "fsetxattr",
                                     "setuid",      "setgid",          "setreuid",
                                     "setregid",    "setresuid",       "setresgid",
                                     "setgroups",   "setfsuid",        "setfsgid",
                                     "capset",      "setrlimit"};

/* Strict mode's list: what the CPU backend, Vulkan's loader, Mesa and LLVM use after their start, and
 * what the C library needs for memory, threads, clocks, log lines and an end. */
static const char *const allowed[] = {
    /* memory */
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "mlock", "mlock2",
    "munlock", "msync", "memfd_create", "membarrier", "get_mempolicy", "mbind", "set_mempolicy",
    "pkey_alloc", "pkey_free", "pkey_mprotect",
    /* descriptors: landlock decides about files */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "open",
    "openat", "close", "close_range", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs",
    "fstatfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents",
    "getdents64", "getcwd", "lseek", "fcntl", "flock", "fsync", "fdatasync", "ftruncate",
    "fallocate", "fadvise64", "dup", "dup2", "dup3", "pipe", "pipe2", "mkdir", "mkdirat", "rename",
    "renameat", "renameat2", "unlink", "unlinkat", "utimensat",
    /* waiting */
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait",
    "epoll_pwait", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    /* clocks */
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    /* threads and the end */
    "futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address",
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getpriority", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "restart_syscall", "exit",
    "exit_group", "arch_prctl",
    /* questions */
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups",
    "getrlimit", "getrusage", "sysinfo", "uname", "times", "getrandom"};

/* Of the scheduler. It takes numbers of threads, hence also of other processes of the same user. Drivers
 * want it in part; strict mode refuses it. */
static const char *const scheduling[] = {"setpriority", "sched_setscheduler", "sched_setparam",
                                         "sched_setattr"};

/* Which would undo the first stage. */
static const int prctl_refused[] = {PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER,
                                    PR_SET_CHILD_SUBREAPER};
static const int prctl_allowed[] = {PR_SET_NAME,     PR_GET_NAME,         PR_SET_VMA,
                                    PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ};

static void (*on_refused)(int nr);

static void stopped(int sig, siginfo_t *info, void *context)
{
    on_refused(info->si_syscall);
    _exit(1);
}

/* A name that this libseccomp or this processor does not have needs no rule. */
static int add_all(scmp_filter_ctx f, uint32_t action, const char *const *names, size_t n)
{
    int err = 0;

    for (size_t i = 0; i < n && !err; i++) {
        int nr = seccomp_syscall_resolve_name(names[i]);

        if (nr != __NR_SCMP_ERROR)
            err = seccomp_rule_add(f, action, nr, 0);
    }
    return err;
}

#define ADD_ALL(f, action, names) add_all(f, action, names, sizeof(names) / sizeof(names[0]))

/* Where an argument decides. What the kernel takes as 32 bits is compared as 32 bits if a match refuses:
 * else a bit above them would get by. */
static int add_by_argument(scmp_filter_ctx f)
{
    static const int signals[] = {SCMP_SYS(kill), SCMP_SYS(tgkill), SCMP_SYS(rt_sigqueueinfo),
                                  SCMP_SYS(rt_tgsigqueueinfo)};
    static const unsigned terminal[] = {TIOCSTI, TIOCLINUX};
    const uint32_t refused = SCMP_ACT_ERRNO(EPERM);
    int err = 0;

    /* Signals for this process only, limits too. */
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]) && !err; i++)
        err = seccomp_rule_add(f, refused, signals[i], 1,
                               SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid(), 0));
    if (!err)
        err = seccomp_rule_add(f, refused, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_NE, 0, 0));
    /* Input for the terminal that the log may go to. */
    for (size_t i = 0; i < sizeof(terminal) / sizeof(terminal[0]) && !err; i++)
        err = seccomp_rule_add(f, refused, SCMP_SYS(ioctl), 1,
                               SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, terminal[i]));
    for (size_t i = 0; i < sizeof(prctl_refused) / sizeof(prctl_refused[0]) && !err; i++)
        err = seccomp_rule_add(
            f, refused, SCMP_SYS(prctl), 1,
            SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)prctl_refused[i]));
    /* Threads, but no processes. */
    if (!err)
        err = seccomp_rule_add(f, refused, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (!err)
        err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return err;
}

/* Puts the filter on all threads, those included that the libraries have started. */
static int load(scmp_filter_ctx f, int err)
{
    if (!err)
        err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!err)
        err = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!err)
        err = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (!err)
        err = seccomp_load(f);
    seccomp_release(f);
    return err;
}

static int deny_list(bool strict)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    int err;

    if (!f)
        return -ENOMEM;
    err = ADD_ALL(f, strict ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM), never);
    if (!err)
        err = ADD_ALL(f, SCMP_ACT_ERRNO(EPERM), refuse);
    if (!err && strict)
        err = ADD_ALL(f, SCMP_ACT_ERRNO(EPERM), scheduling);
    if (!err)
        err = add_by_argument(f);
    return load(f, err);
}

/* On top of the deny list. The kernel takes the harder of two answers, so that what is refused there
 * with EPERM has to be allowed here. */
static int allow_list(void)
{
    static const char *const decided[] = {
        "kill",      "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
        "prlimit64", "ioctl",  "clone",           "clone3"};
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_TRAP);
    int err;

    if (!f)
        return -ENOMEM;
    err = ADD_ALL(f, SCMP_ACT_ALLOW, allowed);
    if (!err)
        err = ADD_ALL(f, SCMP_ACT_ALLOW, refuse);
    if (!err)
        err = ADD_ALL(f, SCMP_ACT_ALLOW, scheduling);
    if (!err)
        err = ADD_ALL(f, SCMP_ACT_ALLOW, decided);
    for (size_t i = 0; i < sizeof(prctl_allowed) / sizeof(prctl_allowed[0]) && !err; i++)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)prctl_allowed[i], 0));
    /* Mesa asks whether two of its descriptors are the same file. */
    if (!err)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(kcmp), 2,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0),
                               SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    return load(f, err);
}

int vgr_sandbox_finish(struct vgr_sandbox *sb, void (*refused)(int nr))
{
    bool strict = sb->config->mode == VGR_SANDBOX_STRICT;
    struct sigaction action = {.sa_sigaction = stopped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int err;

    if (sb->config->mode == VGR_SANDBOX_OFF)
        return 0;
    on_refused = refused;
    err = strict && sigaction(SIGSYS, &action, NULL) ? -errno : deny_list(strict);
    if (!err && strict)
        err = allow_list();
    if (err && strict) {
        vgr_error("sandbox: strict needs seccomp, which this kernel refuses: %s", strerror(-err));
        return err;
    }
    if (err)
        vgr_sandbox_note(sb, VGR_LOG_WARN, "workers may make any system call: no seccomp here: %s",
                         strerror(-err));
    else
        vgr_sandbox_note(sb, VGR_LOG_DEBUG, "system calls by seccomp, %s",
                         strict ? "strict" : "relaxed");
    return 0;
}
