/* SPDX-License-Identifier: MIT
 *
 * worker_scheduling.c - attempts at processors, priorities and limits of others. The kernel takes numbers of
 * threads here, and asks only whether the user is the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

#define IOPRIO_IDLE (3L << 13)

struct attributes { /* of sched_setattr */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* Has the driver seen that this many processors are another one's, or cease to be, within a moment? */
static bool seen(unsigned which, uint32_t n, bool ceases)
{
    for (int ms = 0; ms < 50; ms++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if ((__atomic_load_n(&scene.page->cpus[which], __ATOMIC_SEQ_CST) == n) != ceases)
            return true;
    }
    return false;
}

/* `which`: its place in page->cpus. A call may be answered as if it had been made: what counts is where the
 * other one runs. */
static int processors_of(long pid, unsigned which)
{
    uint32_t before = __atomic_load_n(&scene.page->cpus[which], __ATOMIC_SEQ_CST);
    cpu_set_t had, one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (attack_call(SYS_sched_getaffinity, 0L, sizeof(had), &had) < 0)
        return errno;
    if (attack_call(SYS_sched_setaffinity, pid, sizeof(one), &one))
        return errno;
    if (!seen(which, before, true))
        return HARMLESS;
    attack_call(SYS_sched_setaffinity, pid, sizeof(had), &had);
    seen(which, before, false);
    return 0;
}

static int processors(void)
{
    return processors_of(scene.page->victim, 0);
}

static int processors_wide(void)
{
    return processors_of(scene.page->victim | 1L << 32, 0);
}

static int processors_of_front(void)
{
    return processors_of(scene.page->front, 1);
}

static int processors_of_other(void)
{
    return processors_of(scene.page->other_worker, 2);
}

static int own_processors(void)
{
    cpu_set_t had;

    if (attack_call(SYS_sched_getaffinity, 0L, sizeof(had), &had) < 0 ||
        attack_call(SYS_sched_setaffinity, 0L, sizeof(had), &had))
        return errno;
    return HARMLESS;
}

static int policy(void)
{
    struct sched_param p = {0};

    return attack_errno(
        attack_call(SYS_sched_setscheduler, (long)scene.page->victim, (long)SCHED_BATCH, &p));
}

static int parameters(void)
{
    struct sched_param p = {0};

    return attack_errno(attack_call(SYS_sched_setparam, (long)scene.page->victim, &p));
}

static int attributes_of(long pid)
{
    struct attributes a = {.size = sizeof(a), .policy = SCHED_OTHER, .nice = 5};

    return attack_errno(attack_call(SYS_sched_setattr, pid, &a, 0L));
}

static int attributes(void)
{
    return attributes_of(scene.page->victim);
}

static int real_time(void)
{
    struct sched_param p = {.sched_priority = 1};
    int err = attack_errno(attack_call(SYS_sched_setscheduler, 0L, (long)SCHED_FIFO, &p));

    p.sched_priority = 0;
    if (!err)
        attack_call(SYS_sched_setscheduler, 0L, (long)SCHED_OTHER, &p);
    return err;
}

static int deadline(void)
{
    struct attributes a = {.size = sizeof(a),
                           .policy = SCHED_DEADLINE,
                           .runtime = 1000000,
                           .deadline = 100000000,
                           .period = 100000000};
    int err = attack_errno(attack_call(SYS_sched_setattr, 0L, &a, 0L));

    a = (struct attributes){.size = sizeof(a)};
    if (!err)
        attack_call(SYS_sched_setattr, 0L, &a, 0L);
    return err;
}

static int priority(void)
{
    return attack_errno(
        attack_call(SYS_setpriority, (long)PRIO_PROCESS, (long)scene.page->victim, 5L));
}

static int priority_of_user(void)
{
    return attack_errno(attack_call(SYS_setpriority, (long)PRIO_USER, 0L, 0L));
}

static int priority_of_group(void)
{
    return attack_errno(attack_call(SYS_setpriority, (long)PRIO_PGRP, 0L, 0L));
}

static int more_priority(void)
{
    int err = attack_errno(attack_call(SYS_setpriority, (long)PRIO_PROCESS, 0L, -10L));

    if (!err)
        attack_call(SYS_setpriority, (long)PRIO_PROCESS, 0L, 0L);
    return err;
}

static int io_priority(void)
{
    return attack_errno(attack_call(SYS_ioprio_set, 1L, (long)scene.page->victim, IOPRIO_IDLE));
}

static int io_priority_of_user(void)
{
    return attack_errno(attack_call(SYS_ioprio_set, 3L, (long)getuid(), 0L));
}

static int limit_of(long pid, int resource)
{
    struct rlimit limit;

    /* What it has: harm enough. */
    if (attack_call(SYS_prlimit64, pid, (long)resource, NULL, &limit))
        return errno;
    return attack_errno(attack_call(SYS_prlimit64, pid, (long)resource, &limit, NULL));
}

static int limits(void)
{
    return limit_of(scene.page->victim, RLIMIT_NOFILE);
}

static int limits_of_front(void)
{
    return limit_of(scene.page->front, RLIMIT_CORE);
}

static int more(int resource)
{
    struct rlimit limit = {1 << 19, 1 << 19};

    return attack_errno(attack_call(SYS_prlimit64, 0L, (long)resource, &limit, NULL));
}

static int limit_shown(void)
{
    return limit_of(0, RLIMIT_NOFILE);
}

static int more_files(void)
{
    return more(RLIMIT_NOFILE);
}

static int more_core(void)
{
    return more(RLIMIT_CORE);
}

static int more_core_old(void)
{
    struct rlimit limit = {4096, 4096};

    return attack_errno(attack_call(SYS_setrlimit, (long)RLIMIT_CORE, &limit));
}

/* The group of the session that the front is in too. */
static int session(void)
{
    int fd = open("/proc/self/autogroup", O_WRONLY);

    return fd < 0 ? errno : write(fd, "1", 1) < 0 ? errno : 0;
}

static int write_own(const char *name, const char *text)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/%s", name);
    fd = open(path, O_WRONLY);
    return fd < 0 ? errno : write(fd, text, strlen(text)) < 0 ? errno : 0;
}

/* Whom the kernel ends when memory is short: somebody else. */
static int not_killed(void)
{
    return write_own("oom_score_adj", "-1000");
}

static int killed_first(void)
{
    return write_own("oom_score_adj", "1000");
}

static int not_killed_old(void)
{
    return write_own("oom_adj", "-17");
}

static int core_scheduling(void)
{
    /* ENODEV: no processor with siblings; the call was made. */
    long ret =
        attack_call(SYS_prctl, 62L /* PR_SCHED_CORE */, 1L, (long)scene.page->victim, 0L, 0L);

    return ret < 0 && errno != ENODEV && errno != EINVAL ? errno : 0;
}

static int every_processor(void)
{
    int err = attack_errno(attack_call(SYS_membarrier, 1L /* GLOBAL */, 0L, 0L));

    return err ? err : HARMLESS;
}

static int every_processor_shown(void)
{
    return every_processor() == HARMLESS ? 0 : errno;
}

static int own_processors_shown(void)
{
    return own_processors() == HARMLESS ? 0 : errno;
}

static const char placed[] = "it is answered, but the other one runs where it did";

static const struct attempt list[] = {
    {"sched_setaffinity of another process", processors, MAY_HARMLESS, placed, NULL, 0},
    {"sched_setaffinity, by a wide number", processors_wide, MAY_HARMLESS, placed, processors, 0},
    {"sched_setaffinity of the front", processors_of_front, MAY_HARMLESS, placed, NULL, 0},
    {"sched_setaffinity of another worker", processors_of_other, MAY_HARMLESS, placed, NULL, 0},
    {"sched_setaffinity of itself", own_processors, MAY_HARMLESS, "it is its own thread",
     own_processors_shown, 0},
    {"sched_setscheduler of another process", policy, STRICT_ONLY, NULL, NULL, 0},
    {"sched_setparam of another process", parameters, STRICT_ONLY, NULL, NULL, 0},
    {"sched_setattr of another process", attributes, STRICT_ONLY, NULL, NULL, 0},
    {"sched_setscheduler: real time", real_time, 0, NULL, NULL, 0},
    {"sched_setattr: a deadline", deadline, 0, NULL, NULL, 0},
    {"setpriority of another process", priority, STRICT_ONLY, NULL, NULL, 0},
    {"setpriority of a user", priority_of_user, STRICT_ONLY, NULL, NULL, 0},
    {"setpriority of the front's group", priority_of_group, STRICT_ONLY, NULL, NULL, 0},
    {"setpriority: above others", more_priority, 0, NULL, NULL, 0},
    {"ioprio_set of another process", io_priority, 0, NULL, NULL, 0},
    {"ioprio_set of a user", io_priority_of_user, 0, NULL, NULL, 0},
    {"prlimit of another process", limits, 0, NULL, NULL, 0},
    {"prlimit of the front", limits_of_front, 0, NULL, NULL, 0},
    {"prlimit: more descriptors", more_files, 0, NULL, limit_shown, 0},
    {"prlimit: core files", more_core, 0, NULL, limit_shown, 0},
    {"setrlimit: core files", more_core_old, 0, NULL, limit_shown, 0},
    {"weight of the session, by /proc/self/autogroup", session, 0, NULL, NULL, 1},
    {"/proc/self/oom_score_adj: others first", not_killed, 0, NULL, killed_first, 0},
    {"/proc/self/oom_adj: others first", not_killed_old, 0, NULL, killed_first, 0},
    {"core scheduling with another process", core_scheduling, STRICT_ONLY, NULL, NULL, 0},
    {"membarrier on every processor", every_processor, MAY_HARMLESS,
     "it waits for the others, they do not wait for it", every_processor_shown, 0},
};
ATTEMPTS(attack_scheduling, "scheduling", list);
