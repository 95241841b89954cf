/* SPDX-License-Identifier: MIT
 *
 * cache_lock.c - preloaded into a worker, locks a file of the shader cache again and again, as NVIDIA's
 * libraries do, and writes into it what it got, and what somebody who then wants it by flock() got: two errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static void *lock(void *path)
{
    for (;; usleep(20000)) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR | O_CLOEXEC), other = open(path, O_RDWR | O_CLOEXEC);
        int got = fcntl(fd, F_SETLK, &whole) ? errno : 0;
        int others = flock(other, LOCK_EX | LOCK_NB) ? errno : 0;

        dprintf(other, "%d %d\n", got, others);
        whole.l_type = F_UNLCK;
        fcntl(fd, F_SETLK, &whole);
        close(fd);
        close(other);
    }
    return NULL;
}

/* In a worker that serves, not in vgr-device and not in its probe. */
static void __attribute__((constructor)) start(int argc, char **argv)
{
    pthread_t thread;

    if (argc == 2 && !strcmp(argv[1], "--boot"))
        pthread_create(&thread, NULL, lock, getenv("CACHE_LOCK_FILE"));
}
