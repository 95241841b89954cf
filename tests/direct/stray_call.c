/* SPDX-License-Identifier: MIT
 *
 * stray_call.c - preloaded into a worker, makes a system call that the strict sandbox does not know,
 * from a thread that is older than the filter: as a driver might that nobody tried.
 */
#include <pthread.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static void *call(void *arg)
{
    for (;;) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

        if (fd >= 0)
            close(fd);
        usleep(100000);
    }
    return arg;
}

/* In a worker that serves, not in vgr-device and not in its probe. */
static void __attribute__((constructor)) start(int argc, char **argv)
{
    pthread_t thread;

    if (argc == 2 && !strcmp(argv[1], "--boot"))
        pthread_create(&thread, NULL, call, NULL);
}
