/* SPDX-License-Identifier: MIT
 *
 * sandbox_table.c - the system calls of a worker (sandbox_table.h).
 *
 * "Seen" below is what strace saw a worker do after its second stage, with glibc 2.43, GGML 0.27's CPU
 * backend and Mesa 26.1's lavapipe. Nothing of NVIDIA's is seen here: its rows are those with which its
 * Vulkan and CUDA were tried, and public traces of them.
 *
 * Every argument that names somebody else is 0, this process, or refused: processes and threads, users,
 * addresses of others. Every resource that the kernel counts for a user or for the machine, and that a
 * worker could use up for others, is refused too, unless the row says otherwise.
 */
#include <errno.h>

#include "worker/sandbox_args.h"
#include "worker/sandbox_table.h"

#define ALLOW    VGR_CALL_ALLOW
#define REFUSE   VGR_CALL_REFUSE
#define ABSENT   VGR_CALL_ABSENT
#define NEVER    VGR_CALL_NEVER
#define UNLISTED VGR_CALL_UNLISTED

const struct vgr_call_row vgr_sandbox_calls[] = {
    {.part = "Memory",
     .calls = "brk munmap mprotect",
     .why = "Seen: libc's heap; Mesa and LLVM, NVIDIA's compiler too, make code executable. They "
            "reach what is mapped."},
    {.calls = "mmap",
     .refused = mmap_refused,
     .why =
         "Seen: libc, the loader, device memory. A file needs a descriptor, so landlock decides; "
         "a shared mapping that grows downwards does not exist. Huge pages are the host's stock, "
         "in which the memory of VMs may lie."},
    {.calls = "mremap remap_file_pages",
     .answer = ABSENT,
     .why = "They let a shared mapping reach the rest of its file without a descriptor: all memory "
            "of the VM. realloc() copies instead."},
    {.calls = "madvise",
     .only = madvise_only,
     .refused = madvise_refused,
     .why =
         "Seen: stacks' guard pages. libc, Mesa and CUDA give memory back, keep it out of a fork "
         "or ask for large pages. Refused: punching holes into files, poisoning pages, sharing "
         "equal pages with others."},
    {.calls = "memfd_create",
     .refused = memfd_refused,
     .why =
         "lavapipe's device memory, made before the guest comes and with new instances. As mmap."},
    {.calls = "mincore msync", .why = "Libraries ask whether an address is mapped."},
    {.calls = "get_mempolicy set_mempolicy",
     .why = "CUDA, on hosts of several memory nodes. Of the calling thread and its own addresses."},
    {.calls = "mbind",
     .refused = mbind_refused,
     .why = "As above. Refused: moving pages that others map as well."},
    {.calls = "userfaultfd process_madvise process_mrelease process_vm_readv process_vm_writev "
              "move_pages migrate_pages",
     .answer = NEVER,
     .why = "Memory of other processes; faults that are answered late."},
    {.calls = "mseal map_shadow_stack memfd_secret mlock mlock2 munlock membarrier pkey_alloc "
              "pkey_free pkey_mprotect",
     .answer = UNLISTED,
     .why = "Of its own mappings, within RLIMIT_MEMLOCK."},

    {.part = "Descriptors and files",
     .calls = "read write readv writev pread64 pwrite64 preadv pwritev lseek",
     .why = "Seen. What is open."},
    {.calls = "open openat",
     .why = "Seen: /proc/meminfo, /sys, the cache. CUDA opens its nodes again for each context. "
            "Landlock decides."},
    {.calls =
         "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink "
         "readlinkat getdents getdents64 getcwd",
     .why = "Seen: the cache. The loader and drivers look for files. Landlock does not hide names, "
            "sizes and times of files."},
    {.calls = "close close_range dup dup2 dup3 pipe pipe2 eventfd2 poll ppoll select pselect6",
     .why = "Seen: close. CUDA wakes its threads by pipes and eventfds. Its own numbers only."},
    {.calls = "epoll_create1 epoll_ctl epoll_wait epoll_pwait",
     .why =
         "Seen: the worker sleeps in it. Watches count for the user, but as memory: the limit is "
         "a share of the machine's."},
    {.calls = "fcntl",
     .only = fcntl_only,
     .refused = fcntl_refused,
     .why = "Seen while libraries load. Locks are those of caches. Refused: having signals sent to "
            "anybody, leases that make others wait, the size of a pipe that the front reads."},
    {.calls = "ioctl",
     .only = ioctl_only,
     .refused = ioctl_refused,
     .why =
         "GPUs' device nodes, by the kind of call; what libc asks a terminal. nvidia-uvm numbers "
         "its calls from 0 and gives no kind, so all such numbers pass but FIBMAP; on other files "
         "they mean nothing. The rest of what is refused are other roads to what fcntl must not "
         "do, typing on a terminal, and devices that are no GPU."},
    {.calls = "ftruncate fallocate fsync fdatasync fadvise64 flock",
     .why = "Seen: lavapipe's memory grows; Mesa locks entries of its cache. Any file that can be "
            "opened can be locked, which hinders those alone who lock files in /usr."},
    {.calls = "mkdir mkdirat rename renameat renameat2 unlink unlinkat",
     .why = "Seen: Mesa's cache. NVIDIA's library tries to mend /dev/char. Landlock refuses it "
            "outside of `--shader-cache`."},
    {.calls =
         "symlink symlinkat link linkat mknod mknodat truncate chmod fchmod fchmodat fchmodat2 "
         "chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr "
         "fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr",
     .answer = REFUSE,
     .why =
         "NVIDIA's library tries the first four. Landlock knows no rule for most of the others."},
    {.calls = "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
     .answer = REFUSE,
     .why =
         "Tells who uses which file, which landlock does not restrict; a user's stock of watches."},
    {.calls = "splice tee vmsplice",
     .answer = REFUSE,
     .why = "Put pages into a pipe that another process then waits for."},
    {.calls = "io_setup io_submit io_getevents io_pgetevents io_cancel io_destroy",
     .answer = REFUSE,
     .why = "The machine has one stock of these for all (fs.aio-max-nr), QEMU's disks included."},
    {.calls = "sync syncfs", .answer = REFUSE, .why = "The disks' time, for all."},
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
     .why =
         "Seen: every lock. Refused: the operations that take a thread's number out of memory and "
         "change that thread's priority, whosever it is; libc then has no such locks."},
    {.calls = "futex_waitv futex_wait futex_wake futex_requeue",
     .answer = ABSENT,
     .why = "A second way to do the same."},
    {.calls = "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times",
     .why = "Clocks, where the kernel does not serve them without a call."},
    {.calls = "clock_settime settimeofday clock_adjtime adjtimex",
     .answer = NEVER,
     .why = "The clock."},
    {.calls = "timer_create timerfd_create timerfd_settime timerfd_gettime",
     .answer = UNLISTED,
     .why = "The kernel takes threads of this process only; nobody was seen to use them."},

    {.part = "Threads",
     .calls = "clone",
     .only = clone_only,
     .refused = clone_refused,
     .why = "Seen: pthread_create(). Not a process: it would outlive the worker."},
    {.calls = "clone3",
     .answer = ABSENT,
     .why = "Seen. It hides its flags from a filter, and libc then takes clone()."},
    {.calls =
         "set_robust_list rseq set_tid_address sched_yield getcpu gettid rt_sigaction "
         "rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack restart_syscall exit exit_group "
         "arch_prctl",
     .why = "Seen: a thread's start and end. Of the calling thread or its process."},
    {.calls = "sched_getaffinity",
     .error = ENOSYS,
     .refused = others_thread,
     .why =
         "Seen: how many processors there are. Another number may be another process's thread. A "
         "thread of this process has such a number too; with ENOSYS pthread_getattr_np() works "
         "without it, with EPERM it fails."},
    {.calls = "sched_getparam sched_getscheduler", .refused = others_thread, .why = "As above."},
    {.calls = "sched_setaffinity",
     .error = VGR_CALL_PRETEND,
     .refused = others_thread,
     .why = "As above. A thread of its own has a number like any other: Mesa and OpenMP place "
            "threads by it, and a thread that OpenMP cannot place ends the worker. It stays where "
            "all of the worker is."},
    {.calls = "getpriority", .refused = others_priority, .why = "As above."},
    {.calls = "setpriority sched_setscheduler sched_setparam sched_setattr sched_getattr "
              "sched_rr_get_interval ioprio_set ioprio_get",
     .answer = REFUSE,
     .why = "Seen: Mesa tries to make its compiler's threads nice, and does without."},
    {.calls = "sched_get_priority_max sched_get_priority_min", .why = "Constants."},
    {.calls = "get_robust_list", .answer = REFUSE, .why = "Addresses in other processes."},

    {.part = "Processes", .calls = "kill tgkill", .refused = others_process, .why = "abort()."},
    {.calls = "tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal",
     .answer = REFUSE,
     .why = "Other roads to a signal. Queued signals are a stock of the user."},
    {.calls = "prlimit64", .refused = others_thread, .why = "Seen while libraries load. Its own."},
    {.calls = "prctl",
     .only = prctl_only,
     .refused = prctl_refused,
     .why =
         "Seen: names of threads; libc names its mappings. Refused: undoing the first stage, and "
         "what changes how the process is traced, dumped, scheduled or ended."},
    {.calls = "kcmp",
     .only = kcmp_only,
     .refused = kcmp_refused,
     .why = "Mesa asks whether two of its descriptors are the same file."},
    {.calls = "execve execveat fork vfork personality setpgid setsid setrlimit",
     .answer = REFUSE,
     .why = "New processes and programs: drivers try helpers and do without."},
    {.calls =
         "setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset",
     .answer = REFUSE,
     .why = "Users."},
    {.calls = "ptrace pidfd_getfd unshare setns",
     .answer = NEVER,
     .why = "Other processes, namespaces."},
    {.calls = "seccomp",
     .answer = UNLISTED,
     .why = "Can only take more away. The second filter is put on through it."},
    {.calls = "getpid getppid getuid geteuid getgid getegid getgroups getrlimit getrusage sysinfo "
              "uname getrandom",
     .why = "Seen: questions about the process and the machine."},

    {.part = "Others",
     .calls =
         "socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom "
         "recvmsg recvmmsg shutdown getsockname getpeername getsockopt setsockopt",
     .answer = REFUSE,
     .why = "CUDA looks for its daemons and does without. Descriptors on their way are a stock of "
            "the user."},
    {.calls =
         "shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl "
         "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr perf_event_open",
     .answer = REFUSE,
     .why = "Shared with others of the user, and stocks of the machine."},
    {.calls =
         "bpf init_module finit_module delete_module kexec_load kexec_file_load reboot iopl "
         "ioperm modify_ldt syslog vhangup sethostname setdomainname keyctl add_key request_key "
         "io_uring_setup io_uring_enter io_uring_register lookup_dcookie lsm_set_self_attr",
     .answer = NEVER,
     .why = "The kernel. io_uring makes calls that a filter does not see."},
};
const size_t vgr_sandbox_n_calls = sizeof(vgr_sandbox_calls) / sizeof(vgr_sandbox_calls[0]);
