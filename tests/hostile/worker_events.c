/* SPDX-License-Identifier: MIT
 *
 * worker_events.c - attempts at doorbell and wake-up: what a flag or a count of a shared description can make
 * the other end do. Each is followed by rings of the doorbell and questions to the front, which has to answer.
 * Neither can be refused altogether, since the worker has to be rung and has to wake; the controls show
 * that a thread of the worker's own does block on what was prepared.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

static int flag(int fd, bool blocking)
{
    int flags = (int)attack_call(SYS_fcntl, (long)fd, (long)F_GETFL);

    if (flags < 0)
        return errno;
    flags = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    return attack_errno(attack_call(SYS_fcntl, (long)fd, (long)F_SETFL, (long)flags));
}

/* The other road to the same flag. */
static int flag_by_ioctl(int fd, bool blocking)
{
    int on = !blocking;

    return attack_errno(attack_call(SYS_ioctl, (long)fd, (unsigned long)FIONBIO, &on));
}

static bool has(int fd, short what)
{
    struct pollfd p = {.fd = fd, .events = what};

    return poll(&p, 1, 0) == 1 && p.revents & what;
}

/* Writes until there is no room. The other end's flag may say that it waits: never here. */
static void fill(int fd)
{
    uint64_t count = UINT64_MAX - 1;

    for (int i = 0; i < 100000; i++) {
        if (!has(fd, POLLOUT))
            return;
        flag(fd, false);
        if (write(fd, &count, sizeof(count)) < 0 && --count == 0)
            return;
        count = count == UINT64_MAX - 2 ? 1u << 20 : count;
    }
}

static void empty(int fd)
{
    char bytes[4096];

    while (has(fd, POLLIN)) {
        if (read(fd, bytes, sizeof(bytes)) <= 0)
            return;
    }
}

/* ---- Attempts ---- */

static int full_and_blocking(int fd, int (*set)(int, bool))
{
    int err, answer;

    fill(fd);
    err = set(fd, true);
    answer = attack_ask(ASK_FRONT);
    flag(fd, false);
    empty(fd);
    return answer == HARMLESS && err ? err : answer;
}

static int full_doorbell(void)
{
    return full_and_blocking(scene.doorbell, flag);
}

static int full_doorbell_by_ioctl(void)
{
    return full_and_blocking(scene.doorbell, flag_by_ioctl);
}

static int full_wakeup(void)
{
    return full_and_blocking(scene.wakeup, flag);
}

static int full_wakeup_by_ioctl(void)
{
    return full_and_blocking(scene.wakeup, flag_by_ioctl);
}

/* Two threads: one reads what the other writes, so that whoever reads on being told finds nothing. */
static volatile bool enough;

static void *take_away(void *unused)
{
    uint64_t n;

    while (!enough) {
        flag(scene.wakeup, true);
        if (has(scene.wakeup, POLLIN) && read(scene.wakeup, &n, sizeof(n)) < 0)
            return NULL;
    }
    return NULL;
}

static int taken_away(void)
{
    uint64_t one = 1;
    pthread_t thread;
    int answer = HARMLESS;

    enough = false;
    if (pthread_create(&thread, NULL, take_away, NULL))
        return errno;
    for (int round = 0; round < 10 && answer == HARMLESS; round++) {
        for (int i = 0; i < 3000; i++) {
            if (!has(scene.wakeup, POLLOUT) || write(scene.wakeup, &one, sizeof(one)) < 0)
                break;
        }
        answer = attack_ask(ASK_FRONT);
    }
    enough = true;
    while (pthread_tryjoin_np(thread, NULL) == EBUSY) {
        if (has(scene.wakeup, POLLOUT))
            (void)!write(scene.wakeup, &one, sizeof(one));
    }
    return answer;
}

static void *write_on(void *unused)
{
    uint64_t one = 1;

    while (!enough) {
        if (has(scene.wakeup, POLLOUT))
            (void)!write(scene.wakeup, &one, sizeof(one));
    }
    return NULL;
}

static int storm(void)
{
    pthread_t thread;
    int answer;

    enough = false;
    if (pthread_create(&thread, NULL, write_on, NULL))
        return errno;
    answer = attack_ask(ASK_FRONT);
    enough = true;
    pthread_join(thread, NULL);
    return answer;
}

static void *turn_flag(void *unused)
{
    while (!enough) {
        flag(scene.wakeup, true);
        flag(scene.doorbell, true);
    }
    return NULL;
}

/* The front may set the flag before it writes: between the two it is ours again. */
static int flags_turn(void)
{
    pthread_t thread;
    int answer;

    fill(scene.wakeup);
    fill(scene.doorbell);
    enough = false;
    if (pthread_create(&thread, NULL, turn_flag, NULL))
        return errno;
    answer = attack_ask(ASK_FRONT);
    enough = true;
    pthread_join(thread, NULL);
    return answer;
}

/* What the front says to the guest of a worker that is gone goes through the same wake-up. */
static int full_at_the_end(void)
{
    fill(scene.wakeup);
    fill(scene.doorbell);
    flag(scene.wakeup, true);
    flag(scene.doorbell, true);
    return HARMLESS;
}

/* Everybody who waits on a description is in one list, which is walked with every write. */
static int crowd(void)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    int err, n = 0;

    for (; n < 1500; n++) {
        int fd = epoll_create1(EPOLL_CLOEXEC);

        if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, scene.doorbell, &e) ||
            epoll_ctl(fd, EPOLL_CTL_ADD, scene.wakeup, &e))
            break;
    }
    err = errno;
    return n > 10 ? attack_ask(ASK_FRONT) : err;
}

/* As many as there can be: half of the descriptors are copies of `fd`, the others watch each of them. */
static long square(int fd, uint32_t events)
{
    struct epoll_event e = {.events = events | EPOLLET};
    int copies[700], watchers[700];
    long n = 0, m = 0, sum = 0;
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files))
        return 0;
    while (n < 700 && n < (long)files.rlim_cur / 2 - 20 && (copies[n] = dup(fd)) >= 0)
        n++;
    while (m < n && (watchers[m] = epoll_create1(EPOLL_CLOEXEC)) >= 0)
        m++;
    for (long i = 0; i < n * m; i++)
        sum += !epoll_ctl(watchers[i / n], EPOLL_CTL_ADD, copies[i % n], &e);
    return sum;
}

static int square_of_line(void)
{
    return square(scene.doorbell, EPOLLIN) < 100 ? errno : attack_ask(ASK_FRONT);
}

static int square_of_log(void)
{
    if (square(STDOUT_FILENO, EPOLLOUT) < 100)
        return errno;
    for (int i = 0; i < 16; i++) {
        if (write(STDOUT_FILENO, "x\n", 2) < 0)
            break;
    }
    return attack_ask(ASK_FRONT);
}

/* The other way to wait often: many threads, each with the same descriptor as many times as the sandbox lets
 * it. They never wake. */
#define MOST_POLLED 32

static void *wait_for(void *fd)
{
    struct pollfd all[MOST_POLLED];

    for (unsigned i = 0; i < MOST_POLLED; i++)
        all[i] = (struct pollfd){.fd = *(const int *)fd};
    while (poll(all, MOST_POLLED, -1) >= 0)
        ;
    return NULL;
}

static void *write_bytes(void *fd)
{
    for (;;)
        (void)!write(*(const int *)fd, "x", 1);
    return NULL;
}

static int threads_at(const int *fd, unsigned n)
{
    pthread_attr_t small;
    pthread_t thread;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64u << 10);
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&thread, &small, wait_for, (void *)fd))
            return EAGAIN;
    }
    /* Whoever reads finds more while he reads. */
    return pthread_create(&thread, &small, write_bytes, (void *)fd);
}

static int threads_at_line(void)
{
    int err = threads_at(&scene.doorbell, 500);

    return err ? err : attack_ask(ASK_FRONT);
}

static int threads_at_log(void)
{
    static const int log = STDOUT_FILENO;
    int err = threads_at(&log, 500);

    return err ? err : attack_ask(ASK_FRONT);
}

static int epoll_again(void)
{
    return epoll_create1(EPOLL_CLOEXEC) < 0 ? errno : 0;
}

static int old_epoll(void)
{
    return attack_errno(attack_call(SYS_epoll_create, 1L));
}

static int large_square(void)
{
    return square(scene.doorbell, EPOLLIN) < 200000 ? HARMLESS : 0;
}

static int poll_of(unsigned n)
{
    static struct pollfd all[4096];

    for (unsigned i = 0; i < n; i++)
        all[i] = (struct pollfd){.fd = scene.doorbell, .events = POLLPRI};
    return attack_errno(attack_call(SYS_poll, all, (long)n, 0L));
}

static int large_poll(void)
{
    return poll_of(1024);
}

static int large_ppoll(void)
{
    static struct pollfd all[1024];

    return attack_errno(attack_call(SYS_ppoll, all, 1024L, &(struct timespec){0}, NULL, 0L));
}

static int large_select(void)
{
    static fd_set none;

    return attack_errno(attack_call(SYS_select, 1000L, &none, NULL, NULL, &(struct timeval){0}));
}

static int large_pselect(void)
{
    static fd_set none;

    return attack_errno(
        attack_call(SYS_pselect6, 1000L, &none, NULL, NULL, &(struct timespec){0}, NULL));
}

static int many_descriptors(void)
{
    for (int i = 0; i < 1000; i++) {
        if (dup(scene.doorbell) < 0)
            return errno;
    }
    return 0;
}

static int exclusive(void)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    int fd = epoll_create1(EPOLL_CLOEXEC);

    return fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, scene.wakeup, &e) ? errno : attack_ask(ASK_FRONT);
}

static int async(void)
{
    int flags = (int)attack_call(SYS_fcntl, (long)scene.wakeup, (long)F_GETFL);

    if (attack_call(SYS_fcntl, (long)scene.wakeup, (long)F_SETFL,
                    (long)(flags | O_ASYNC | O_APPEND)))
        return errno;
    return attack_ask(ASK_FRONT);
}

static int too_much(void)
{
    uint64_t all = UINT64_MAX;

    return write(scene.wakeup, &all, sizeof(all)) < 0 ? errno : attack_ask(ASK_FRONT);
}

static int odd_sizes(void)
{
    char bytes[64] = {0};

    flag(scene.wakeup, false);
    for (size_t n = 0; n < sizeof(bytes); n++) {
        if (has(scene.wakeup, POLLOUT))
            (void)!write(scene.wakeup, bytes, n);
    }
    return attack_ask(ASK_FRONT);
}

static int others_in_their_place(void)
{
    int null = open("/dev/null", O_RDWR);

    if (null < 0 || dup2(null, scene.doorbell) < 0 || dup2(null, scene.wakeup) < 0)
        return errno;
    return attack_ask(ASK_FRONT);
}

static int lock_them(void)
{
    struct flock l = {.l_type = F_WRLCK};

    for (int fd = 0; fd < 8; fd++)
        attack_call(SYS_fcntl, (long)fd, (long)F_SETLK, &l);
    for (int fd = 0; fd < 8; fd++)
        attack_call(SYS_fcntl, (long)fd, 37L /* F_OFD_SETLK */, &l);
    return attack_ask(ASK_FRONT);
}

/* ---- Control: a thread of its own blocks on a full description whose flag is cleared ---- */

static int own_event;
static volatile bool wrote;

static void *write_once(void *unused)
{
    uint64_t one = 1;

    wrote = write(own_event, &one, sizeof(one)) > 0;
    return NULL;
}

static int own_thread_blocks(void)
{
    uint64_t most = UINT64_MAX - 1;
    pthread_t thread;
    bool blocked;

    own_event = eventfd(0, EFD_NONBLOCK);
    wrote = false;
    if (own_event < 0 || write(own_event, &most, sizeof(most)) < 0 || flag(own_event, true))
        return errno;
    pthread_create(&thread, NULL, write_once, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    blocked = !wrote;
    (void)!read(own_event, &most, sizeof(most));
    pthread_join(thread, NULL);
    return blocked && wrote ? 0 : HARMLESS;
}

/* ---- Of the same kind, without a worker: the driver plays a program with a socket of the front's ---- */

static int tap(void)
{
    return attack_ask(ASK_TAP);
}

static int refused(void)
{
    return attack_ask(ASK_REFUSED);
}

static int served(void)
{
    return attack_ask(ASK_SERVED);
}

static const char answers[] = "the front answers as before";

#define EVENT(name, run, more) {name, run, MAY_HARMLESS | (more), answers, own_thread_blocks, 0}

static const struct attempt list[] = {
    EVENT("doorbell full, O_NONBLOCK cleared by fcntl", full_doorbell, 0),
    EVENT("doorbell full, O_NONBLOCK cleared by FIONBIO", full_doorbell_by_ioctl, 0),
    EVENT("wake-up full, O_NONBLOCK cleared by fcntl", full_wakeup, 0),
    EVENT("wake-up full, O_NONBLOCK cleared by FIONBIO", full_wakeup_by_ioctl, 0),
    EVENT("wake-ups taken away by a thread before the front", taken_away, 0),
    EVENT("wake-ups without end", storm, 0),
    EVENT("flags turned by a thread while both are full", flags_turn, ALONE),
    EVENT("both full and blocking when the worker ends", full_at_the_end, ALONE),
    EVENT("1,500 watchers of doorbell and wake-up", crowd, ALONE),
    {"as many watchers of the line as there can be", square_of_line, ALONE | MAY_HARMLESS, answers,
     large_square, 0},
    {"as many watchers of the log as there can be", square_of_log, ALONE | MAY_HARMLESS, answers,
     large_square, 0},
    EVENT("500 threads that wait for the line, and one that writes", threads_at_line, ALONE),
    EVENT("500 threads that wait for the log, and one that writes", threads_at_log, ALONE),
    {"an epoll", epoll_again, 0, NULL, NULL, 0},
    {"an epoll by the old call", old_epoll, 0, NULL, NULL, 0},
    {"the line 1,024 times in a poll", large_poll, 0, NULL, NULL, 0},
    {"a ppoll of 1,024", large_ppoll, 0, NULL, NULL, 0},
    {"a select of 1,000", large_select, 0, NULL, NULL, 0},
    {"a pselect of 1,000", large_pselect, 0, NULL, NULL, 0},
    {"1,000 descriptors", many_descriptors, ALONE, NULL, NULL, 0},
    EVENT("an exclusive watcher of the wake-up", exclusive, 0),
    EVENT("O_ASYNC on the wake-up", async, 0),
    EVENT("a wake-up of 2^64 - 1", too_much, 0),
    EVENT("wake-ups of odd sizes", odd_sizes, 0),
    EVENT("locks on all that it has open", lock_them, 0),
    EVENT("a client's tap device in the place of a file", tap, 0),
    EVENT("a client that is refused, its events full", refused, 0),
    EVENT("a client whose worker ends, its events full", served, 0),
    EVENT("other files in their place", others_in_their_place, ALONE),
};
ATTEMPTS(attack_events, "events", list);
