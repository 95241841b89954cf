/* SPDX-License-Identifier: MIT
 *
 * stray_call.c - preloaded into a worker, makes a system call that the strict sandbox does not know,
 * from a thread that is older than the filter: as a driver might that nobody tried.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void *call(void *arg)
{
    for (;;) {
        struct sigevent none = {.sigev_notify = SIGEV_NONE};
        timer_t timer;

        if (!timer_create(CLOCK_MONOTONIC, &none, &timer))
            timer_delete(timer);
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
