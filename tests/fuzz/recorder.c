/* SPDX-License-Identifier: MIT
 *
 * recorder - a host that writes down what a real program sends, as inputs of fuzz_session.
 *
 * usage: recorder SOCKET PREFIX DEVICES BYTES FILES
 *
 * Serves one program on the direct front's SOCKET with the worker's own code: the handshake, and every
 * command as it is taken out of a ring, is the worker's. All queues are served in this thread, one
 * command at a time, so there is an order in which the commands have really run; it is the order of the
 * file. The host has DEVICES devices, each of which is the CPU.
 *
 * Tensor data is left out but for the first bytes of each upload; small uploads, such as tokens and
 * positions, are whole.
 *
 * FILES 0: PREFIX is one file, which ends where it would have more than BYTES. Otherwise PREFIX-01 and so on
 * are that many, which each begin and end without a buffer and run a graph; what would be longer than
 * BYTES is not written. The recorder ends with the program, or with the last file.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/fds.h"
#include "common/log.h"
#include "session.h"
#include "worker/context.h"

#define KEPT_WHOLE 256u /* the longest upload that is kept */
#define KEPT_PART  64u  /* of a longer one */

struct recorder {
    const char *prefix;
    size_t limit;
    unsigned files; /* 0: one, of all */
    unsigned written;
    bool over;  /* something of the file at hand is left out */
    bool graph; /* it runs one */
    struct session s;
};

static struct vgr_backends backends;
static struct vgr_shared shared;
static struct vgr_counts_page counts[VGR_COUNTS_QUEUES];
static struct recorder rec;

/* ---- Files ---- */

static void write_file(const char *path)
{
    static uint8_t bytes[1u << 20];
    size_t n = session_write(&rec.s, bytes, sizeof(bytes));
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) {
        fprintf(stderr, "recorder: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    printf("%s: %u commands, %zu bytes\n", path, rec.s.n, n);
    rec.written++;
}

static size_t encoded(void)
{
    static uint8_t bytes[1u << 20];

    return session_write(&rec.s, bytes, sizeof(bytes));
}

static void begin(uint32_t n_devices)
{
    rec.s.n_devices = (uint8_t)n_devices;
    rec.s.n = 0;
    rec.s.used = 0;
    rec.graph = rec.over = false;
    /* What has been opened before. */
    for (uint32_t q = 0; q < SESSION_QUEUES; q++) {
        const struct vgr_ctx *c = shared.queue[q];

        if (c && q) {
            struct vgr_cmd_queue_open m = {{VGR_CMD_QUEUE_OPEN, 0, sizeof(m)}, q, 0, 0, 0};

            memcpy(session_add(&rec.s, 0, sizeof(m), 0)->record, &m, sizeof(m));
        }
        for (uint32_t i = 1; c && i <= VGR_CTX_MAX_STREAMS; i++) {
            struct vgr_cmd_stream m = {
                {VGR_CMD_STREAM_OPEN, 0, sizeof(m)}, i, c->streams[i].device};

            if (c->streams[i].backend)
                memcpy(session_add(&rec.s, (uint8_t)q, sizeof(m), 0)->record, &m, sizeof(m));
        }
    }
}

static void end(void)
{
    char path[4096];

    if (!rec.files) {
        write_file(rec.prefix);
        return;
    }
    if (!rec.graph || rec.over)
        return;
    snprintf(path, sizeof(path), "%s-%02u", rec.prefix, rec.written + 1);
    write_file(path);
}

/* Is there a GRAPH_DEFINE for it in this file? */
static bool defined(uint32_t queue, uint32_t graph)
{
    for (uint32_t i = 0; i < rec.s.n; i++) {
        const struct session_command *c = &rec.s.command[i];
        const struct vgr_cmd_graph *m = (const struct vgr_cmd_graph *)c->record;

        if (c->how == queue && m->h.op == VGR_CMD_GRAPH_DEFINE && m->graph == graph)
            return true;
    }
    return false;
}

static void note(struct vgr_ctx *c)
{
    struct vgr_cmd *h = (struct vgr_cmd *)c->record;
    struct session_where w = session_where(h, h->size);
    const uint8_t *payload = w.off ? vgr_arena_heap(&c->arena, *w.off, w.len) : NULL;
    uint32_t kept = w.len;
    struct session_command *to;

    if (rec.over || (h->op == VGR_CMD_GRAPH_FREE &&
                     !defined(c->number, ((const struct vgr_cmd_handle *)h)->handle)))
        return;
    if (h->op == VGR_CMD_SET && kept > KEPT_WHOLE)
        kept = KEPT_PART;
    to = session_add(&rec.s, (uint8_t)c->number, h->size, payload ? kept : 0);
    if (!to || w.len > SESSION_PAYLOAD) { /* nobody could replay it */
        rec.over = true;
        return;
    }
    memcpy(to->record, h, h->size);
    if (payload)
        memcpy(to->payload, payload, kept);
    if (encoded() > rec.limit) {
        rec.s.n--;
        rec.over = true;
    }
}

static uint32_t count_buffers(void)
{
    uint32_t n = 0;

    for (uint32_t q = 0; q < VGR_MAX_DEVICES; q++) {
        for (uint32_t i = 1; shared.queue[q] && i <= VGR_CTX_MAX_BUFFERS; i++)
            n += shared.queue[q]->buffers[i].buffer != NULL;
    }
    return n;
}

/* ---- Commands ---- */

/* Is the command one that must wait? */
static bool waits(const struct vgr_ctx *c)
{
    const struct vgr_cmd_queue_wait *m = (const struct vgr_cmd_queue_wait *)c->record;
    const struct vgr_ctx *other;

    if (m->h.op != VGR_CMD_QUEUE_WAIT || m->queue >= VGR_MAX_DEVICES)
        return false;
    other = shared.queue[m->queue];
    return other && other->done < m->seq;
}

static void run(struct vgr_ctx *c)
{
    const struct vgr_cmd *h = (const struct vgr_cmd *)c->record;

    note(c);
    rec.graph |= h->op == VGR_CMD_GRAPH_RUN;
    pthread_mutex_lock(&c->running);
    if (!vgr_ctx_dispatch(c, h))
        vgr_ctx_complete(c, c->ring.seq);
    pthread_mutex_unlock(&c->running);
    if (rec.files && h->op == VGR_CMD_BUFFER_FREE && !count_buffers()) {
        end();
        begin(c->backends.n);
    }
}

/* Until the program hangs up. */
static void serve(int conn)
{
    bool pending[VGR_MAX_DEVICES] = {0};
    struct pollfd p = {.fd = conn, .events = POLLIN};

    for (;;) {
        bool idle = true;

        for (uint32_t q = 0; q < VGR_MAX_DEVICES && !vgr_ctx_failed(shared.queue[0]); q++) {
            struct vgr_ctx *c = shared.queue[q];

            while (c && !vgr_ctx_failed(c)) {
                if (!pending[q] && vgr_ring_next(&c->ring, c->record, c->ring.size / 4) <= 0)
                    break;
                pending[q] = waits(c);
                if (pending[q])
                    break;
                idle = false;
                vgr_ring_release(&c->ring);
                run(c);
            }
        }
        if (idle && (poll(&p, 1, 0) > 0 || (rec.files && rec.written == rec.files)))
            return;
        if (idle)
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
}

/* ---- The direct front ---- */

static int listen_on(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(addr.sun_path))
        return -1;
    strcpy(addr.sun_path, path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1))
        return -1;
    return fd;
}

/* Greets the program and makes its context. */
static int meet(int conn, struct vgr_ctx *c)
{
    struct vgr_capset capset = {
        .magic = VGR_MAGIC,
        .version_min = VGR_PROTOCOL_VERSION,
        .version_max = VGR_PROTOCOL_VERSION,
        .arena_min = 1u << 20,
        .arena_max = 64u << 20,
        .arena_default = 64u << 20,
    };
    struct vgr_submit open;
    int fds[VGR_DIRECT_NFDS], flags = 0;
    unsigned n = 0;
    void *p;

    if (send(conn, &capset, sizeof(capset), MSG_NOSIGNAL) != sizeof(capset) ||
        vgr_fds_receive(conn, &open, sizeof(open), fds, VGR_DIRECT_NFDS, &n, &flags) !=
            sizeof(open) ||
        n != VGR_DIRECT_NFDS)
        return -1;
    p = mmap(NULL, open.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    if (p == MAP_FAILED)
        return -1;
    c->arena.base = p;
    c->arena.size = open.size;
    c->backends = backends;
    shared.line_fd = fds[1];
    shared.nudge_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vgr_ctx_init(c, &shared, counts);
    return vgr_ctx_handshake(c);
}

int main(int argc, char **argv)
{
    static const char device[1][64] = {"CPU"};
    static struct vgr_ctx context;
    unsigned n;
    int fd, conn;

    if (argc != 6)
        return 2;
    setenv("VGR_NO_GUEST", "1", 1);
    vgr_log_init("recorder", VGR_LOG_WARN);
    n = (unsigned)atoi(argv[3]);
    rec.prefix = argv[2];
    rec.limit = (size_t)atol(argv[4]);
    rec.files = (unsigned)atoi(argv[5]);
    if (!n || n > SESSION_QUEUES || vgr_backends_load(&backends, device, 1))
        return 2;
    for (; backends.n < n; backends.n++)
        backends.device[backends.n] = backends.device[0];
    fd = listen_on(argv[1]);
    if (fd < 0) {
        fprintf(stderr, "recorder: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (conn < 0 || meet(conn, &context))
        return 1;
    begin(n);
    serve(conn);
    if (!rec.files || rec.written < rec.files)
        end();
    fflush(stdout);
    _exit(!rec.written); /* what GGML holds is the kernel's to free */
}
