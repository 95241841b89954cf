/* SPDX-License-Identifier: MIT
 *
 * sandbox_args.h - the arguments that sandbox_table.c allows and refuses. Included by it alone.
 *
 * The kernel takes commands as 32 bits, so they are compared as 32 bits: a bit above them must not get a
 * refused command through. Numbers of processes and threads are compared as a whole.
 */
#ifndef VGR_WORKER_SANDBOX_ARGS_H
#define VGR_WORKER_SANDBOX_ARGS_H

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "worker/sandbox_table.h"

/* Newer than the headers of some distribution that we build on. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif
#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY (1024 + 3)
#endif
#ifndef F_SETDELEG
#define F_SETDELEG (1024 + 16)
#endif
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH 78
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define UNDER(n, m, v) {.compare = VGR_ARG_IS, .arg = (n), .mask = (m), .value = (uint32_t)(v)}
#define IS(n, v)                                                                                   \
    {                                                                                              \
        #v,                                                                                        \
        {                                                                                          \
            UNDER(n, UINT32_MAX, v)                                                                \
        }                                                                                          \
    }
#define MASKED(n, m, v, t)                                                                         \
    {                                                                                              \
        t,                                                                                         \
        {                                                                                          \
            UNDER(n, m, v)                                                                         \
        }                                                                                          \
    }
#define WITH(n, bit)                                                                               \
    {                                                                                              \
        #bit,                                                                                      \
        {                                                                                          \
            UNDER(n, bit, bit)                                                                     \
        }                                                                                          \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL,                                                                                      \
        {{0}}                                                                                      \
    }

static const struct vgr_call_case others_thread[] = {
    {"another number than 0", {{VGR_ARG_NOT_ZERO, 0, 0, 0}}}, END};

static const struct vgr_call_case others_priority[] = {
    {"another number than 0", {{VGR_ARG_NOT_ZERO, 1, 0, 0}}}, END};

static const struct vgr_call_case others_process[] = {
    {"another process than its own", {{VGR_ARG_NOT_SELF, 0, 0, 0}}}, END};

/* Access 3 is for device calls alone: the kernel asks for the rights to read and to write, but Landlock is
 * told of neither. O_TRUNC cuts a file whatever the access is. */
#define CUT_UNWRITTEN "O_TRUNC without writing"
#define ACCESS_NONE   "access 3, neither reading nor writing"

static const struct vgr_call_case open_refused[] = {
    MASKED(1, 3, 3, ACCESS_NONE), MASKED(1, 3 | O_TRUNC, O_TRUNC, CUT_UNWRITTEN), END};
static const struct vgr_call_case openat_refused[] = {
    MASKED(2, 3, 3, ACCESS_NONE), MASKED(2, 3 | O_TRUNC, O_TRUNC, CUT_UNWRITTEN), END};

#define MORE_THAN(n, v)                                                                            \
    {                                                                                              \
        "more than " #v,                                                                           \
        {                                                                                          \
            {                                                                                      \
                .compare = VGR_ARG_ABOVE, .arg = (n), .value = (v)                                 \
            }                                                                                      \
        }                                                                                          \
    }
/* VGR_SANDBOX_PART */
static const struct vgr_call_case long_refused[] = {MORE_THAN(2, 131072), END};
static const struct vgr_call_case mincore_refused[] = {MORE_THAN(1, 1048576), END};
static const struct vgr_call_case close_range_refused[] = {WITH(2, CLOSE_RANGE_UNSHARE), END};
/* More than a driver waits for. */
static const struct vgr_call_case poll_refused[] = {MORE_THAN(1, 32), END};
static const struct vgr_call_case select_refused[] = {MORE_THAN(0, 32), END};

/* Before Linux 5.18 LOCK_MAND made locks that no other excludes. */
static const struct vgr_call_case flock_refused[] = {
    MASKED(1, (uint32_t)~LOCK_NB, LOCK_SH, "LOCK_SH"), MASKED(1, 32, 32, "LOCK_MAND"), END};

static const struct vgr_call_case msync_refused[] = {WITH(2, MS_SYNC), END};
static const struct vgr_call_case mmap_refused[] = {WITH(3, MAP_HUGETLB), END};
static const struct vgr_call_case memfd_refused[] = {WITH(1, MFD_HUGETLB), END};

static const struct vgr_call_case madvise_only[] = {IS(2, MADV_NORMAL),
                                                    IS(2, MADV_RANDOM),
                                                    IS(2, MADV_SEQUENTIAL),
                                                    IS(2, MADV_WILLNEED),
                                                    IS(2, MADV_DONTNEED),
                                                    IS(2, MADV_FREE),
                                                    IS(2, MADV_DONTFORK),
                                                    IS(2, MADV_DOFORK),
                                                    IS(2, MADV_HUGEPAGE),
                                                    IS(2, MADV_NOHUGEPAGE),
                                                    IS(2, MADV_DONTDUMP),
                                                    IS(2, MADV_DODUMP),
                                                    IS(2, MADV_POPULATE_READ),
                                                    IS(2, MADV_POPULATE_WRITE),
                                                    IS(2, MADV_GUARD_INSTALL),
                                                    IS(2, MADV_GUARD_REMOVE),
                                                    END};
static const struct vgr_call_case madvise_refused[] = {
    IS(2, MADV_REMOVE), IS(2, MADV_HWPOISON), IS(2, MADV_SOFT_OFFLINE), IS(2, MADV_MERGEABLE), END};

#define FLAGS_REFUSED (O_ASYNC | O_DIRECT | O_NOATIME)

static const struct vgr_call_case fcntl_only[] = {
    IS(1, F_DUPFD),
    IS(1, F_DUPFD_CLOEXEC),
    IS(1, F_DUPFD_QUERY),
    IS(1, F_GETFD),
    IS(1, F_SETFD),
    IS(1, F_GETFL),
    {"F_SETFL without O_ASYNC, O_DIRECT, O_NOATIME",
     {UNDER(1, UINT32_MAX, F_SETFL), UNDER(2, FLAGS_REFUSED, 0)}},
    IS(1, F_GETLK),
    IS(1, F_OFD_GETLK),
    IS(1, F_ADD_SEALS),
    IS(1, F_GET_SEALS),
    END};
static const struct vgr_call_case fcntl_refused[] = {
    IS(1, F_SETOWN),
    IS(1, F_SETOWN_EX),
    IS(1, F_SETSIG),
    {"F_SETFL with O_ASYNC", {UNDER(1, UINT32_MAX, F_SETFL), UNDER(2, O_ASYNC, O_ASYNC)}},
    {"F_SETFL with O_DIRECT", {UNDER(1, UINT32_MAX, F_SETFL), UNDER(2, O_DIRECT, O_DIRECT)}},
    IS(1, F_NOTIFY),
    IS(1, F_SETLEASE),
    IS(1, F_SETDELEG),
    IS(1, F_SETPIPE_SZ),
    IS(1, F_SETLK),
    IS(1, F_SETLKW),
    IS(1, F_OFD_SETLK),
    IS(1, F_OFD_SETLKW),
    IS(1, F_SET_RW_HINT),
    IS(1, F_SET_FILE_RW_HINT),
    END};

/* A kind of device calls is told by bits 8 to 15 of the command. Bits 30 and 31 say whether it reads or
 * writes an argument; old commands have neither, nor a size. */
#define TYPE(type)          ((uint32_t)(type) << 8)
#define OF_TYPE(type, text) MASKED(1, TYPE(0xff), TYPE(type), text)
#define OLD(type, text)     MASKED(1, 0xffffff00u, TYPE(type), text)
#define DIRECTED(dir, type, text)                                                                  \
    MASKED(1, 3u << 30 | TYPE(0xff), (uint32_t)(dir) << 30 | TYPE(type), text)

static const struct vgr_call_case ioctl_only[] = {
    OF_TYPE('d', "DRM (`d`)"),
    OF_TYPE('F', "NVIDIA (`F`)"),
    OLD(0, "nvidia-uvm: 0 to 255"),
    MASKED(1, UINT32_MAX, 0x30000001, "nvidia-uvm: begin (0x30000001)"),
    MASKED(1, UINT32_MAX, 0x30000002, "nvidia-uvm: end (0x30000002)"),
    DIRECTED(1, 'K', "KFD (`K`), writing"),
    DIRECTED(2, 'K', "reading"),
    DIRECTED(3, 'K', "both"),
    OF_TYPE('G', "WSL's dxg (`G`)"),
    OF_TYPE('b', "dma-buf (`b`)"),
    OF_TYPE('>', "sync_file (`>`)"),
    IS(1, FIOCLEX),
    IS(1, FIONCLEX),
    IS(1, FIONREAD),
    IS(1, TCGETS),
    IS(1, TIOCGWINSZ),
    END};
static const struct vgr_call_case ioctl_refused[] = {
    IS(1, FIOASYNC),
    IS(1, FIONBIO),
    OF_TYPE(0x89, "sockets' (FIOSETOWN, SIOCSPGRP, all of 0x89)"),
    IS(1, TIOCSTI),
    IS(1, TIOCLINUX),
    IS(1, TIOCSCTTY),
    IS(1, TIOCNOTTY),
    IS(1, TIOCSPGRP),
    IS(1, TIOCSETD),
    IS(1, TIOCCONS),
    IS(1, TIOCEXCL),
    IS(1, TIOCSWINSZ),
    IS(1, TCSETS),
    IS(1, TCSETSW),
    IS(1, TCSETSF),
    IS(1, TCFLSH),
    IS(1, TCXONC),
    OLD('K', "consoles' (`K` without an argument)"),
    OF_TYPE('V', "consoles' and cameras' (`V`)"),
    IS(1, FIBMAP),
    OF_TYPE('f', "file systems' (`f`"),
    OF_TYPE('X', "`X`"),
    OF_TYPE('v', "`v`"),
    OF_TYPE(0x94, "0x94, with FICLONE)"),
    OF_TYPE(0x12, "block devices' (0x12)"),
    OF_TYPE('L', "loop devices' (`L`)"),
    DIRECTED(1, 'T', "tap devices' (`T` with an argument"),
    DIRECTED(2, 'T', "or an answer"),
    DIRECTED(3, 'T', "or both)"),
    OF_TYPE(';', "VFIO (`;`)"),
    OF_TYPE(0xae, "KVM (0xae)"),
    OF_TYPE(0xaf, "vhost (0xaf)"),
    OF_TYPE(0xaa, "userfaultfd (0xaa)"),
    OF_TYPE(0xb7, "namespaces' (0xb7)"),
    END};

/* The operations for priority inheritance (PI) read the number of the lock's owner from memory. The kernel
 * looks for that thread in all processes. Two flags do not belong to the operation. */
#define OPERATION(op) MASKED(1, ~(uint32_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), op, #op)

static const struct vgr_call_case futex_only[] = {
    OPERATION(FUTEX_WAIT),        OPERATION(FUTEX_WAKE),
    OPERATION(FUTEX_REQUEUE),     OPERATION(FUTEX_CMP_REQUEUE),
    OPERATION(FUTEX_WAKE_OP),     OPERATION(FUTEX_WAIT_BITSET),
    OPERATION(FUTEX_WAKE_BITSET), END};
static const struct vgr_call_case futex_refused[] = {OPERATION(FUTEX_LOCK_PI),
                                                     OPERATION(FUTEX_LOCK_PI2),
                                                     OPERATION(FUTEX_TRYLOCK_PI),
                                                     OPERATION(FUTEX_UNLOCK_PI),
                                                     OPERATION(FUTEX_WAIT_REQUEUE_PI),
                                                     OPERATION(FUTEX_CMP_REQUEUE_PI),
                                                     END};

/* What pthread_create() of glibc asks for; musl adds CLONE_DETACHED. */
#define THREAD_FLAGS                                                                               \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |            \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct vgr_call_case clone_only[] = {
    MASKED(0, UINT32_MAX, THREAD_FLAGS, "glibc's flags for a thread"),
    MASKED(0, UINT32_MAX, THREAD_FLAGS | CLONE_DETACHED, "musl's"), END};
static const struct vgr_call_case clone_refused[] = {
    MASKED(0, CLONE_THREAD, 0, "anything but a thread"),
    WITH(0, CLONE_NEWNS),
    WITH(0, CLONE_NEWCGROUP),
    WITH(0, CLONE_NEWUTS),
    WITH(0, CLONE_NEWIPC),
    WITH(0, CLONE_NEWUSER),
    WITH(0, CLONE_NEWPID),
    WITH(0, CLONE_NEWNET),
    WITH(0, CLONE_NEWTIME),
    END};

static const struct vgr_call_case prctl_only[] = {
    IS(0, PR_SET_NAME),         IS(0, PR_GET_NAME),
    IS(0, PR_SET_VMA),          IS(0, PR_GET_DUMPABLE),
    IS(0, PR_GET_NO_NEW_PRIVS), IS(0, PR_CAPBSET_READ),
    IS(0, PR_SVE_GET_VL),       END};
static const struct vgr_call_case prctl_refused[] = {IS(0, PR_SET_PDEATHSIG),
                                                     IS(0, PR_SET_DUMPABLE),
                                                     IS(0, PR_SET_PTRACER),
                                                     IS(0, PR_SET_CHILD_SUBREAPER),
                                                     IS(0, PR_SET_KEEPCAPS),
                                                     IS(0, PR_SET_SECUREBITS),
                                                     IS(0, PR_CAP_AMBIENT),
                                                     IS(0, PR_SET_MM),
                                                     IS(0, PR_SET_TIMING),
                                                     IS(0, PR_SET_TSC),
                                                     IS(0, PR_SET_TIMERSLACK),
                                                     IS(0, PR_SET_SPECULATION_CTRL),
                                                     IS(0, PR_SET_SECCOMP),
                                                     IS(0, PR_SET_IO_FLUSHER),
                                                     IS(0, PR_SET_SYSCALL_USER_DISPATCH),
                                                     IS(0, PR_SET_MDWE),
                                                     IS(0, PR_SET_MEMORY_MERGE),
                                                     IS(0, PR_SET_THP_DISABLE),
                                                     IS(0, PR_MCE_KILL),
                                                     IS(0, PR_SCHED_CORE),
                                                     IS(0, PR_FUTEX_HASH),
                                                     IS(0, PR_TASK_PERF_EVENTS_DISABLE),
                                                     IS(0, PR_TASK_PERF_EVENTS_ENABLE),
                                                     END};

/* kcmp() compares the descriptors of two processes. */
static const struct vgr_call_case kcmp_only[] = {
    {"its own descriptors", {{VGR_ARG_SELF, 0, 0, 0}, {VGR_ARG_SELF, 1, 0, 0}}}, END};
static const struct vgr_call_case kcmp_refused[] = {
    {"another process first", {{VGR_ARG_NOT_SELF, 0, 0, 0}}},
    {"or second", {{VGR_ARG_NOT_SELF, 1, 0, 0}}},
    END};

#endif
