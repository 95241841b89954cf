/* SPDX-License-Identifier: MIT
 *
 * worker_kernel.c - attempts at parts of the kernel that a worker has no honest use for, at namespaces, at
 * other users and at new processes. Where a call would do harm to this machine, its arguments are such that the
 * kernel looks at them and refuses: then the call was made, which counts as a success.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

/* A call that the kernel answers with `answer` once it has let it in. */
#define MADE(function, answer, ...)                                                                \
    static int function(void)                                                                      \
    {                                                                                              \
        long ret = attack_call(__VA_ARGS__);                                                       \
                                                                                                   \
        return ret >= 0 || errno == (answer) ? 0 : errno;                                          \
    }

MADE(io_uring, EFAULT, SYS_io_uring_setup, 1L, NULL)
MADE(io_uring_enter, EBADF, SYS_io_uring_enter, -1L, 0L, 0L, 0L, NULL, 0L)
MADE(io_uring_register, EINVAL, SYS_io_uring_register, -1L, 0L, NULL, 0L)
MADE(use_bpf, EINVAL, SYS_bpf, 0L, NULL, 0L)
MADE(perf, EFAULT, SYS_perf_event_open, NULL, 0L, -1L, -1L, 0L)
MADE(key_ring, 0, SYS_keyctl, 0L /* GET_KEYRING_ID */, -4L /* the user's */, 1L)
MADE(key_of_user, 0, SYS_add_key, "user", "vgr-attack", "x", 1L, -4L)
MADE(key_asked_for, ENOKEY, SYS_request_key, "user", "vgr-attack-none", NULL, 0L)
MADE(mount_it, EINVAL, SYS_mount, NULL, "/", NULL, (long)(MS_BIND | MS_REMOUNT | MS_MOVE), NULL)
MADE(unmount, EINVAL, SYS_umount2, "/proc/self", -1L)
MADE(mount_new, ENODEV, SYS_fsopen, "vgr-none", 0L)
MADE(tree, EINVAL, SYS_open_tree, -1L, "/", -1L)
MADE(mount_move, EINVAL, SYS_move_mount, -1L, "", -1L, "", -1L)
MADE(mount_set, EINVAL, SYS_mount_setattr, -1L, "", -1L, NULL, 0L)
MADE(pivot, EINVAL, SYS_pivot_root, "/proc/self", "/proc/self")
MADE(new_uts, 0, SYS_unshare, (long)CLONE_NEWUTS)
MADE(new_mounts, 0, SYS_unshare, (long)CLONE_NEWNS)
MADE(new_users, EINVAL, SYS_unshare, (long)CLONE_NEWUSER)
MADE(join, EBADF, SYS_setns, -1L, 0L)
MADE(module, EBADF, SYS_finit_module, -1L, "", 0L)
MADE(module_old, EFAULT, SYS_init_module, NULL, 1L, NULL)
MADE(module_gone, ENOENT, SYS_delete_module, "vgr_none", (long)O_NONBLOCK)
MADE(kexec, EBADF, SYS_kexec_file_load, -1L, -1L, 0L, NULL, 0L)
MADE(reboot_it, EINVAL, SYS_reboot, 0L, 0L, 0L, NULL)
MADE(swap_on, ENOENT, SYS_swapon, "/vgr-none", 0L)
MADE(swap_off, ENOENT, SYS_swapoff, "/vgr-none")
MADE(accounting, ENOENT, SYS_acct, "/vgr-none")
MADE(quota, ENOENT, SYS_quotactl, 0x800002L << 8, "/vgr-none", 0L, NULL)
MADE(kernel_log, 0, SYS_syslog, 10L, NULL, 0L)
MADE(host_name, EINVAL, SYS_sethostname, "x", -1L)
MADE(domain_name, EINVAL, SYS_setdomainname, "x", -1L)
MADE(clock_set, EFAULT, SYS_clock_settime, 0L, NULL)
MADE(clock_adjust, EFAULT, SYS_clock_adjtime, 0L, NULL)
MADE(clock_adjust_old, EFAULT, SYS_adjtimex, NULL)
MADE(clock_set_old, EINVAL, SYS_settimeofday, (long[]){-1, -1}, NULL)
MADE(ports, EINVAL, SYS_ioperm, -1L, 1L, 1L)
MADE(ports_all, EINVAL, SYS_iopl, 4L)
MADE(segments, ENOSYS, SYS_modify_ldt, 99L, NULL, 0L)
MADE(hang_up, EPERM + 1000, SYS_vhangup)
MADE(special_file, EEXIST, SYS_mknodat, (long)AT_FDCWD, "/proc/self", 020600L, 0x103L)
MADE(shared_segment, 0, SYS_shmget, 0L, 4096L, 0600L)
MADE(shared_queue, 0, SYS_msgget, 0L, 0600L)
MADE(shared_semaphore, 0, SYS_semget, 0L, 1L, 0600L)
MADE(old_library, ENOSYS, SYS_uselib, "/vgr-none")
MADE(cookie, ENOSYS, SYS_lookup_dcookie, 0L, NULL, 0L)
MADE(lsm_set, EINVAL, 460L /* lsm_set_self_attr */, 0L, NULL, 0L, 0L)
MADE(secret_memory, 0, SYS_memfd_secret, 0L)
MADE(sync_all, 0, SYS_sync)
MADE(persona, 0, SYS_personality, (long)ADDR_NO_RANDOMIZE)
MADE(new_root_user, 0, SYS_setresuid, 0L, 0L, 0L)
MADE(another_user, 0, SYS_setresuid, -1L, 12345L, -1L)
MADE(another_group, 0, SYS_setresgid, -1L, 12345L, -1L)
MADE(fs_user, 0, SYS_setfsuid, 12345L)
MADE(ptracer, 0, SYS_prctl, 0x59616d61L /* PR_SET_PTRACER */, -1L, 0L, 0L, 0L)
MADE(dumpable, 0, SYS_prctl, (long)PR_SET_DUMPABLE, 1L, 0L, 0L, 0L)
MADE(memory_map, EINVAL, SYS_prctl, (long)PR_SET_MM, 99L, 0L, 0L, 0L)
MADE(keep_caps, 0, SYS_prctl, (long)PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L)
MADE(secure_bits, 0, SYS_prctl, (long)PR_SET_SECUREBITS, 0L, 0L, 0L, 0L)

/* From the machine's pool, which other people's VMs need; ENOMEM: it is empty. */
MADE(huge_pages, ENOMEM, SYS_mmap, NULL, 2L << 20, (long)PROT_READ,
     (long)(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB), -1L, 0L)
MADE(huge_file, ENOMEM, SYS_memfd_create, "huge", (long)MFD_HUGETLB)
MADE(alarm_clock, 0, SYS_timerfd_create, 9L /* CLOCK_BOOTTIME_ALARM */, 0L)

static int on_file(const char *path, long call, long request)
{
    uint64_t zero = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 ? errno : attack_errno(attack_call(call, (long)fd, request, &zero));

    if (fd >= 0)
        close(fd);
    return err;
}

/* A disk that all share. */
static int flush_file(void)
{
    return on_file("/usr/lib/os-release", SYS_fsync, 0);
}

static int flush_mapping(void)
{
    int fd = open("/usr/lib/os-release", O_RDONLY | O_CLOEXEC), err;
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    err = p == MAP_FAILED ? errno : attack_errno(attack_call(SYS_msync, p, 4096L, (long)MS_SYNC));
    if (p != MAP_FAILED)
        munmap(p, 4096);
    if (fd >= 0)
        close(fd);
    return err;
}

static int entropy(void)
{
    return on_file("/dev/urandom", SYS_ioctl, 0x40045201L /* RNDADDTOENTCNT */);
}

/* Everybody who closes the file looks at all of them. */
static int lock_bytes(const char *path, long command)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), n = 0;
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};

    for (; fd >= 0 && n < 3000 && !attack_call(SYS_fcntl, (long)fd, command, &l); n++)
        l.l_start += 2;
    return n == 3000 ? 0 : errno;
}

static int many_locks(void)
{
    return lock_bytes("/dev/null", F_SETLK);
}

static int many_own_locks(void)
{
    return lock_bytes("/usr/lib/os-release", 37L /* F_OFD_SETLK */);
}

static int signals_to_read(void)
{
    uint64_t set = 1;

    return attack_errno(attack_call(SYS_signalfd4, -1L, &set, (long)sizeof(set), 0L));
}

static int clock_to_read(void)
{
    return attack_errno(attack_call(SYS_timerfd_create, (long)CLOCK_MONOTONIC, 0L));
}

static int life_time(void)
{
    return on_file("/usr/lib/os-release", SYS_fcntl, 1036L /* F_SET_RW_HINT */);
}

static int kernel_log_read(void)
{
    char text[16];

    return attack_errno(attack_call(SYS_syslog, 3L, text, 16L));
}

/* The control is not the call itself: it would end the session of whoever runs the test. */
static int hang_up_shown(void)
{
    return kernel_log();
}

static int another_group_list(void)
{
    gid_t g = 0;

    return attack_errno(attack_call(SYS_setgroups, 1L, &g));
}

static int capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{1u << CAP_KILL, 1u << CAP_KILL, 0}};

    return attack_errno(attack_call(SYS_capset, &header, data));
}

/* ---- Processes ---- */

static int process(long flags)
{
    long pid = attack_call(SYS_clone, flags, 0L, NULL, NULL, 0L);

    if (!pid)
        attack_call(SYS_exit_group, 0L);
    return attack_errno(pid);
}

static int fork_it(void)
{
    return process(SIGCHLD);
}

static int fork_old(void)
{
    long pid = attack_call(SYS_fork);

    if (!pid)
        attack_call(SYS_exit_group, 0L);
    return attack_errno(pid);
}

static int fork_in_namespaces(void)
{
    return process(SIGCHLD | CLONE_NEWNS | CLONE_NEWPID);
}

static int fork_new(void)
{
    uint64_t args[11] = {[4] = SIGCHLD};
    long pid = attack_call(SYS_clone3, args, sizeof(args));

    if (!pid)
        attack_call(SYS_exit_group, 0L);
    return attack_errno(pid);
}

/* In a child where there is no sandbox: the attempts go on. */
static int replaced(int (*replace)(void))
{
    long pid;

    if (!scene.page->control)
        return replace();
    pid = fork();
    if (!pid)
        _exit(replace() ? 1 : 0);
    return pid < 0 ? errno : 0;
}

static int exec_path(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return errno;
}

static int exec_descriptor(void)
{
    int fd = open("/usr/bin/true", O_PATH | O_CLOEXEC);

    if (fd >= 0)
        attack_call(SYS_execveat, (long)fd, "", (char *[]){NULL}, (char *[]){NULL},
                    (long)AT_EMPTY_PATH);
    return errno;
}

static int exec_memory(void)
{
    int fd = memfd_create("code", MFD_CLOEXEC);

    if (fd < 0 || write(fd, "#!/bin/true\n", 12) != 12)
        return errno;
    attack_call(SYS_execveat, (long)fd, "", (char *[]){"x", NULL}, (char *[]){NULL},
                (long)AT_EMPTY_PATH);
    return errno == ENOENT && scene.page->control ? 0 : errno;
}

static int run_path(void)
{
    return replaced(exec_path);
}

static int run_descriptor(void)
{
    return replaced(exec_descriptor);
}

static int run_memory(void)
{
    return replaced(exec_memory);
}

/* ---- What binds itself, and is logged ---- */

static int another_filter(void)
{
    struct {
        unsigned short len;
        void *filter;
    } none = {0, NULL};

    /* EINVAL: an empty program. */
    attack_call(SYS_seccomp, (long)SECCOMP_SET_MODE_FILTER, 0L, &none);
    return errno == EINVAL ? HARMLESS : errno;
}

static int filter_listener(void)
{
    struct {
        unsigned short code;
        unsigned char jt, jf;
        unsigned k;
    } allow = {6, 0, 0, 0x7fff0000};
    struct {
        unsigned short len;
        void *filter;
    } program = {1, &allow};

    return attack_call(SYS_seccomp, (long)SECCOMP_SET_MODE_FILTER, 8L /* NEW_LISTENER */,
                       &program) < 0
               ? errno
               : HARMLESS;
}

static int more_landlock(void)
{
    uint64_t fs = 4;
    long fd = attack_call(SYS_landlock_create_ruleset, &fs, sizeof(fs), 0L);

    return fd < 0 ? errno : HARMLESS;
}

static int new_privileges(void)
{
    return attack_call(SYS_prctl, (long)PR_SET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L) ? errno : 0;
}

static int old_binary(void)
{
    long ret;

    /* The calls of 32-bit programs have other numbers: 37 is kill there. */
    __asm__ volatile("int $0x80"
                     : "=a"(ret)
                     : "a"(37L), "b"(scene.page->victim), "c"(0L)
                     : "memory");
    return ret < 0 ? (int)-ret : 0;
}

static int x32_call(void)
{
    return attack_call(0x40000000L + SYS_kill, (long)scene.page->victim, 0L) < 0 ? errno : 0;
}

static int shown(void)
{
    return process(SIGCHLD);
}

static const struct attempt list[] = {
    {"io_uring_setup", io_uring, 0, NULL, NULL, 0},
    {"io_uring_enter", io_uring_enter, 0, NULL, NULL, 0},
    {"io_uring_register", io_uring_register, 0, NULL, NULL, 0},
    {"bpf", use_bpf, 0, NULL, NULL, 0},
    {"performance counters", perf, 0, NULL, NULL, 0},
    {"the user's key ring", key_ring, 0, NULL, NULL, 0},
    {"a key for the user's ring", key_of_user, 0, NULL, NULL, 0},
    {"ask for a key", key_asked_for, 0, NULL, NULL, 0},
    {"mount", mount_it, 0, NULL, NULL, 0},
    {"umount", unmount, 0, NULL, NULL, 0},
    {"fsopen", mount_new, 0, NULL, NULL, 0},
    {"open_tree", tree, 0, NULL, NULL, 0},
    {"move_mount", mount_move, 0, NULL, NULL, 0},
    {"mount_setattr", mount_set, 0, NULL, NULL, 0},
    {"pivot_root", pivot, 0, NULL, NULL, 0},
    {"a namespace of names", new_uts, 0, NULL, NULL, 0},
    {"a namespace of mounts", new_mounts, 0, NULL, NULL, 0},
    {"a namespace of users", new_users, 0, NULL, shown, 0},
    {"join a namespace", join, 0, NULL, NULL, 0},
    {"finit_module", module, 0, NULL, shown, 0},
    {"init_module", module_old, 0, NULL, shown, 0},
    {"delete_module", module_gone, 0, NULL, shown, 0},
    {"kexec", kexec, 0, NULL, shown, 0},
    {"reboot", reboot_it, 0, NULL, NULL, 0},
    {"swapon", swap_on, 0, NULL, NULL, 0},
    {"swapoff", swap_off, 0, NULL, NULL, 0},
    {"acct", accounting, 0, NULL, shown, 0},
    {"quotactl", quota, 0, NULL, shown, 0},
    {"size of the kernel's log", kernel_log, 0, NULL, NULL, 0},
    {"the kernel's log", kernel_log_read, 0, NULL, NULL, 0},
    {"sethostname", host_name, 0, NULL, NULL, 0},
    {"setdomainname", domain_name, 0, NULL, NULL, 0},
    {"clock_settime", clock_set, 0, NULL, NULL, 0},
    {"clock_adjtime", clock_adjust, 0, NULL, NULL, 0},
    {"adjtimex", clock_adjust_old, 0, NULL, NULL, 0},
    {"settimeofday", clock_set_old, 0, NULL, NULL, 0},
    {"ioperm", ports, 0, NULL, shown, 0},
    {"iopl", ports_all, 0, NULL, shown, 0},
    {"modify_ldt", segments, 0, NULL, NULL, 0},
    {"vhangup", hang_up, 0, NULL, hang_up_shown, 0},
    {"mknod of a device", special_file, 0, NULL, NULL, 0},
    {"SysV shared memory", shared_segment, 0, NULL, NULL, 0},
    {"SysV messages", shared_queue, 0, NULL, NULL, 0},
    {"SysV semaphores", shared_semaphore, 0, NULL, NULL, 0},
    {"uselib", old_library, 0, NULL, NULL, 0},
    {"lookup_dcookie", cookie, 0, NULL, NULL, 0},
    {"lsm_set_self_attr", lsm_set, STRICT_ONLY, NULL, shown, 0},
    {"memfd_secret", secret_memory, STRICT_ONLY, NULL, shown, 0},
    {"sync: wait for every disk", sync_all, STRICT_ONLY, NULL, shown, 0},
    {"flush a file that is only read", flush_file, 0, NULL, NULL, 0},
    {"flush a mapping of it", flush_mapping, 0, NULL, NULL, 0},
    {"3,000 locks of bytes of /dev/null", many_locks, 0, NULL, NULL, 0},
    {"3,000 locks of a descriptor's own", many_own_locks, 0, NULL, NULL, 0},
    {"a descriptor that tells of signals", signals_to_read, 0, NULL, NULL, 0},
    {"a timer that can be waited for", clock_to_read, 0, NULL, NULL, 0},
    {"huge pages of the machine's pool", huge_pages, 0, NULL, NULL, 0},
    {"a file of huge pages", huge_file, 0, NULL, NULL, 0},
    {"a timer that wakes the machine", alarm_clock, 0, NULL, NULL, 0},
    {"the count of the machine's entropy", entropy, 0, NULL, NULL, 0},
    {"what the kernel thinks of a library's life time", life_time, 0, NULL, NULL, 0},
    {"personality", persona, 0, NULL, NULL, 0},
    {"become root", new_root_user, 0, NULL, NULL, 0},
    {"become another group", another_group, 0, NULL, NULL, 0},
    {"other groups", another_group_list, 0, NULL, NULL, 0},
    {"capabilities", capabilities, 0, NULL, shown, 0},
    {"let anybody trace it", ptracer, 0, NULL, shown, 0},
    {"become dumpable", dumpable, 0, NULL, NULL, 0},
    {"prctl: the memory map", memory_map, 0, NULL, shown, 0},
    {"prctl: keep capabilities", keep_caps, STRICT_ONLY, NULL, NULL, 0},
    {"prctl: secure bits", secure_bits, 0, NULL, NULL, 0},
    {"fork", fork_it, 0, NULL, NULL, 0},
    {"fork, by its old number", fork_old, 0, NULL, NULL, 0},
    {"clone3", fork_new, 0, NULL, NULL, 0},
    {"clone in new namespaces", fork_in_namespaces, 0, NULL, NULL, 0},
    {"execve", run_path, 0, NULL, NULL, 0},
    {"execveat of a descriptor", run_descriptor, 0, NULL, NULL, 0},
    {"execveat of memory", run_memory, 0, NULL, NULL, 0},
    {"give up no_new_privs", new_privileges, 0, NULL, shown, 0},
    {"kill, as a 32-bit program", old_binary, 0, NULL, NULL, 0},
    {"kill, by the numbers of x32", x32_call, 0, NULL, shown, 0},
    {"a filter of its own", another_filter, 0, NULL, shown, 0},
    {"a filter that somebody answers", filter_listener, 0, NULL, shown, 0},
    {"a landlock of its own", more_landlock, 0, NULL, shown, 0},
    {"become another user", another_user, ALONE, NULL, NULL, 0},
    {"another user for files", fs_user, 0, NULL, NULL, 0},
};
ATTEMPTS(attack_kernel, "kernel", list);
