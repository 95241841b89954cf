/* SPDX-License-Identifier: MIT */
#include "hostile/worker_fronts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ggml.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol/ggml_names.h"
#include "unit/send_fds.h"

#define RING 65536u
#define HEAP (VGR_CONTROL_SIZE + RING)
#define DICT (128u << 10)
#define DATA (1u << 20) /* the guest's own, below ATTACK_OFFSET */

void front_nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

uint64_t front_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int front_connect(const char *path, int type)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    for (int ms = 0; fd >= 0 && ms < FRONT_PATIENCE_MS; ms += 10) {
        if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
            return fd;
        if (errno == ENOENT)
            break; /* who served it has gone */
        usleep(10000);
    }
    close(fd);
    return -1;
}

/* ---- Guest memory ---- */

static uint8_t *map(int fd, void *at, size_t size, size_t offset)
{
    void *p = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd,
                   (off_t)offset);

    return p == MAP_FAILED ? NULL : p;
}

static int secret_file(uint8_t **view)
{
    int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    uint64_t *p;

    if (fd < 0 || ftruncate(fd, (off_t)FRONT_RAM) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
        return -1;
    p = (uint64_t *)map(fd, NULL, FRONT_RAM, 0);
    if (!p)
        return -1;
    for (size_t i = 0; i < FRONT_RAM / sizeof(*p); i++)
        p[i] = ATTACK_SECRET;
    *view = (uint8_t *)p;
    return fd;
}

/* Where a slot's arena is: first its second half. 4 MiB of secret lie between two of them. */
static void halves_of(unsigned slot, size_t *halves)
{
    size_t at = ((size_t)2 << 20) + slot * ((size_t)8 << 20);

    halves[0] = at + ATTACK_ARENA / 2;
    halves[1] = at;
}

bool front_memory_is_whole(const struct front *f)
{
    size_t halves[2], end = (size_t)2 << 20;

    for (unsigned slot = 0; slot <= FRONT_SLOTS; slot++) {
        size_t next = FRONT_RAM;

        if (slot < FRONT_SLOTS) {
            halves_of(slot, halves);
            next = halves[1];
        }
        for (; end < next; end += sizeof(uint64_t)) {
            if (*(const uint64_t *)(f->ram + end) != ATTACK_SECRET)
                return false;
        }
        end = next + ATTACK_ARENA;
    }
    return true;
}

/* ---- The program ---- */

static const char *const options[] = {"--socket-path", "--direct", "--broker"};

bool front_start(struct front *f, enum front_kind kind, const char *folder, const char *device,
                 char *const *arguments)
{
    char *argv[32] = {(char *)device, (char *)options[kind], f->path, (char *)"--stats", f->stats};
    int log[2], fd;

    *f = (struct front){.kind = kind, .conn = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
    snprintf(f->path, sizeof(f->path), "%s/front.%d", folder, (int)getpid());
    snprintf(f->stats, sizeof(f->stats), "%s/stats.%d", folder, (int)getpid());
    for (int i = 0; arguments[i] && i < 24; i++)
        argv[5 + i] = arguments[i];
    f->ram_fd = secret_file(&f->ram);
    if (f->ram_fd < 0 || pipe2(log, O_CLOEXEC))
        return false;
    f->log = log[0];
    f->pid = fork();
    if (!f->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid(); /* as a service has; the session that the machine began with has no weight to change */
        dup2(log[1], 1);
        dup2(log[1], 2);
        execv(device, argv);
        _exit(127);
    }
    close(log[1]);
    while (access(f->stats, F_OK)) { /* the last that it makes */
        if (waitpid(f->pid, &f->status, WNOHANG)) {
            f->pid = 0;
            return false;
        }
        usleep(10000);
    }
    fd = f->pid > 0 && kind == FRONT_DIRECT ? front_connect(f->path, SOCK_STREAM) : -1;
    if (fd >= 0)
        close(fd);
    return kind == FRONT_VHOST ? vhost_start(f) : kind == FRONT_BROKER ? bridge_start(f) : fd >= 0;
}

bool front_stop(struct front *f)
{
    uint64_t end = front_now_ms() + FRONT_PATIENCE_MS;
    pid_t pid = f->pid;

    f->pid = 0;
    kill(pid, SIGTERM);
    while (front_now_ms() < end) {
        if (waitpid(pid, &f->status, WNOHANG) == pid)
            return WIFEXITED(f->status) && !WEXITSTATUS(f->status);
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &f->status, 0);
    return false;
}

/* What it says to whoever connects, and asks something: bytes, 0 if none come in time. */
static size_t said(const char *path, int type, const char *request, char *answer, size_t size)
{
    int fd = front_connect(path, type);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t got = 0;

    if (request && write(fd, request, strlen(request)) < 0)
        request = NULL;
    while (got < size - 1 && poll(&p, 1, FRONT_PATIENCE_MS) == 1) {
        ssize_t n = read(fd, answer + got, size - 1 - got);

        if (n > 0)
            got += (size_t)n;
        if (n <= 0 || !request)
            break;
    }
    close(fd);
    answer[got] = '\0';
    return got;
}

static const char ask_stats[] = "GET /stats HTTP/1.0\r\n\r\n";

uint64_t front_longest_turn(struct front *f)
{
    static char text[65536];
    const char *at;

    said(f->stats, SOCK_STREAM, ask_stats, text, sizeof(text));
    at = strstr(text, "longest_turn_us");
    at = at ? strchr(at, ':') : NULL;
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

bool front_answers(struct front *f)
{
    char text[65536];
    bool well = !f->lost && said(f->stats, SOCK_STREAM, ask_stats, text, sizeof(text)) > 0;

    if (f->kind == FRONT_VHOST)
        well = well && vhost_answers(f);
    else
        well = well && said(f->path, SOCK_STREAM, NULL, text, sizeof(text)) > 0;
    f->lost |= !well;
    return well;
}

void front_vex(struct front *f)
{
    struct guest g = {.front = f, .slot = 2};
    size_t halves[2];
    int fd;

    halves_of(2, halves);
    if (f->kind == FRONT_VHOST) {
        vhost_open(&g, halves, 12345);
        vhost_close(&g);
        return;
    }
    fd = front_connect(f->path, SOCK_STREAM);
    (void)!write(fd, "x", 1);
    close(fd);
}

void front_holds(const struct front *f, unsigned *fds, unsigned *workers, pid_t *newest)
{
    struct dirent *entry;
    char name[64];
    FILE *children;
    DIR *dir;
    int pid;

    *fds = *workers = 0;
    snprintf(name, sizeof(name), "/proc/%d/fd", (int)f->pid);
    dir = opendir(name);
    while (dir && (entry = readdir(dir)))
        *fds += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    snprintf(name, sizeof(name), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
    children = fopen(name, "re");
    while (children && fscanf(children, "%d", &pid) == 1) {
        ++*workers;
        if (newest)
            *newest = pid;
    }
    if (children)
        fclose(children);
}

/* ---- Guests ---- */

static void hello(struct guest *g, bool odd)
{
    static struct vgr_names names;
    struct vgr_dict *dict = (struct vgr_dict *)(g->arena + HEAP);

    vgr_ggml_names(&names);
    memset(g->arena, 0, VGR_CONTROL_SIZE);
    g->ctl->hello = (struct vgr_hello){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .arena_size = ATTACK_ARENA,
        .ring_off = VGR_CONTROL_SIZE,
        .ring_size = RING,
        .heap_off = HEAP,
        .dict_off = HEAP,
        .dict_len = (uint32_t)vgr_names_size(&names),
        .reply_off = HEAP + DICT,
        .reply_cap = DICT,
    };
    vgr_names_write(&names, g->arena + HEAP, DICT);
    if (odd)
        memcpy(dict->ggml_version, "1\033[31m\nvgr: FORGED\r\n", 21);
    vgr_ring_producer_init(&g->ring, g->arena, g->arena + VGR_CONTROL_SIZE, RING);
}

static bool direct_open(struct guest *g)
{
    struct vgr_submit open = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = ATTACK_ARENA};
    int line[2], fds[VGR_DIRECT_NFDS];
    struct vgr_capset capset;
    struct pollfd p;
    bool well;

    g->conn = front_connect(g->front->path, SOCK_STREAM);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, line))
        return false;
    p = (struct pollfd){.fd = g->conn, .events = POLLIN};
    g->line = line[0];
    fds[0] = g->file;
    fds[1] = line[1];
    well = g->conn >= 0 && poll(&p, 1, FRONT_PATIENCE_MS) == 1 &&
           recv(g->conn, &capset, sizeof(capset), 0) == sizeof(capset) &&
           send_fds(g->conn, &open, sizeof(open), fds, VGR_DIRECT_NFDS) == sizeof(open);
    close(line[1]);
    return well;
}

bool guest_open(struct guest *g, struct front *f, unsigned slot, bool odd)
{
    size_t halves[2];

    *g = (struct guest){.front = f, .slot = slot, .conn = -1, .line = -1, .file = -1};
    if (f->kind == FRONT_DIRECT) {
        g->file = secret_file(&g->arena);
        if (g->file < 0)
            return false;
    } else {
        halves_of(slot, halves);
        g->arena = mmap(NULL, ATTACK_ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        map(f->ram_fd, g->arena, ATTACK_ARENA / 2, halves[0]);
        map(f->ram_fd, g->arena + ATTACK_ARENA / 2, ATTACK_ARENA / 2, halves[1]);
    }
    memset(g->arena, 0, ATTACK_ARENA); /* the secret is not its own */
    g->ctl = (struct vgr_control *)g->arena;
    hello(g, odd);
    g->open = true;
    return true;
}

bool guest_start(struct guest *g)
{
    size_t halves[2];

    halves_of(g->slot, halves);
    switch (g->front->kind) {
    case FRONT_VHOST:
        return vhost_open(g, halves, ATTACK_ARENA);
    case FRONT_BROKER:
        return bridge_open(g, halves);
    default:
        return direct_open(g);
    }
}

bool guest_bell(struct guest *g)
{
    switch (g->front->kind) {
    case FRONT_VHOST:
        return vhost_bell(g);
    case FRONT_BROKER:
        return bridge_bell(g);
    default:
        /* What its own worker does to the line is nobody else's concern. */
        send(g->line, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        return true;
    }
}

bool guest_close(struct guest *g)
{
    bool well = true;

    if (!g->open)
        return true;
    g->open = false;
    if (g->front->kind == FRONT_VHOST)
        well = vhost_close(g);
    else if (g->front->kind == FRONT_BROKER)
        well = bridge_close(g);
    else
        close(g->conn), close(g->line), close(g->file);
    munmap(g->arena, g->front->kind == FRONT_DIRECT ? FRONT_RAM : ATTACK_ARENA);
    return well;
}

/* What the front has to say to a program comes by the socket, whose end is the context's. */
uint32_t guest_state(const struct guest *g)
{
    uint32_t state = __atomic_load_n(&g->ctl->state, __ATOMIC_ACQUIRE);
    struct vgr_notice notice = {0};
    ssize_t n;

    if (g->front->kind != FRONT_DIRECT || state == VGR_STATE_FAILED)
        return state;
    n = recv(g->conn, &notice, sizeof(notice), MSG_DONTWAIT);
    if (n != 0 && n != (ssize_t)sizeof(notice) && !(n < 0 && errno == ECONNRESET))
        return state;
    if (n > 0)
        memcpy(g->ctl->error_text, notice.text, sizeof(notice.text));
    __atomic_store_n(&g->ctl->state, VGR_STATE_FAILED, __ATOMIC_SEQ_CST);
    return VGR_STATE_FAILED;
}

bool guest_ready(struct guest *g)
{
    uint64_t end = front_now_ms() + FRONT_PATIENCE_MS;

    if (!guest_start(g))
        return false;
    while (guest_state(g) < VGR_STATE_READY && front_now_ms() < end)
        front_nap();
    return guest_state(g) == VGR_STATE_READY;
}

/* ---- Its commands ---- */

static uint64_t push(struct guest *g, void *cmd, uint16_t op, uint32_t size)
{
    struct vgr_cmd h = {.op = op, .flags = VGR_CMD_F_AWAIT, .size = size};
    void *at = vgr_ring_reserve(&g->ring, size);
    uint64_t seq;

    if (!at)
        return UINT64_MAX;
    memcpy(at, cmd, size);
    memcpy(at, &h, sizeof(h));
    seq = vgr_ring_commit(&g->ring, size);
    if (vgr_ring_publish(&g->ring) && !guest_bell(g))
        return UINT64_MAX;
    return seq;
}

static bool done(struct guest *g, uint64_t seq)
{
    uint64_t end = front_now_ms() + FRONT_PATIENCE_MS;

    while (vgr_ring_done(&g->ring) < seq) {
        if (seq == UINT64_MAX || guest_state(g) == VGR_STATE_FAILED || front_now_ms() > end)
            return false;
        usleep(20);
    }
    return true;
}

static struct vgr_tensor vector(uint64_t offset)
{
    return (struct vgr_tensor){.op = GGML_OP_NONE,
                               .type = GGML_TYPE_F32,
                               .buffer = 1,
                               .offset = offset,
                               .ne = {8, 1, 1, 1},
                               .nb = {4, 32, 32, 32}};
}

bool guest_prepare(struct guest *g)
{
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[3];
    } graph = {.g = {.n_nodes = 1, .n_tensors = 3}, .t = {vector(2048), vector(0), vector(1024)}};
    struct vgr_cmd_alloc alloc = {.buffer = 1, .size = 4096, .reply_off = DATA};
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_graph define = {.graph = 1, .data_off = DATA + 8192, .data_len = sizeof(graph)};

    graph.t[0].op = GGML_OP_ADD;
    graph.t[0].src[0] = 2;
    graph.t[0].src[1] = 3;
    memcpy(g->arena + DATA + 8192, &graph, sizeof(graph));
    push(g, &alloc, VGR_CMD_BUFFER_ALLOC, sizeof(alloc));
    push(g, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    return done(g, push(g, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define)));
}

int guest_computes(struct guest *g)
{
    static _Thread_local float number;
    float *in = (float *)(g->arena + DATA), *out = (float *)(g->arena + DATA + 4096);
    struct vgr_cmd_data a = {.buffer = 1, .len = 32, .data_off = DATA};
    struct vgr_cmd_data b = {.buffer = 1, .offset = 1024, .len = 32, .data_off = DATA + 32};
    struct vgr_cmd_data get = {
        .buffer = 1, .stream = 1, .offset = 2048, .len = 32, .data_off = DATA + 4096};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};

    number = number > 1000 ? 0 : number + 1;
    for (int i = 0; i < 8; i++) {
        in[i] = number;
        in[8 + i] = (float)i;
        out[i] = -1;
    }
    push(g, &a, VGR_CMD_SET, sizeof(a));
    push(g, &b, VGR_CMD_SET, sizeof(b));
    push(g, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
    if (!done(g, push(g, &get, VGR_CMD_GET, sizeof(get))))
        return -1;
    for (int i = 0; i < 8; i++) {
        if (out[i] != number + (float)i)
            return 0;
    }
    return 1;
}
