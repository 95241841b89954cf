/* SPDX-License-Identifier: MIT
 *
 * sandbox_table.c - the system calls of a worker (sandbox_table.h).
 *
 * "Seen" means that strace saw a worker make the call after its second stage, with glibc 2.43, GGML 0.27's
 * CPU backend and Mesa 26.1's lavapipe. NVIDIA's drivers were not traced; the rows for them come from
 * public traces, and from trying its Vulkan and CUDA.
 *
 * An argument that names another process, thread or user is refused. So is every resource that the kernel
 * limits for a user or for the machine and that a worker could use up for others, unless the row says
 * otherwise.
 */
#include <assert.h>
#include <errno.h>

#include "worker/sandbox_args.h"
#include "worker/sandbox_split.h"
#include "worker/sandbox_table.h"

static_assert(VGR_SANDBOX_PART == 131072, "as long_refused has it");

#define ALLOW    VGR_CALL_ALLOW
#define REFUSE   VGR_CALL_REFUSE
#define ABSENT   VGR_CALL_ABSENT
#define NEVER    VGR_CALL_NEVER
#define SPLIT    VGR_CALL_SPLIT
#define UNLISTED VGR_CALL_UNLISTED

const struct vgr_call_row vgr_sandbox_calls[] = {
    {.part = "Memory",
     .calls = "brk munmap mprotect",
     .why = "Seen: libc's heap. Mesa, LLVM and NVIDIA's compiler make code executable. These calls "
            "reach only what is mapped."},
    {.calls = "mmap",
     .refused = mmap_refused,
     .why = "Seen: libc, the loader, device memory. Mapping a file takes a descriptor, so Landlock "
            "decides. A shared mapping cannot be made to grow downwards. Huge pages come from the "
            "host's stock, which VMs may use."},
    {.calls = "mremap remap_file_pages",
     .answer = ABSENT,
     .why = "Both let a shared mapping reach the rest of its file without a descriptor, which is "
            "all memory of the VM. realloc() copies instead."},
    {.calls = "madvise",
     .only = madvise_only,
     .refused = madvise_refused,
     .why = "Seen: guard pages of stacks. libc, Mesa and CUDA give memory back, keep it out of "
            "core files and ask for large pages. Refused: punching holes into files, poisoning "
            "pages, sharing equal pages with other processes."},
    {.calls = "memfd_create",
     .refused = memfd_refused,
     .why = "lavapipe makes its device memory from such a file. Huge pages as above."},
    {.calls = "mincore",
     .error = ENOMEM,
     .refused = mincore_refused,
     .why =
         "Libraries ask whether an address is mapped. A long answer would be written to its end by "
         "a worker that is killed meanwhile."},
    {.calls = "msync",
     .refused = msync_refused,
     .why = "Device memory in files. Refused: waiting for a disk."},
    {.calls = "get_mempolicy set_mempolicy",
     .why = "CUDA asks. They concern the calling thread and its own addresses."},
    {.calls = "mbind set_mempolicy_home_node",
     .answer = REFUSE,
     .why = "Of a shared mapping they set the policy of the file: the arena's is the VM's memory. "
            "It holds for the VM and outlives the worker, as does the kernel's memory for it, 340 "
            "bytes a page."},
    {.calls = "userfaultfd process_madvise process_mrelease process_vm_readv process_vm_writev "
              "move_pages migrate_pages",
     .answer = NEVER,
     .why = "Memory of other processes, and page faults that the process answers itself."},
    {.calls = "mseal map_shadow_stack memfd_secret mlock mlock2 munlock membarrier pkey_alloc "
              "pkey_free pkey_mprotect",
     .answer = UNLISTED,
     .why = "They concern the process's own mappings, within RLIMIT_MEMLOCK."},

    {.part = "Descriptors and files",
     .calls = "lseek",
     .why = "Seen. It uses what is open, as do the next."},
    {.calls = "read write pread64 pwrite64",
     .answer = SPLIT,
     .refused = long_refused,
     .why =
         "Seen. A worker that is killed finishes the call that it is in, and the kernel copies all "
         "of it, 2 GiB at most: from or to memory that may be the guest's again. So nothing is "
         "copied in longer parts."},
    {.calls = "readv writev preadv pwritev",
     .answer = SPLIT,
     .why = "As above. A filter cannot read the lengths."},
    {.calls = "preadv2 pwritev2", .answer = ABSENT, .why = "As above. libc has preadv()."},
    {.calls = "open",
     .refused = open_refused,
     .why =
         "Seen: /proc/meminfo, /sys, the cache. CUDA opens its nodes again for each context. "
         "Landlock decides, by whether a file is to be read or written. Refused: to open one for "
         "neither, which Landlock lets pass everywhere and which is enough for a device to "
         "notice, and to cut one that is only read, of which Landlock before version 3 knows "
         "nothing."},
    {.calls = "openat", .refused = openat_refused, .why = "As above."},
    {.calls = "openat2",
     .answer = ABSENT,
     .why = "A filter cannot read its flags. libc uses openat()."},
    {.calls =
         "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink "
         "readlinkat getdents getdents64 getcwd",
     .why = "Seen: the cache. The loader and drivers look for files. Landlock does not hide names, "
            "sizes and times."},
    {.calls = "close_range",
     .refused = close_range_refused,
     .why = "They change only the process's own table, which is small; refused is a table for each "
            "thread."},
    {.calls = "close dup dup2 dup3 pipe pipe2 eventfd2",
     .why = "Seen: close. CUDA wakes its threads through pipes and eventfds. As above. Pages of "
            "pipes are counted for each user."},
    {.calls = "poll ppoll",
     .error = EINVAL,
     .refused = poll_refused,
     .why = "CUDA's threads sleep in it. Each entry is one that the front wakes when it rings."},
    {.calls = "select pselect6", .error = EINVAL, .refused = select_refused, .why = "As poll."},
    {.calls = "epoll_wait epoll_pwait",
     .why = "Seen: the worker sleeps in epolls that it has made before."},
    {.calls = "epoll_create epoll_create1 epoll_ctl",
     .answer = REFUSE,
     .why =
         "An epoll can watch the same socket through each copy of its descriptor, and be watched "
         "in turn: the front would wake the product of these when it rings."},
    {.calls = "fcntl",
     .only = fcntl_only,
     .refused = fcntl_refused,
     .why =
         "Seen while libraries load. Mesa asks whether two descriptors are the same file "
         "(F_DUPFD_QUERY). Refused: sending signals to any process, leases that make others "
         "wait, the size of a pipe that the front reads, and locks of parts of a file, whose "
         "number has no limit: everybody who closes that file, such as /dev/null or libc, looks "
         "at all of them. The worker's fcntl() makes of a lock of a whole file, as NVIDIA's caches "
         "use it, one of flock()."},
    {.calls = "ioctl",
     .only = ioctl_only,
     .refused = ioctl_refused,
     .why = "Device nodes of GPUs, by the kind of call, and what libc asks a terminal. nvidia-uvm "
            "numbers its calls from 0 and gives no kind, so all these numbers pass except FIBMAP; "
            "other files do not know them. Refused: the same effects as with fcntl, typing on a "
            "terminal, and devices that are no GPU."},
    {.calls = "ftruncate fallocate fadvise64", .why = "Seen: lavapipe's memory grows."},
    {.calls = "flock",
     .refused = flock_refused,
     .why = "Drivers lock entries of their caches. An exclusive lock there is one of at a time. Of "
            "the others a worker could have as many as mappings, which keep the lock of a "
            "descriptor that is closed, on any file that it can open: everybody who closes that "
            "file, such as libc, looks at all of them."},
    {.calls = "mkdir mkdirat rename renameat renameat2 unlink unlinkat",
     .why = "Seen: Mesa's cache. NVIDIA's library tries to repair /dev/char. Landlock refuses them "
            "outside of `--shader-cache`."},
    {.calls =
         "symlink symlinkat link linkat mknod mknodat truncate chmod fchmod fchmodat fchmodat2 "
         "chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr "
         "fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr",
     .answer = REFUSE,
     .why =
         "NVIDIA's library tries symlink and mknod. Landlock has no rule for most of the others."},
    {.calls = "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
     .answer = REFUSE,
     .why = "They tell which files others use, which Landlock does not restrict, and their number "
            "is limited for each user."},
    {.calls = "splice tee vmsplice",
     .answer = REFUSE,
     .why = "They put pages into a pipe whose reader then waits for these pages."},
    {.calls = "io_setup io_submit io_getevents io_pgetevents io_cancel io_destroy",
     .answer = REFUSE,
     .why = "All processes share one limit (fs.aio-max-nr), QEMU's disks included."},
    {.calls = "sync syncfs fsync fdatasync sync_file_range",
     .answer = REFUSE,
     .why = "They take time of disks that all share. What a cache of shaders loses in a power cut "
            "is compiled again."},
    {.calls =
         "mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick move_mount open_tree "
         "open_tree_attr mount_setattr statmount listmount open_by_handle_at name_to_handle_at "
         "swapon swapoff acct quotactl quotactl_fd fanotify_init fanotify_mark uselib",
     .answer = NEVER,
     .why = "The file tree."},

    {.part = "Waiting and clocks",
     .calls = "futex",
     .error = ENOSYS,
     .only = futex_only,
     .refused = futex_refused,
     .why = "Seen: every lock. Refused: operations that read a thread's number from memory and "
            "change that thread's priority, in any process. libc then offers no such locks."},
    {.calls = "futex_waitv futex_wait futex_wake futex_requeue",
     .answer = ABSENT,
     .why = "libc has futex."},
    {.calls = "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times",
     .why = "Clocks, where the kernel does not answer without a call."},
    {.calls = "clock_settime settimeofday clock_adjtime adjtimex",
     .answer = NEVER,
     .why = "The host's clock."},
    {.calls = "signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime",
     .answer = REFUSE,
     .why = "Whoever sends the worker a signal, as who ends it, wakes all who wait for such a "
            "descriptor, and so does the clock's interrupt. No library was seen to use them."},
    {.calls = "timer_create",
     .answer = UNLISTED,
     .why =
         "The kernel signals only threads of this process. Timers count among the queued signals "
         "of the user, of which a worker gets a few. No library was seen to use them."},

    {.part = "Threads",
     .calls = "clone",
     .only = clone_only,
     .refused = clone_refused,
     .why = "Seen: pthread_create(). A new process would outlive the worker. Threads count for the "
            "user, and are not limited."},
    {.calls = "clone3",
     .answer = ABSENT,
     .why = "Seen. A filter cannot read its flags. libc then uses clone()."},
    {.calls =
         "set_robust_list rseq set_tid_address sched_yield getcpu gettid rt_sigaction "
         "rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack restart_syscall exit exit_group "
         "arch_prctl",
     .why = "Seen: a thread starts and ends. They concern the calling thread or its process."},
    {.calls = "sched_getaffinity",
     .error = ENOSYS,
     .refused = others_thread,
     .why =
         "Seen: a thread asks how many processors it has. Another number may be another process's "
         "thread. A thread of this process has such a number too: pthread_getattr_np() works "
         "without an answer if it gets ENOSYS, and fails with EPERM."},
    {.calls = "sched_getparam sched_getscheduler", .refused = others_thread, .why = "As above."},
    {.calls = "sched_setaffinity",
     .error = VGR_CALL_PRETEND,
     .refused = others_thread,
     .why = "As above. Mesa and OpenMP place their own threads by number, and OpenMP ends the "
            "process where that fails. Such a thread stays on the processors of the whole worker."},
    {.calls = "getpriority", .refused = others_priority, .why = "As above."},
    {.calls = "setpriority sched_setscheduler sched_setparam sched_setattr sched_getattr "
              "sched_rr_get_interval ioprio_set ioprio_get",
     .answer = REFUSE,
     .why = "Seen: Mesa tries to lower the priority of its compiler's threads, and works without."},
    {.calls = "sched_get_priority_max sched_get_priority_min", .why = "They return constants."},
    {.calls = "get_robust_list", .answer = REFUSE, .why = "It reads addresses of other processes."},

    {.part = "Processes",
     .calls = "kill tgkill",
     .refused = others_process,
     .why =
         "libc's abort(). Of the signals that can wait in the user's queue a worker gets a few."},
    {.calls = "tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal",
     .answer = REFUSE,
     .why = "Other ways to send a signal. The number of queued signals is limited for each user."},
    {.calls = "prlimit64",
     .refused = others_thread,
     .why = "Seen while libraries load. It concerns this process."},
    {.calls = "prctl",
     .only = prctl_only,
     .refused = prctl_refused,
     .why = "Seen: names of threads. libc names its mappings. Refused: undoing the first stage, "
            "and changing how the process is traced, dumped, scheduled or ended."},
    {.calls = "kcmp",
     .only = kcmp_only,
     .refused = kcmp_refused,
     .why = "Mesa asks whether two of its descriptors are the same file."},
    {.calls = "execve execveat fork vfork personality setpgid setsid setrlimit",
     .answer = REFUSE,
     .why = "New processes and programs. Drivers try helper programs and work without."},
    {.calls =
         "setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset",
     .answer = REFUSE,
     .why = "Users and groups."},
    {.calls = "ptrace pidfd_getfd unshare setns",
     .answer = NEVER,
     .why = "Other processes and namespaces."},
    {.calls = "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
     .answer = UNLISTED,
     .error = EPERM,
     .why =
         "A process can only take more away from itself, but each call that such a filter logs, "
         "and "
         "each denial, is a line of the machine's audit log, and the memory for filters is limited "
         "for the machine."},
    {.calls = "getpid getppid getuid geteuid getgid getegid getgroups getrlimit getrusage sysinfo "
              "uname getrandom",
     .why = "Seen: questions about the process and the machine."},

    {.part = "Others",
     .calls =
         "socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom "
         "recvmsg recvmmsg shutdown getsockname getpeername getsockopt setsockopt",
     .answer = REFUSE,
     .why = "CUDA looks for its daemons and works without. The number of descriptors that are "
            "being sent is limited for each user."},
    {.calls =
         "shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl "
         "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr perf_event_open",
     .answer = REFUSE,
     .why = "Other processes of the user can reach these, and their number is limited for the "
            "machine."},
    {.calls =
         "bpf init_module finit_module delete_module kexec_load kexec_file_load reboot iopl "
         "ioperm modify_ldt syslog vhangup sethostname setdomainname keyctl add_key request_key "
         "io_uring_setup io_uring_enter io_uring_register lookup_dcookie lsm_set_self_attr",
     .answer = NEVER,
     .why = "The kernel. io_uring makes calls that a filter does not see."},
};
const size_t vgr_sandbox_n_calls = sizeof(vgr_sandbox_calls) / sizeof(vgr_sandbox_calls[0]);
