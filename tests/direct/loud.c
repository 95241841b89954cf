/* SPDX-License-Identifier: MIT
 *
 * loud.c - preloaded into workers and guest programs by log-forged.sh. The guest says of its GGML what forges
 * lines. The worker writes such lines by itself, does to its stdout and stderr what a process can do to what
 * it shares with others, and then writes without end.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool in_worker; /* that serves: neither in vgr-device nor in its probe */

static bool say(const char *text)
{
    return write(STDERR_FILENO, text, strlen(text)) > 0;
}

const char *ggml_version(void);

const char *ggml_version(void)
{
    const char *(*real)(void) = (const char *(*)(void))dlsym(RTLD_NEXT, "ggml_version");
    static char version[64];

    snprintf(version, sizeof(version), "%s\nvgr-device: me\x1b[7m", real());
    return version;
}

static void *flood(void *arg)
{
    for (unsigned i = 0;; i++) {
        char line[64];
        int n = snprintf(line, sizeof(line), "flood %u\n", i);

        if (syscall(SYS_write, i & 1 ? STDOUT_FILENO : STDERR_FILENO, line, n) < 0)
            usleep(1000);
    }
    return arg;
}

/* The worker's last line before it serves is its own still; the flood follows. */
ssize_t write(int fd, const void *buf, size_t len)
{
    ssize_t n = syscall(SYS_write, fd, buf, len);
    pthread_t thread;

    if (in_worker && fd == STDERR_FILENO && memmem(buf, len, "guest with GGML", 15))
        pthread_create(&thread, NULL, flood, NULL);
    return n;
}

static void __attribute__((constructor)) start(int argc, char **argv)
{
    char c;

    if (argc != 2 || strcmp(argv[1], "--boot"))
        return;
    in_worker = true;
    if (!say("vgr-device: ready, says the worker\nvgr-worker[77]: somebody else\n") ||
        write(STDOUT_FILENO, "stdout\n", 7) != 7)
        say("bad: nobody reads it\n");
    if (fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096) >= 0)
        say("bad: the size of the log's pipe\n");
    if (fcntl(STDERR_FILENO, F_SETFL, 0) || recv(STDERR_FILENO, &c, 1, 0))
        say("bad: it is no socket that can be written only\n");
    say("\x1b[2J\xe2\x80\xae\n");
}
