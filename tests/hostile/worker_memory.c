/* SPDX-License-Identifier: MIT
 *
 * worker_memory.c - attempts at the memory of other processes: the monitor, which plays QEMU, the front,
 * another worker, and a process of the worker's own user.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

static int read_by_vm(void)
{
    uint64_t got = 0;
    struct iovec mine = {&got, sizeof(got)}, theirs = {(void *)scene.page->secret_at, sizeof(got)};

    if (attack_call(SYS_process_vm_readv, (long)scene.page->monitor, &mine, 1L, &theirs, 1L, 0L) <
        0)
        return errno;
    return got == ATTACK_SECRET ? 0 : HARMLESS;
}

static int write_by_vm(void)
{
    uint64_t same = ATTACK_SECRET;
    struct iovec mine = {&same, sizeof(same)},
                 theirs = {(void *)scene.page->secret_at, sizeof(same)};

    return attack_errno(
        attack_call(SYS_process_vm_writev, (long)scene.page->victim, &mine, 1L, &theirs, 1L, 0L));
}

static int read_by_proc(int pid)
{
    uint64_t got = 0;
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/proc/%d/mem", pid);
    fd = open(name, O_RDWR);
    if (fd < 0)
        return errno;
    if (pread(fd, &got, sizeof(got), (off_t)scene.page->secret_at) < 0 && errno != EIO)
        return errno;
    return 0; /* that it could be opened is enough */
}

static int read_monitor(void)
{
    return read_by_proc(scene.page->monitor);
}

static int read_victim(void)
{
    return read_by_proc(scene.page->victim);
}

static int read_front(void)
{
    return read_by_proc(scene.page->front);
}

static int read_other_worker(void)
{
    return read_by_proc(scene.page->other_worker);
}

static int read_other_front(void)
{
    return read_by_proc(scene.page->other_front);
}

static int proc_file(int pid, const char *file)
{
    char name[64];

    snprintf(name, sizeof(name), "/proc/%d/%s", pid, file);
    return attack_errno(open(name, O_RDONLY));
}

static int front_maps(void)
{
    return proc_file(scene.page->front, "maps");
}

static int monitor_environment(void)
{
    return proc_file(scene.page->monitor, "environ");
}

static int monitor_syscall(void)
{
    return proc_file(scene.page->monitor, "auxv");
}

static int victim_stack(void)
{
    return proc_file(scene.page->victim, "smaps");
}

static int trace(int pid)
{
    if (attack_call(SYS_ptrace, (long)PTRACE_SEIZE, (long)pid, 0L, 0L))
        return errno;
    attack_call(SYS_ptrace, (long)PTRACE_DETACH, (long)pid, 0L, 0L);
    return 0;
}

static int trace_victim(void)
{
    return trace(scene.page->victim);
}

static int trace_front(void)
{
    return trace(scene.page->front);
}

static int trace_me(void)
{
    /* The front's loop would be told of every stop instead of the end. */
    return attack_errno(attack_call(SYS_ptrace, (long)PTRACE_TRACEME, 0L, 0L, 0L));
}

static int move_pages_of(void)
{
    void *page[1] = {(void *)(scene.page->secret_at & ~UINT64_C(4095))};
    int status[1] = {0};

    return attack_errno(
        attack_call(SYS_move_pages, (long)scene.page->victim, 1L, page, NULL, status, 0L));
}

static int migrate(void)
{
    unsigned long nodes = 1;

    return attack_errno(
        attack_call(SYS_migrate_pages, (long)scene.page->victim, 64L, &nodes, &nodes));
}

static int descriptor_of(int pid)
{
    int fd = (int)attack_call(SYS_pidfd_open, (long)pid, 0L);

    if (fd < 0) { /* a folder of /proc is one as well */
        char name[32];

        snprintf(name, sizeof(name), "/proc/%d", pid);
        fd = open(name, O_RDONLY | O_DIRECTORY);
    }
    return fd;
}

static int advise_victim(void)
{
    struct iovec v = {(void *)(scene.page->secret_at & ~UINT64_C(4095)), 4096};
    int fd = descriptor_of(scene.page->victim);

    if (fd < 0)
        return errno;
    return attack_errno(attack_call(SYS_process_madvise, (long)fd, &v, 1L, (long)MADV_COLD, 0L));
}

static int release_victim(void)
{
    int fd = descriptor_of(scene.page->victim);

    if (fd < 0)
        return errno;
    /* EINVAL: it is not dying. The call was made. */
    return !attack_call(SYS_process_mrelease, (long)fd, 0L) || errno == EINVAL ? 0 : errno;
}

static int fetch_descriptor(void)
{
    int fd = descriptor_of(scene.page->monitor);

    return fd < 0 ? errno : attack_errno(attack_call(SYS_pidfd_getfd, (long)fd, 0L, 0L));
}

static int compare(void)
{
    return attack_errno(attack_call(SYS_kcmp, (long)scene.page->front, (long)scene.page->monitor,
                                    (long)KCMP_FILE, 0L, 0L));
}

static int robust_list_of(void)
{
    void *head = NULL;
    size_t len = 0;

    return attack_errno(attack_call(SYS_get_robust_list, (long)scene.page->victim, &head, &len));
}

/* A lock that is said to be the front's: the kernel notes us at the front, and lends it our priority. */
static int futex_of_another(void)
{
    static uint32_t word;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_nsec = (now.tv_nsec + 20000000) % 1000000000;
    word = (uint32_t)scene.page->front;
    attack_call(SYS_futex, &word, (long)FUTEX_LOCK_PI, 0L, &now, NULL, 0L);
    return errno == ETIMEDOUT ? HARMLESS : errno ? errno : HARMLESS;
}

static int futex_requeue(void)
{
    static uint32_t from, to;

    to = (uint32_t)scene.page->front;
    return attack_call(SYS_futex, &from, (long)FUTEX_CMP_REQUEUE_PI, 1L, 1L, &to, 0L) < 0
               ? errno
               : HARMLESS;
}

static int owned_lock(void)
{
    static uint32_t word;

    word = (uint32_t)attack_call(SYS_gettid);
    /* The kernel looks its owner up: it is ourselves. */
    attack_call(SYS_futex, &word, (long)FUTEX_LOCK_PI, 0L, NULL, NULL, 0L);
    return errno == EDEADLK ? 0 : HARMLESS;
}

/* What the kernel does at the end of a thread, to a word in shared memory. */
static int robust_in_arena(void)
{
    static struct {
        void *next;
        long offset;
        void *pending;
    } head;

    head.next = scene.arena + ATTACK_ARENA - 64;
    head.offset = 8;
    memcpy(scene.arena + ATTACK_ARENA - 64, &(void *){&head}, sizeof(void *));
    return attack_call(SYS_set_robust_list, &head, 24L) ? errno : HARMLESS;
}

static int own_memory(void)
{
    static const volatile int constant = 1;
    int fd = open("/proc/self/mem", O_RDWR), two = 2;

    if (fd < 0)
        return errno;
    return pwrite(fd, &two, sizeof(two), (off_t)(uintptr_t)&constant) < 0 ? errno : HARMLESS;
}

static int own_memory_shown(void)
{
    return own_memory() == HARMLESS ? 0 : errno;
}

static int lock_memory(void)
{
    size_t size = (size_t)512 << 20;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int err = p == MAP_FAILED ? errno : mlock(p, size) ? errno : 0;

    if (p != MAP_FAILED)
        munmap(p, size);
    return err;
}

static int lock_all(void)
{
    return attack_errno(attack_call(SYS_mlockall, (long)MCL_FUTURE));
}

static const struct attempt list[] = {
    {"process_vm_readv of the monitor", read_by_vm, 0, NULL, NULL, 0},
    {"process_vm_writev to a process of its user", write_by_vm, 0, NULL, NULL, 0},
    {"/proc/PID/mem of the monitor", read_monitor, 0, NULL, NULL, 1},
    {"/proc/PID/mem of a process of its user", read_victim, 0, NULL, NULL, 1},
    {"/proc/PID/mem of the front", read_front, 0, NULL, NULL, 1},
    {"/proc/PID/mem of another worker", read_other_worker, 0, NULL, NULL, 1},
    {"/proc/PID/mem of another VM's front", read_other_front, 0, NULL, NULL, 1},
    {"/proc/PID/maps of the front", front_maps, 0, NULL, NULL, 1},
    {"/proc/PID/environ of the monitor", monitor_environment, 0, NULL, NULL, 1},
    {"/proc/PID/auxv of the monitor", monitor_syscall, 0, NULL, NULL, 1},
    {"/proc/PID/smaps of a process of its user", victim_stack, 0, NULL, NULL, 1},
    {"ptrace of a process of its user", trace_victim, 0, NULL, NULL, 0},
    {"ptrace of the front", trace_front, 0, NULL, NULL, 0},
    {"ptrace: be traced by the front", trace_me, ALONE, NULL, NULL, 0},
    {"move_pages of another process", move_pages_of, 0, NULL, NULL, 0},
    {"migrate_pages of another process", migrate, 0, NULL, NULL, 0},
    {"process_madvise of another process", advise_victim, 0, NULL, NULL, 0},
    {"process_mrelease of another process", release_victim, STRICT_ONLY, NULL, NULL, 1},
    {"pidfd_getfd from the monitor", fetch_descriptor, 0, NULL, NULL, 0},
    {"kcmp of front and monitor", compare, STRICT_ONLY, NULL, NULL, 0},
    {"get_robust_list of another process", robust_list_of, 0, NULL, NULL, 1},
    {"a PI futex that names the front its owner", futex_of_another, MAY_HARMLESS,
     "the front takes no priority from a worker that has none to give", owned_lock, 0},
    {"requeue to a PI futex of the front's", futex_requeue, MAY_HARMLESS,
     "nobody waits there but the worker itself", owned_lock, 0},
    {"a robust list that lies in the arena", robust_in_arena, MAY_HARMLESS | ALONE,
     "the kernel writes to the arena what the worker could write itself", owned_lock, 0},
    {"/proc/self/mem over its own constants", own_memory, MAY_HARMLESS, "it is its own memory",
     own_memory_shown, 0},
    {"mlock of half a gigabyte", lock_memory, 0, NULL, NULL, 0},
    {"mlockall", lock_all, STRICT_ONLY, NULL, NULL, 0},
};
ATTEMPTS(attack_memory, "memory", list);
