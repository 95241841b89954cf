/* SPDX-License-Identifier: MIT
 *
 * worker_signals.c - attempts to signal somebody else, by every road. The target is a process of the worker's
 * user that counts what comes; landlock and the filter tell it no more from the front than the kernel does.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

#ifndef F_SETSIG
#define F_SETSIG     10
#define F_SETOWN_EX  15
#define F_OWNER_TID  0
#define F_OWNER_PID  1
#define F_OWNER_PGRP 2
#endif

static uint32_t before;

static long victim(void)
{
    before = __atomic_load_n(&scene.page->hits, __ATOMIC_SEQ_CST);
    return scene.page->victim;
}

static int sent(long ret)
{
    return ret < 0 ? errno : attack_hit(before);
}

/* ---- Calls that send ---- */

static int by_kill(void)
{
    return sent(attack_call(SYS_kill, victim(), (long)SIGUSR1));
}

static int by_kill_wide(void)
{
    return sent(attack_call(SYS_kill, victim() | 1L << 32, (long)SIGUSR1));
}

static int to_front(void)
{
    return attack_errno(attack_call(SYS_kill, (long)scene.page->front, 0L));
}

static int to_other_worker(void)
{
    return attack_errno(attack_call(SYS_kill, (long)scene.page->other_worker, 0L));
}

static int to_everybody(void)
{
    return attack_errno(attack_call(SYS_kill, -1L, 0L));
}

static int to_group(void)
{
    return attack_errno(attack_call(SYS_kill, 0L, 0L));
}

static int to_victims_group(void)
{
    return sent(attack_call(SYS_kill, -victim(), (long)SIGUSR1));
}

static int by_tkill(void)
{
    return sent(attack_call(SYS_tkill, victim(), (long)SIGUSR1));
}

static int by_tgkill(void)
{
    long pid = victim();

    return sent(attack_call(SYS_tgkill, pid, pid, (long)SIGUSR1));
}

/* The group is our own number, the thread another's. */
static int by_tgkill_mixed(void)
{
    return sent(attack_call(SYS_tgkill, (long)getpid(), victim(), (long)SIGUSR1));
}

static int by_queue(void)
{
    siginfo_t si = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};

    return sent(attack_call(SYS_rt_sigqueueinfo, victim(), (long)SIGUSR1, &si));
}

static int by_thread_queue(void)
{
    siginfo_t si = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    long pid = victim();

    return sent(attack_call(SYS_rt_tgsigqueueinfo, pid, pid, (long)SIGUSR1, &si));
}

static int by_pidfd(void)
{
    int fd = (int)attack_call(SYS_pidfd_open, victim(), 0L);

    return fd < 0 ? errno
                  : sent(attack_call(SYS_pidfd_send_signal, (long)fd, (long)SIGUSR1, NULL, 0L));
}

static int by_proc(void)
{
    char name[32];
    int fd;

    snprintf(name, sizeof(name), "/proc/%ld", victim());
    fd = open(name, O_RDONLY | O_DIRECTORY);
    return fd < 0 ? errno
                  : sent(attack_call(SYS_pidfd_send_signal, (long)fd, (long)SIGUSR1, NULL, 0L));
}

/* ---- Descriptors that send ---- */

/* A pipe whose reading end signals `who` when something comes. */
static int by_pipe(int owner_cmd, long owner)
{
    int p[2];

    if (pipe(p))
        return errno;
    if (attack_call(SYS_fcntl, (long)p[0], (long)owner_cmd, owner))
        return errno;
    if (attack_call(SYS_fcntl, (long)p[0], (long)F_SETSIG, (long)SIGUSR1))
        return errno;
    if (attack_call(SYS_fcntl, (long)p[0], (long)F_SETFL, (long)(O_ASYNC | O_NONBLOCK)))
        return errno;
    return sent(write(p[1], "x", 1));
}

static int by_setown(void)
{
    return by_pipe(F_SETOWN, victim());
}

static int by_setown_wide(void)
{
    return by_pipe(F_SETOWN, victim() | 1L << 32);
}

static int by_setown_group(void)
{
    return by_pipe(F_SETOWN, -victim());
}

static int by_owner(int type)
{
    int owner[2] = {type, (int)victim()};

    return by_pipe(F_SETOWN_EX, (long)owner);
}

static int by_owner_thread(void)
{
    return by_owner(F_OWNER_TID);
}

static int by_owner_process(void)
{
    return by_owner(F_OWNER_PID);
}

static int by_owner_group(void)
{
    return by_owner(F_OWNER_PGRP);
}

/* Without fcntl: sockets take their owner by ioctl. The doorbell may be one. */
static int by_ioctl(unsigned long set_owner)
{
    int s[2], one = 1, who = (int)victim();

    if (attack_call(SYS_socketpair, (long)AF_UNIX, (long)SOCK_STREAM, 0L, s)) {
        if (attack_call(SYS_ioctl, (long)scene.doorbell, set_owner, &who))
            return errno;
        return HARMLESS; /* it is armed: nobody could be told to let it go off here */
    }
    if (attack_call(SYS_ioctl, (long)s[0], set_owner, &who))
        return errno;
    if (attack_call(SYS_ioctl, (long)s[0], (unsigned long)FIOASYNC, &one))
        return errno;
    return sent(write(s[1], "x", 1));
}

static int by_fiosetown(void)
{
    return by_ioctl(FIOSETOWN);
}

static int by_siocspgrp(void)
{
    return by_ioctl(SIOCSPGRP);
}

static int async_by_ioctl(void)
{
    int p[2], one = 1;

    if (pipe(p))
        return errno;
    if (attack_call(SYS_fcntl, (long)p[0], (long)F_SETOWN, victim()))
        return errno;
    if (attack_call(SYS_ioctl, (long)p[0], (unsigned long)FIOASYNC, &one))
        return errno;
    return sent(write(p[1], "x", 1));
}

/* The kernel says that a folder was read. */
static int by_folder(void)
{
    int fd = open("/usr/lib", O_RDONLY | O_DIRECTORY), file;
    char byte;

    if (fd < 0)
        return errno;
    victim();
    if (attack_call(SYS_fcntl, (long)fd, (long)F_SETSIG, (long)SIGUSR1))
        return errno;
    if (attack_call(SYS_fcntl, (long)fd, 1026L /* F_NOTIFY */, 0x80000001L /* DN_ACCESS, again */))
        return errno;
    if (attack_call(SYS_fcntl, (long)fd, (long)F_SETOWN, victim()))
        return errno;
    file = openat(fd, "os-release", O_RDONLY);
    return file < 0 ? errno : sent(read(file, &byte, 1));
}

/* ---- Timers and the like: they signal their maker, unless a number says otherwise ---- */

static int timer_for(long thread)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    int timer;

    ev._sigev_un._tid = (pid_t)thread;
    return attack_errno(attack_call(SYS_timer_create, (long)CLOCK_MONOTONIC, &ev, &timer));
}

static int by_timer(void)
{
    return timer_for(victim());
}

static int own_timer(void)
{
    return timer_for(attack_call(SYS_gettid));
}

static int alarm_itself(void)
{
    struct {
        struct timeval every, first;
    } t = {{0, 0}, {1000, 0}};

    return attack_call(SYS_setitimer, 0L, &t, NULL) ? errno : HARMLESS;
}

static int by_queue_of_messages(void)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    int mq = (int)attack_call(SYS_mq_open, "vgr-attack", (long)(O_CREAT | O_RDWR), 0600L, NULL);

    if (mq < 0)
        return errno;
    attack_call(SYS_mq_unlink, "vgr-attack");
    return attack_errno(attack_call(SYS_mq_notify, (long)mq, &ev));
}

/* ---- Children, and who hears of ends ---- */

static int child(long flags)
{
    long pid = attack_call(SYS_clone, flags, 0L, NULL, NULL, 0L);

    if (!pid)
        attack_call(SYS_exit_group, 0L);
    return pid < 0 ? errno : 0;
}

static int child_of_the_front(void)
{
    return child(CLONE_PARENT | SIGCHLD);
}

static int child_with_another_signal(void)
{
    signal(SIGUSR1, SIG_IGN); /* it would come to this process */
    return child(SIGUSR1);
}

static int outlive_front(void)
{
    return attack_errno(attack_call(SYS_prctl, (long)PR_SET_PDEATHSIG, 0L, 0L, 0L, 0L));
}

static int outlive_front_wide(void)
{
    return attack_errno(attack_call(SYS_prctl, PR_SET_PDEATHSIG | 1L << 32, 0L, 0L, 0L, 0L));
}

static int adopt_orphans(void)
{
    return attack_errno(attack_call(SYS_prctl, (long)PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L));
}

static int leave_group(void)
{
    return attack_errno(attack_call(SYS_setpgid, 0L, 0L));
}

static int leave_session(void)
{
    long ret = attack_call(SYS_setsid);

    /* A leader of a group may not: the call was made. */
    return ret < 0 && errno != EPERM ? errno : ret < 0 && !scene.page->control ? EPERM : 0;
}

static int move_victim_to_group(void)
{
    /* Only of children, says the kernel; with ESRCH it has looked. */
    return attack_errno(attack_call(SYS_setpgid, victim(), victim()));
}

static int ignore_all(void)
{
    for (int sig = 1; sig < 65; sig++)
        signal(sig, SIG_IGN);
    return HARMLESS;
}

static const char itself[] = "it signals the worker itself";

static const struct attempt list[] = {
    {"kill", by_kill, 0, NULL, NULL, 0},
    {"kill, by a wide number", by_kill_wide, 0, NULL, NULL, 0},
    {"kill the front", to_front, 0, NULL, NULL, 0},
    {"kill another worker", to_other_worker, 0, NULL, NULL, 0},
    {"kill everybody", to_everybody, 0, NULL, NULL, 0},
    {"kill the own group, the front in it", to_group, 0, NULL, NULL, 0},
    {"kill a group of others", to_victims_group, 0, NULL, NULL, 0},
    {"tkill", by_tkill, 0, NULL, NULL, 0},
    {"tgkill", by_tgkill, 0, NULL, NULL, 0},
    {"tgkill of another's thread as the own", by_tgkill_mixed, 0, NULL, by_tgkill, 0},
    {"rt_sigqueueinfo", by_queue, 0, NULL, NULL, 0},
    {"rt_tgsigqueueinfo", by_thread_queue, 0, NULL, NULL, 0},
    {"pidfd_send_signal", by_pidfd, 0, NULL, NULL, 0},
    {"pidfd_send_signal by a folder of /proc", by_proc, 0, NULL, NULL, 0},
    {"F_SETOWN, F_SETSIG and O_ASYNC", by_setown, 0, NULL, NULL, 0},
    {"F_SETOWN by a wide number", by_setown_wide, 0, NULL, NULL, 0},
    {"F_SETOWN of a group", by_setown_group, 0, NULL, NULL, 0},
    {"F_SETOWN_EX of a thread", by_owner_thread, 0, NULL, NULL, 0},
    {"F_SETOWN_EX of a process", by_owner_process, 0, NULL, NULL, 0},
    {"F_SETOWN_EX of a group", by_owner_group, 0, NULL, NULL, 0},
    {"FIOSETOWN and FIOASYNC on a socket", by_fiosetown, 0, NULL, NULL, 0},
    {"SIOCSPGRP and FIOASYNC on a socket", by_siocspgrp, 0, NULL, NULL, 0},
    {"F_SETOWN and FIOASYNC on a pipe", async_by_ioctl, 0, NULL, NULL, 0},
    {"F_NOTIFY on a folder", by_folder, 0, NULL, NULL, 0},
    {"timer_create for another's thread", by_timer, 0, NULL, own_timer, 0},
    {"setitimer", alarm_itself, MAY_HARMLESS, itself, own_timer, 0},
    {"mq_notify", by_queue_of_messages, 0, NULL, NULL, 0},
    {"clone a child for the front", child_of_the_front, 0, NULL, NULL, 0},
    {"clone a child that ends with another signal", child_with_another_signal, 0, NULL, NULL, 0},
    {"outlive the front", outlive_front, 0, NULL, NULL, 0},
    {"outlive the front, by a wide number", outlive_front_wide, 0, NULL, NULL, 0},
    {"become the parent of orphans", adopt_orphans, 0, NULL, NULL, 0},
    {"setpgid", leave_group, 0, NULL, NULL, 0},
    {"setsid", leave_session, 0, NULL, NULL, 0},
    {"setpgid of another process", move_victim_to_group, 0, NULL, leave_group, 0},
    {"ignore every signal", ignore_all, MAY_HARMLESS | ALONE,
     "the front kills with SIGKILL, which nobody can ignore", own_timer, 0},
};
ATTEMPTS(attack_signals, "signals", list);
