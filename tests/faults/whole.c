/* SPDX-License-Identifier: MIT
 *
 * whole.c - the life of a front: it starts, a guest opens a context, computes and closes, and it ends.
 *
 *   whole vhost|direct|broker FOLDER VGR-DEVICE TIMES HOLDS
 *
 * A guest, and where a call has failed by then (inject.h), up to TIMES of them, one after another: until one
 * began after that and gets what it wants, whatever happened to those before it. Then the front has to come to hold HOLDS descriptors, if that is not 0. QEMU, or a monitor with the bridge in
 * it, connects once more if its first try comes to nothing. Prints one line, "right" or why not, with what the
 * front holds at the end. Exit status 0: all was right. 3: the front, or a guest, was refused something, and
 * the guest was told why or the front's log says it. 1: anything else.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults/inject.h"
#include "hostile/worker_fronts.h"

#define LINGER_MS                                                                                  \
    10000 /* what a client has left in a connection is closed by a process of its own */

enum { RIGHT = 0, BAD = 1, REFUSED = 3 };

static char said[4096];
static int bridge_log = -1; /* what the bridge writes to our stderr */

static void take_log(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t len = strlen(said);
    ssize_t n;

    while (len < sizeof(said) - 1 && poll(&p, 1, 0) == 1 &&
           (n = read(fd, said + len, sizeof(said) - 1 - len)) > 0)
        said[len += (size_t)n] = '\0';
}

/* What the front and the bridge have written; it does not wait for more. */
static const char *log_of(struct front *f)
{
    take_log(f->log);
    take_log(bridge_log);
    return said;
}

static bool hear_bridge(void)
{
    int log[2];

    if (pipe2(log, O_CLOEXEC) || dup2(log[1], STDERR_FILENO) < 0)
        return false;
    close(log[1]);
    bridge_log = log[0];
    return true;
}

/* Has a call failed? */
static bool injected(void)
{
    static const struct inject_page *page;
    const char *path = getenv("INJECT");
    int fd = !page && path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
    }
    return page && page != MAP_FAILED && __atomic_load_n(&page->injected, __ATOMIC_SEQ_CST);
}

static int end(const char *verdict, struct front *f, int status)
{
    printf("%s; its log: %s\n", verdict, *log_of(f) ? said : "nothing");
    return status;
}

/* Does it come to that, or to less where it has no keeper? What it holds is in *fds. */
static bool comes_to_hold(const struct front *f, unsigned wanted, unsigned *fds)
{
    uint64_t end = front_now_ms() + LINGER_MS;
    unsigned workers;

    front_holds(f, fds, &workers, NULL);
    while (wanted && *fds > wanted && front_now_ms() < end) {
        front_nap();
        front_holds(f, fds, &workers, NULL);
    }
    return !wanted || *fds <= wanted;
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

/* Where a call fails before anybody is served, the front ends by itself and says why: with 2 where it was the
 * probing worker's, or a child's that was to become one. Why that program does not run, a front cannot know. */
static bool has_not_started(struct front *f)
{
    return f->pid <= 0 && WIFEXITED(f->status) &&
           (WEXITSTATUS(f->status) == 1 || WEXITSTATUS(f->status) == 2) && *log_of(f);
}

/* The same, of one whose socket was there already. */
static bool gives_up(struct front *f)
{
    uint64_t end = front_now_ms() + LINGER_MS;

    while (f->pid > 0 && front_now_ms() < end) {
        if (waitpid(f->pid, &f->status, WNOHANG) == f->pid)
            f->pid = 0;
        front_nap();
    }
    return has_not_started(f);
}

/* It, or who connects to it, had no luck: the exit status, or -1 if it was better at the second try. */
static int begin_again(struct front *f)
{
    if (f->pid <= 0)
        return end("it did not start", f, has_not_started(f) ? REFUSED : BAD);
    if (f->kind == FRONT_BROKER && !*log_of(f))
        return end("the monitor is refused, and nothing is said", f, BAD);
    /* A machine whose bridge had no answer has no such device. */
    if (f->kind == FRONT_BROKER && strstr(said, "no tensor devices"))
        return end("no device", f, front_stop(f) || has_not_started(f) ? REFUSED : BAD);
    if (!connect_again(f))
        return end("nobody connects", f, gives_up(f) ? REFUSED : BAD);
    return -1;
}

/* Guests, one after another: RIGHT, REFUSED, or BAD, which was said. */
static int live_all(struct front *f, int times)
{
    bool refused = false, told, met = false;
    int got = 0;

    for (int i = 0; i < times && (!i || (injected() && !(met && got))); i++) {
        met = injected();
        got = live(f, &told);
        if (got < 0)
            return end("a guest got something wrong, or its worker stayed", f, BAD);
        if (!got && !told && !*log_of(f))
            return end("a guest is refused, and nothing is said", f, BAD);
        refused |= !got;
        f->lost = false;
    }
    if (got)
        return refused ? REFUSED : RIGHT;
    if (strstr(log_of(f), "cannot start the bridge's thread"))
        return REFUSED; /* each guest of this machine */
    return end("a guest is refused after the fault", f, gives_up(f) ? REFUSED : BAD);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"vhost", "direct", "broker"};
    static char *arguments[] = {"--device", "CPU", "--log-level", "warn", NULL};
    unsigned kind = 0, fds;
    bool refused = false;
    struct front f;
    int status;

    while (kind < 3 && argc == 6 && strcmp(argv[1], kinds[kind]))
        kind++;
    if (kind == 3 || argc != 6)
        return 9;
    signal(SIGPIPE, SIG_IGN);
    if (!hear_bridge())
        return 9;
    if (!front_start(&f, (enum front_kind)kind, argv[2], argv[3], arguments)) {
        refused = true;
        status = begin_again(&f);
        if (status >= 0)
            return status;
    }
    status = live_all(&f, atoi(argv[4]));
    if (status == BAD || f.pid <= 0)
        return status;
    if (!comes_to_hold(&f, (unsigned)atoi(argv[5]), &fds)) {
        printf("holds %u, not %s; ", fds, argv[5]);
        return end("the front keeps something", &f, BAD);
    }
    if (!front_stop(&f))
        return end("the front did not end in peace", &f, BAD);
    refused |= status == REFUSED;
    printf("%s; holds %u\n", refused ? "refused once" : "right", fds);
    return refused ? REFUSED : RIGHT;
}
