/* SPDX-License-Identifier: MIT
 *
 * worker_resources.c - attempts to use up what others need. There is no promise about processors and memory
 * (docs/security.md); what is tried here in moderate numbers has to end with the worker, and the front has to
 * open contexts meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

static volatile bool enough;

static void *sleep_on(void *unused)
{
    while (!enough)
        poll(NULL, 0, 100);
    return NULL;
}

static void *spin_on(void *unused)
{
    while (!enough) {
    }
    return NULL;
}

static int threads(unsigned n, void *(*what)(void *))
{
    pthread_attr_t small;
    pthread_t thread;
    unsigned made = 0;
    int err = 0, answer;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    enough = false;
    while (made < n && !(err = pthread_create(&thread, &small, what, NULL)))
        made++;
    answer = attack_ask(ASK_OPEN);
    enough = true;
    return made ? answer : err;
}

static int sleepers(void)
{
    return threads(500, sleep_on);
}

static int spinners(void)
{
    return threads(4, spin_on);
}

static int memory(void)
{
    size_t size = (size_t)256 << 20;
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return errno;
    for (size_t i = 0; i < size; i += 4096)
        p[i] = 1;
    return attack_ask(ASK_OPEN);
}

static int files_in_memory(void)
{
    unsigned n = 0;

    for (; n < 64; n++) {
        int fd = memfd_create("much", MFD_CLOEXEC);

        if (fd < 0 || ftruncate(fd, 1 << 20) || fallocate(fd, 0, 0, 1 << 20))
            break;
    }
    return n ? attack_ask(ASK_OPEN) : errno;
}

static int mappings(void)
{
    unsigned n = 0;

    for (; n < 40000; n++) {
        int prot = n % 2 ? PROT_READ : PROT_READ | PROT_WRITE;

        if (mmap(NULL, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            break;
    }
    return n ? attack_ask(ASK_OPEN) : errno;
}

/* As many as it gets of something, then a fresh context. */
static int many(int (*one)(void), unsigned most)
{
    unsigned n = 0;

    while (n < most && one() >= 0)
        n++;
    return n ? attack_ask(ASK_OPEN) : errno;
}

static int one_descriptor(void)
{
    return dup(scene.wakeup);
}

static int one_event(void)
{
    return eventfd(0, 0);
}

static int one_timer(void)
{
    struct itimerspec t = {{0, 100000}, {0, 100000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);

    return fd < 0 ? fd : timerfd_settime(fd, 0, &t, NULL) ? -1 : fd;
}

static int one_pipe(void)
{
    int p[2];

    return pipe2(p, O_NONBLOCK) ? -1 : (int)write(p[1], "x", 1);
}

static int one_watch(void)
{
    return (int)attack_call(SYS_inotify_init1, 0L);
}

static int one_signal(void)
{
    siginfo_t si = {.si_signo = SIGRTMIN + 3, .si_code = SI_QUEUE};

    return (int)attack_call(SYS_rt_sigqueueinfo, (long)getpid(), (long)(SIGRTMIN + 3), &si);
}

static int one_posix_timer(void)
{
    int timer;

    return (int)attack_call(SYS_timer_create, (long)CLOCK_MONOTONIC, NULL, &timer);
}

static int one_lock(void)
{
    static int fd = -1;
    static off_t at;
    struct flock l = {.l_type = F_WRLCK, .l_start = at += 2, .l_len = 1};

    if (fd < 0)
        fd = memfd_create("locks", MFD_CLOEXEC);
    return (int)attack_call(SYS_fcntl, (long)fd, (long)F_SETLK, &l);
}

static int descriptors(void)
{
    return many(one_descriptor, 100000);
}

static int events(void)
{
    return many(one_event, 100000);
}

static int timers(void)
{
    return many(one_timer, 1000);
}

static int pipes(void)
{
    return many(one_pipe, 3000);
}

static int signals(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    return many(one_signal, 200000);
}

static int posix_timers(void)
{
    return many(one_posix_timer, 1000);
}

static int locks(void)
{
    return many(one_lock, 5000);
}

/* 128 of them are all that a user has, in whatever process. */
static int watches(void)
{
    unsigned n = 0;

    while (n < 20000 && one_watch() >= 0)
        n++;
    return n > 100 ? 0 : errno;
}

/* All that the machine has. */
static int async_io(void)
{
    unsigned long ctx = 0;

    return attack_errno(attack_call(SYS_io_setup, 1024L, &ctx));
}

static int polls(void)
{
    int outer[100], inner[100];
    unsigned n = 0;

    for (int i = 0; i < 100; i++) {
        outer[i] = epoll_create1(EPOLL_CLOEXEC);
        inner[i] = eventfd(0, 0);
        if (outer[i] < 0 || inner[i] < 0)
            return errno;
    }
    for (int i = 0; i < 100; i++) {
        for (int j = 0; j < 100; j++) {
            struct epoll_event e = {.events = EPOLLIN};

            n += !epoll_ctl(outer[i], EPOLL_CTL_ADD, inner[j], &e);
        }
    }
    return n ? attack_ask(ASK_OPEN) : errno;
}

/* A user has so many descriptors under way in messages; whoever sends more is refused. */
static int under_way(void)
{
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(128 * sizeof(int))];
    } control = {.h = {.cmsg_len = CMSG_LEN(128 * sizeof(int)),
                       .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS}};
    struct iovec v = {(void *)"x", 1};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int s[2], *fds = (int *)(void *)CMSG_DATA(&control.h);
    unsigned n = 0;

    if (attack_call(SYS_socketpair, (long)AF_UNIX, (long)SOCK_DGRAM, 0L, s))
        return errno;
    for (int i = 0; i < 128; i++)
        fds[i] = scene.wakeup;
    while (n < 100 && attack_call(SYS_sendmsg, (long)s[0], &m, (long)MSG_DONTWAIT) > 0)
        n++;
    return n ? attack_ask(ASK_OPEN) : errno;
}

static int stop_itself(void)
{
    /* The front has to be able to end it nevertheless: the driver closes the context. */
    return raise(SIGSTOP) ? errno : HARMLESS;
}

static int shown(void)
{
    return eventfd(0, 0) < 0 ? errno : 0;
}

static const char ends[] = "it ends with the worker; contexts open and compute meanwhile";

#define USED(name, run, more) {name, run, MAY_HARMLESS | ALONE | (more), ends, shown, 0}

static const struct attempt list[] = {
    USED("500 threads", sleepers, 0),
    USED("four threads that compute", spinners, 0),
    USED("256 MiB of memory", memory, 0),
    USED("64 MiB in files of memory", files_in_memory, 0),
    USED("40,000 mappings", mappings, 0),
    USED("every descriptor that it may have", descriptors, 0),
    USED("events, as many as there are", events, 0),
    USED("1,000 timers of 10 kHz", timers, 0),
    USED("pipes with something in them", pipes, 0),
    USED("signals for itself, queued", signals, 0),
    USED("1,000 POSIX timers", posix_timers, 0),
    USED("5,000 locks", locks, 0),
    USED("10,000 watches of epoll", polls, 0),
    USED("descriptors under way in messages", under_way, STRICT_ONLY),
    {"all inotify instances of its user", watches, STRICT_ONLY | ALONE, NULL, NULL, 0},
    {"requests of the machine's asynchronous I/O", async_io, STRICT_ONLY, NULL, NULL, 0},
    USED("stopped, for ever", stop_itself, 0),
};
ATTEMPTS(attack_resources, "resources", list);
