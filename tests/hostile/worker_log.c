/* SPDX-License-Identifier: MIT
 *
 * worker_log.c - attempts at the log and at what else descriptors 1 and 2 lead to. The driver reads the
 * front's log meanwhile and knows what must never be in it: control characters, a line that says FORGED and
 * does not say first which worker it is from, more than a worker may say.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile/worker.h"

static void say(int fd, const char *text, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    if (poll(&p, 1, 50) == 1 && p.revents & POLLOUT)
        (void)!write(fd, text, len);
}

static int both(const char *text, size_t len)
{
    for (int fd = 1; fd < 3; fd++)
        say(fd, text, len);
    return attack_ask(ASK_LOG);
}

#define SAY(text) both(text, sizeof(text) - 1)

static int forged(void)
{
    return SAY("vgr-device: FORGED: all is well\n");
}

static int forged_after_return(void)
{
    return SAY("x\rvgr-device: FORGED\n");
}

static int forged_without_end(void)
{
    return SAY("FORGED: a line that has no end");
}

static int forged_prefix(void)
{
    return SAY("x\nvgr-worker[1]: FORGED\n");
}

static int escapes(void)
{
    return SAY("\033[2J\033]0;title\007\n");
}

static int escapes_of_eight_bits(void)
{
    return SAY("\x9b"
               "2J\x90q\x9c\n");
}

static int zeros(void)
{
    return SAY("a\0b\0c\n");
}

static int not_text(void)
{
    return SAY("\xff\xfe\xc0\x80\xed\xa0\x80\n");
}

static int long_line(void)
{
    static char line[1 << 16];

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    return both(line, sizeof(line));
}

/* For a second, as fast as there is room. */
static int say_on(const char *text, size_t len)
{
    struct timespec now, end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec++;
    do {
        say(2, text, len);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
    return attack_ask(ASK_LOG);
}

static int flood(void)
{
    static char line[4096];

    memset(line, 'y', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    return say_on(line, sizeof(line));
}

static int flood_of_short_ones(void)
{
    return say_on("z\n", 2);
}

static int full(void)
{
    static char line[4096];

    memset(line, 'w', sizeof(line));
    for (int i = 0; i < 256; i++) {
        struct pollfd p = {.fd = 2, .events = POLLOUT};

        if (poll(&p, 1, 0) != 1)
            break;
        (void)!write(2, line, sizeof(line));
    }
    return attack_ask(ASK_MOUTH);
}

static int pipe_size(void)
{
    int err = 0;

    for (int fd = 1; fd < 3; fd++) {
        err = attack_errno(attack_call(SYS_fcntl, (long)fd, 1031L /* F_SETPIPE_SZ */, 4096L));
        if (!err)
            return 0;
    }
    return err;
}

static int own_pipe_size(void)
{
    int p[2];

    return pipe(p) ? errno : attack_errno(attack_call(SYS_fcntl, (long)p[1], 1031L, 1048576L));
}

/* Whoever writes to the log by the same description must not have to wait, or not, as it says. */
static int flags(void)
{
    int err = 0;

    for (int fd = 1; fd < 3; fd++) {
        long have = attack_call(SYS_fcntl, (long)fd, (long)F_GETFL);

        if (have < 0 ||
            attack_call(SYS_fcntl, (long)fd, (long)F_SETFL, have ^ O_NONBLOCK ^ O_APPEND))
            err = errno;
    }
    return err ? err : attack_ask(ASK_MOUTH);
}

static int read_it(void)
{
    char name[32];
    int err = 0;

    for (int fd = 1; fd < 3; fd++) {
        int again;

        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        again = open(name, O_RDWR | O_NONBLOCK);
        if (again >= 0)
            return 0;
        err = errno;
    }
    return err;
}

static int own_pipe_again(void)
{
    char name[32];
    int p[2];

    if (pipe(p))
        return errno;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[1]);
    return attack_errno(open(name, O_RDWR));
}

static int cut(void)
{
    return ftruncate(2, 0) ? errno : 0;
}

static int cut_own(void)
{
    return ftruncate((int)attack_call(SYS_memfd_create, "own", 0L), 0) ? errno : 0;
}

static int closed(void)
{
    close(1);
    close(2);
    return attack_ask(ASK_MOUTH);
}

static int said_by_guest(void)
{
    return attack_ask(ASK_GUEST); /* the driver's next context has a version with escapes */
}

static const char cleaned[] = "what comes to the log is clean, short, and says whose it is";

#define SPOKEN(name, run) {name, run, MAY_HARMLESS, cleaned, own_pipe_size, 0}

static const struct attempt list[] = {
    SPOKEN("a line as of the front", forged),
    SPOKEN("the same behind a carriage return", forged_after_return),
    SPOKEN("a line without an end", forged_without_end),
    SPOKEN("a line as of another worker", forged_prefix),
    SPOKEN("escapes for a terminal", escapes),
    SPOKEN("escapes of one byte", escapes_of_eight_bits),
    SPOKEN("zero bytes", zeros),
    SPOKEN("bytes that are no text", not_text),
    SPOKEN("a line of 64 KiB", long_line),
    SPOKEN("long lines without end", flood),
    SPOKEN("short lines without end", flood_of_short_ones),
    SPOKEN("the log full when the front has something to say", full),
    SPOKEN("a guest's version with escapes", said_by_guest),
    {"F_SETPIPE_SZ of the log's pipe", pipe_size, 0, NULL, own_pipe_size, 0},
    {"flags of the log's description", flags, MAY_HARMLESS, "they are not the front's",
     own_pipe_size, 0},
    {"the log opened again, for reading", read_it, 0, NULL, own_pipe_again, 0},
    {"the log cut off", cut, 0, NULL, cut_own, 0},
    {"the log closed", closed, MAY_HARMLESS | ALONE, "the front's is another", own_pipe_size, 0},
};
ATTEMPTS(attack_log, "log", list);
