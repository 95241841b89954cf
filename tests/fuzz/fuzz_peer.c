/* SPDX-License-Identifier: MIT
 *
 * fuzz_peer.c - a front whose shared descriptors are in hostile hands.
 *
 * Theory of operation
 * -------------------
 *
 * A virtual GPU, the direct front, the broker, the statistics and the watchdog on one loop, in this
 * process, as in production. Context 1 of the guest has an honest worker (tests/unit/fake_worker.c). All
 * other workers, those of context 2 and of clients, are peer_worker.c: they send their descriptors here and
 * sleep. So the fuzzer does to the very same open files what the input says (peer_hands.h), and to its ends
 * of the connections of up to three clients; and since all that happens in one thread, an input means the
 * same each time, but for timers.
 *
 * What is promised, after each action: nothing has waited (a call that does is libFuzzer's timeout), and no
 * turn had more work than VGR_LOOP_MOST_UNITS. At the end of an input: the honest worker answers a doorbell,
 * with a wake-up; its counters and its lines of the log are its own; the loop comes to rest, so nothing that
 * a peer has left behind comes up again and again; reports are JSON and Prometheus' text; every line of the
 * log is clean and has the prefix of who wrote it; no descriptor, process or zombie is left.
 *
 * A bridge's end of its line is not here: fuzz_virgl.c has the bridge.
 */
#include "fuzz.h"

#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/broker.h"
#include "common/line.h"
#include "common/log.h"
#include "fake_worker.h"
#include "holdings.h"
#include "peer_rig.h"

static int log_fd = -1;
static char paths[3][64]; /* of the direct front, the broker, the statistics */
static char log_text[8 << 20];

/* ---- Clients ---- */

static void client_connects(struct rig *r, struct client *c)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    c->kind = fuzz_below(&r->in, 3);
    strcpy(addr.sun_path, paths[c->kind]);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    FUZZ_CHECK(!connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)));
    FUZZ_CHECK(!vgr_line_make(&c->line[0], &c->line[1]));
}

static void client_leaves(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    for (int i = 0; i < 2; i++) {
        if (c->line[i] >= 0)
            close(c->line[i]);
    }
    *c = (struct client){.fd = -1, .line = {-1, -1}};
}

/* The message that opens a context, or a request, or a part of it, with good descriptors. */
static void client_sends(struct rig *r, struct client *c)
{
    struct vgr_submit open = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = FUZZ_ARENA};
    struct vgr_broker_open broker = {VGR_BROKER_MAGIC, VGR_BROKER_VERSION, 1, 1, FUZZ_ARENA};
    static const char get[] = "GET /stats HTTP/1.1\r\n\r\n";
    const struct {
        const void *p;
        size_t len;
    } messages[] = {{&open, sizeof(open)}, {&broker, sizeof(broker)}, {get, sizeof(get) - 1}};
    int fds[3] = {r->g.fd, c->line[1], r->g.fd};
    size_t len = messages[c->kind].len, from = 0, n_fds = c->kind == 2 ? 0 : 2 + c->kind;

    if (fuzz_below(&r->in, 4) == 3) {
        from = fuzz_below(&r->in, (uint32_t)len);
        len -= from;
        len = 1 + fuzz_below(&r->in, (uint32_t)len);
    }
    if (c->line[1] < 0 || fuzz_rarely(&r->in))
        n_fds = 0;
    if (c->fd >= 0)
        vgr_fds_send(c->fd, (const char *)messages[c->kind].p + from, len, fds, (unsigned)n_fds,
                     MSG_DONTWAIT);
}

static void client_acts(struct rig *r)
{
    struct client *c = &r->clients[fuzz_below(&r->in, CLIENTS)];
    int *other = &r->others[r->n_others];
    uint8_t what = fuzz_u8(&r->in);

    if (c->fd < 0) {
        client_leaves(c);
        client_connects(r, c);
        turn(r, 0);
    }
    if (what < 0x70) {
        client_sends(r, c);
    } else if (what < 0xe0) {
        peer_acts(&r->in, &c->fd, HANDS_CONN, other);
        r->n_others += *other >= 0;
    } else {
        client_leaves(c);
    }
    turn(r, 0);
}

/* ---- An input ---- */

static void hostile_guest_acts(struct rig *r)
{
    uint32_t slot = FREE_SLOT + fuzz_below(&r->in, SLOTS - FREE_SLOT), times;

    switch (fuzz_below(&r->in, 16)) {
    case 0:
    case 5:
        offer(r, slot, VGR_GPU_SUBMIT_3D, HOSTILE, VGR_SUBMIT_WAIT, true);
        break;
    case 1:
        offer(r, slot, VGR_GPU_CTX_DESTROY, HOSTILE, 0, true);
        break;
    case 2:
        offer(r, slot, VGR_GPU_RESOURCE_UNREF, HOSTILE, 0, true);
        break;
    case 3:
        offer(r, slot, VGR_GPU_DETACH_BACKING, HOSTILE, 0, true);
        break;
    case 4:
        open_context(r, HOSTILE);
        return;
    default: /* doorbells; many fill a line that nobody reads */
        times = fuzz_below(&r->in, 4) == 3 ? 400 : 1;
        for (uint32_t i = 0; i < times && !r->busy[slot]; i++) {
            offer(r, slot, VGR_GPU_SUBMIT_3D, HOSTILE, VGR_SUBMIT_DOORBELL, false);
            kick(r);
        }
        return;
    }
    kick(r);
}

static void peer_of_worker_acts(struct rig *r)
{
    static const enum hands_on on[PEER_FDS] = {
        [PEER_LINE] = HANDS_LINE,
        [PEER_LOG] = HANDS_LINE,
        [PEER_COUNTS] = HANDS_FILE,
        [PEER_ACCOUNT] = HANDS_FILE,
    };
    uint32_t i = fuzz_below(&r->in, 2 * WORKERS);
    struct peer *p = &r->peers[i < WORKERS ? 0 : i - WORKERS];
    uint32_t which = fuzz_below(&r->in, PEER_FDS + 1);
    int *other = &r->others[r->n_others];

    if (!p->pid)
        return;
    if (which < PEER_FDS) {
        peer_acts(&r->in, &p->fds[which], on[which], other);
        r->n_others += *other >= 0;
    } else if (worker_of(r, p->pid) && fuzz_below(&r->in, 4) == 3) {
        kill(p->pid, 1 + (int)fuzz_below(&r->in, 31));
    }
}

static void act(struct rig *r)
{
    uint8_t what = fuzz_u8(&r->in);

    r->others[r->n_others] = -1;
    if (what < 0x70) {
        peer_of_worker_acts(r);
        turn(r, 0);
    } else if (what < 0x78) {
        peer_of_worker_acts(r); /* together with the next */
    } else if (what < 0xa8) {
        hostile_guest_acts(r);
    } else if (what < 0xd8) {
        client_acts(r);
    } else if (what < 0xe4) {
        check_reports(r);
    } else if (what < 0xf0) {
        comes_to_rest(r);
    } else if (what < 0xf8) {
        turn(r, 5); /* the watchdog's look */
    } else {
        honest_goes_on(r);
    }
}

static void start_queue(struct rig *r)
{
    vgr_vhost_queue_init(&r->q, &r->loop, &r->g.mem, 0);
    r->q.serve = serve_chain;
    vgr_vhost_queue_set_call(&r->q, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    r->q.size = FUZZ_RING;
    r->q.addr = (struct vgr_vhost_vring_addr){
        .desc = UADDR + DESC_GPA, .avail = UADDR + AVAIL_GPA, .used = UADDR + USED_GPA};
    r->q.has_addr = r->q.enabled = true;
    vgr_vhost_queue_set_kick(&r->q, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void start_listeners(struct rig *r)
{
    char why[256];
    int fds[3];

    for (int i = 0; i < 3; i++) {
        fds[i] = vgr_listen(paths[i], SOCK_STREAM, 0700, why, sizeof(why));
        FUZZ_CHECK(fds[i] >= 0);
    }
    for (int i = 0; i < 2; i++) {
        FUZZ_CHECK(
            !vgr_direct_init(&r->direct[i], &r->loop, &r->pool, &fuzz_capset, fds[i], paths[i], i));
        r->direct[i].taken_ms = CLIENT_MS;
    }
    FUZZ_CHECK(!vgr_stats_init(&r->stats, &r->loop, &r->pool, fds[2], paths[2]));
    r->stats.limit_ms = CLIENT_MS;
}

static void setup(struct rig *r)
{
    FUZZ_CHECK(!ftruncate(log_fd, 0) && !lseek(log_fd, 0, SEEK_SET));
    guest_init(&r->g, FUZZ_RING, 0, false);
    vgr_vq_stop(&r->g.vq); /* the one in r->q is used */
    FUZZ_CHECK(!vgr_loop_init(&r->loop));
    r->pool = (struct vgr_worker_pool){
        .loop = &r->loop, .path = VGR_FAKE_WORKER, .limit = WORKERS, .max_runs = 64};
    vgr_watchdog_init(&r->dog, &r->loop, &r->pool, LIMIT_MS);
    start_queue(r);
    vgr_gpu_init(&r->gpu, &r->loop, &r->pool, &fuzz_capset, &r->g.mem, &r->q.vq, workers_gone);
    start_listeners(r);
    for (int i = 0; i < CLIENTS; i++)
        r->clients[i] = (struct client){.fd = -1, .line = {-1, -1}};

    honest_page(r)->hello.features = FAKE_SAY;
    open_context(r, HONEST);
    FUZZ_CHECK(r->pool.alive == 1);
    honest_goes_on(r);
    r->pool.path = VGR_PEER_WORKER;
    open_context(r, HOSTILE);
    FUZZ_CHECK(r->pool.alive == 2);
}

/* Clients hang up, and are gone when the processes that hold their connections are. */
static void end_clients(struct rig *r)
{
    uint64_t end = vgr_now_ms() + PATIENCE;

    for (int i = 0; i < CLIENTS; i++)
        client_leaves(&r->clients[i]);
    comes_to_rest(r); /* who was waiting to be accepted is, too */
    while (r->direct[0].n_clients || r->direct[1].n_clients || r->stats.n_clients) {
        FUZZ_CHECK(vgr_now_ms() < end);
        turn(r, 20);
    }
}

static void teardown(struct rig *r)
{
    vgr_worker_pool_finish(&r->pool, PATIENCE);
    vgr_watchdog_finish(&r->dog);
    vgr_gpu_finish(&r->gpu);
    FUZZ_CHECK(!r->pool.alive && !r->gpu.n_dying);
    for (int i = 0; i < 2; i++)
        vgr_direct_finish(&r->direct[i]);
    vgr_stats_finish(&r->stats);
    vgr_vhost_queue_finish(&r->q);
    vgr_loop_finish(&r->loop);
    guest_finish(&r->g);
    for (int i = 0; i < WORKERS; i++)
        peer_drop(&r->peers[i]);
    while (take_message(r, 0)) {
    }
    for (unsigned i = 0; i < r->n_others; i++)
        close(r->others[i]);
}

/* Our processes, those that nobody has reaped among them. The sanitizer may have one, too. */
static void list_children(char *to, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    FUZZ_CHECK(fd >= 0);
    n = read(fd, to, size - 1);
    FUZZ_CHECK(n >= 0);
    to[n] = '\0';
    close(fd);
}

/* At the end a front waits for the processes that close connections for a second only (discard.h). Where this
 * process was starved for so long, some are left to us. */
static void reap_the_late(const char *children, uint64_t began)
{
    uint64_t end = vgr_now_ms() + PATIENCE;
    char now[256];

    if (vgr_now_ms() - began < 1000)
        return;
    for (list_children(now, sizeof(now)); strcmp(children, now); list_children(now, sizeof(now))) {
        FUZZ_CHECK(vgr_now_ms() < end);
        waitpid(-1, NULL, WNOHANG);
        usleep(1000);
    }
}

/* All lines are somebody's, and those of the honest worker what it said. */
static void check_log(struct rig *r)
{
    ssize_t len = pread(log_fd, log_text, sizeof(log_text) - 1, 0);
    uint64_t said = 0;
    char *end;

    FUZZ_CHECK(len >= 0 && (size_t)len < sizeof(log_text) - 1);
    log_text[len] = '\0';
    for (char *line = log_text; line < log_text + len; line = end + 1) {
        char want[64];

        end = memchr(line, '\n', (size_t)(log_text + len - line));
        FUZZ_CHECK(end && is_log_line(line, (size_t)(end - line), r->pool.last_number));
        *end = '\0';
        snprintf(want, sizeof(want), "vgr-worker[%d]: honest %llu", HONEST,
                 (unsigned long long)said + 1);
        if (!strncmp(line, want, 14)) {
            FUZZ_CHECK(!strcmp(line, want));
            said++;
        }
    }
    FUZZ_CHECK(said == r->said);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, PEER_ADDRESS, (int)getpid());

    signal(SIGPIPE, SIG_IGN);
    signal(SIGIO, SIG_IGN);
    vgr_log_init("fuzz", VGR_LOG_INFO);
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof(paths[i]), "/tmp/vgr-fuzz-peer-%d-%d", (int)getpid(), i);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    hands_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    FUZZ_CHECK(log_fd >= 0 && hands_fd >= 0);
    FUZZ_CHECK(!bind(hands_fd, (struct sockaddr *)&addr,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;
    int standard_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    unsigned before = count_fds();
    char children[256], after[256];
    uint64_t began;

    list_children(children, sizeof(children));
    FUZZ_CHECK(standard_error >= 0 && dup2(log_fd, STDERR_FILENO) == STDERR_FILENO);
    memset(&r, 0, sizeof(r));
    r.in = (struct fuzz_in){data, size};
    setup(&r);
    for (int i = 0; i < ACTIONS && r.in.left; i++)
        act(&r);
    end_clients(&r);
    honest_goes_on(&r);
    comes_to_rest(&r);
    check_reports(&r);
    began = vgr_now_ms();
    teardown(&r);
    reap_the_late(children, began);
    check_log(&r);
    dup2(standard_error, STDERR_FILENO);
    close(standard_error);
    FUZZ_CHECK(count_fds() == before - 1);
    list_children(after, sizeof(after));
    FUZZ_CHECK(!strcmp(children, after));
    return 0;
}
