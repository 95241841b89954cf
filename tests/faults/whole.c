/* SPDX-License-Identifier: MIT
 *
 * whole.c - the life of a front: it starts, a guest opens a context, computes and closes, and it ends.
 *
 *   whole vhost|direct|broker FOLDER VGR-DEVICE TIMES
 *
 * TIMES guests, one after another; the last has to get what it wants, whatever happened to those before it.
 * QEMU, or a monitor with the bridge in it, connects once more if its first try comes to nothing. Prints one
 * line, "right" or why not, with what the front still holds at the end. Exit status 0: all was right.
 * 3: the front, or the first guest, was refused something, and it was said. 1: anything else.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/worker_fronts.h"

enum { RIGHT = 0, BAD = 1, REFUSED = 3 };

static char said[4096];

/* What the front has written; it does not wait for more. */
static const char *log_of(struct front *f)
{
    struct pollfd p = {.fd = f->log, .events = POLLIN};
    size_t len = strlen(said);
    ssize_t n;

    while (len < sizeof(said) - 1 && poll(&p, 1, 0) == 1 &&
           (n = read(f->log, said + len, sizeof(said) - 1 - len)) > 0)
        said[len += (size_t)n] = '\0';
    return said;
}

static int end(const char *verdict, struct front *f, int status)
{
    printf("%s; its log: %s\n", verdict, *log_of(f) ? said : "nothing");
    return status;
}

/* One guest's life: 1 right, 0 refused, -1 wrong. */
static int live(struct front *f)
{
    uint64_t patience = front_now_ms() + FRONT_PATIENCE_MS;
    unsigned fds, workers = 1;
    struct guest g;
    int got = 0, right;

    if (!guest_open(&g, f, 0, false))
        return -1;
    if (guest_ready(&g) && guest_prepare(&g)) {
        right = guest_computes(&g);
        got = right > 0 ? 1 : right ? 0 : -1;
    }
    if (guest_state(&g) == VGR_STATE_FAILED)
        printf("failed: %.*s; ", (int)sizeof(g.ctl->error_text), g.ctl->error_text);
    if (!guest_close(&g) && got > 0)
        got = 0;
    while (workers && front_now_ms() < patience) {
        front_nap();
        front_holds(f, &fds, &workers, NULL);
    }
    return workers ? -1 : got;
}

/* Once more, as QEMU's reconnect= does. */
static bool connect_again(struct front *f)
{
    f->lost = false;
    if (f->kind == FRONT_VHOST) {
        close(f->conn);
        return vhost_start(f);
    }
    return f->kind == FRONT_DIRECT || bridge_start(f);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"vhost", "direct", "broker"};
    static char *arguments[] = {"--device", "CPU", "--log-level", "warn", NULL};
    unsigned kind = 0, fds, workers;
    bool refused = false;
    struct front f;
    int got = 0;

    while (kind < 3 && argc == 5 && strcmp(argv[1], kinds[kind]))
        kind++;
    if (kind == 3 || argc != 5)
        return 9;
    signal(SIGPIPE, SIG_IGN);
    if (!front_start(&f, (enum front_kind)kind, argv[2], argv[3], arguments)) {
        if (f.pid <= 0)
            return end("it did not start", &f,
                       WIFEXITED(f.status) && WEXITSTATUS(f.status) == 1 && *log_of(&f) ? REFUSED
                                                                                        : BAD);
        refused = true;
        if (!connect_again(&f))
            return end("nobody connects", &f, BAD);
    }
    for (int i = 0, n = atoi(argv[4]); i < n; i++) {
        got = live(&f);
        if (got < 0)
            return end("a guest got something wrong, or its worker stayed", &f, BAD);
        refused |= !got;
        f.lost = false;
    }
    if (!got)
        return end("a guest is refused after the fault", &f, BAD);
    front_holds(&f, &fds, &workers, NULL);
    if (!front_stop(&f))
        return end("the front did not end in peace", &f, BAD);
    printf("%s; holds %u\n", refused ? "refused once" : "right", fds);
    return refused ? REFUSED : RIGHT;
}
