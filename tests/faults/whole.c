/* SPDX-License-Identifier: MIT
 *
 * whole.c - the life of a front: it starts, a guest opens a context, computes and closes, and it ends.
 *
 *   whole vhost|direct|broker FOLDER VGR-DEVICE TIMES HOLDS
 *
 * TIMES guests, one after another; the last has to get what it wants, whatever happened to those before it, and
 * then the front has to come to hold HOLDS descriptors, if that is not 0. QEMU, or a monitor with the bridge in
 * it, connects once more if its first try comes to nothing. Prints one line, "right" or why not, with what the
 * front holds at the end. Exit status 0: all was right. 3: the front, or a guest, was refused something, and
 * the guest was told why or the front's log says it. 1: anything else.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/worker_fronts.h"

#define LINGER_MS 10000 /* what a client has left in a connection is closed by a process of its own */

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

/* Does it come to that? What it holds is in *fds. */
static bool comes_to_hold(const struct front *f, unsigned wanted, unsigned *fds)
{
    uint64_t end = front_now_ms() + LINGER_MS;
    unsigned workers;

    front_holds(f, fds, &workers, NULL);
    while (wanted && *fds != wanted && front_now_ms() < end) {
        front_nap();
        front_holds(f, fds, &workers, NULL);
    }
    return !wanted || *fds == wanted;
}

/* One guest's life: 1 right, 0 refused, -1 wrong. Sets *told if it was told why it failed. */
static int live(struct front *f, bool *told)
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
    *told = guest_state(&g) == VGR_STATE_FAILED && *g.ctl->error_text;
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
    unsigned kind = 0, fds;
    bool refused = false, told;
    struct front f;
    int got = 0;

    while (kind < 3 && argc == 6 && strcmp(argv[1], kinds[kind]))
        kind++;
    if (kind == 3 || argc != 6)
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
        got = live(&f, &told);
        if (got < 0)
            return end("a guest got something wrong, or its worker stayed", &f, BAD);
        if (!got && !told && !*log_of(&f))
            return end("a guest is refused, and nothing is said", &f, BAD);
        refused |= !got;
        f.lost = false;
    }
    if (!got)
        return end("a guest is refused after the fault", &f, BAD);
    if (!comes_to_hold(&f, (unsigned)atoi(argv[5]), &fds)) {
        printf("holds %u, not %s; ", fds, argv[5]);
        return end("the front keeps something", &f, BAD);
    }
    if (!front_stop(&f))
        return end("the front did not end in peace", &f, BAD);
    printf("%s; holds %u\n", refused ? "refused once" : "right", fds);
    return refused ? REFUSED : RIGHT;
}
