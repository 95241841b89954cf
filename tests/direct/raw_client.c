/* SPDX-License-Identifier: MIT */
#include "raw_client.h"

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
#include "send_fds.h"
#include "vgr_test.h"

/* Long enough for a loaded machine; what takes this long has failed. */
#define PATIENCE_MS 20000

static pid_t device;
static char folder[] = "/tmp/vgr-raw.XXXXXX";
static char path[108];

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- The device ---- */

static int try_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    strcpy(addr.sun_path, path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        close(fd);
        return -1;
    }
    return fd;
}

void raw_device_start(void)
{
    const char *program = getenv("VGR_DEVICE"), *offer = getenv("RAW_DEVICE");
    const char *sandbox = getenv("RAW_SANDBOX");
    struct vgr_capset capset;
    int fd = -1;

    assert_non_null(program);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    device = fork();
    assert_true(device >= 0);
    if (!device) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, "--direct", path, "--device", offer ? offer : "CPU", "--log-level",
              "error", "--sandbox", sandbox ? sandbox : "relaxed", (char *)NULL);
        _exit(127);
    }
    for (int ms = 0; fd < 0 && ms < PATIENCE_MS; ms++) {
        assert_int_equal(waitpid(device, NULL, WNOHANG), 0);
        nap();
        fd = try_connect();
    }
    assert_true(fd >= 0);
    /* Until the device has closed its end too: it would count among what it holds. */
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    while (recv(fd, &capset, sizeof(capset), 0) > 0)
        ;
    close(fd);
}

void raw_device_at(const char *socket)
{
    assert_true(strlen(socket) < sizeof(path));
    strcpy(path, socket);
}

void raw_device_stop(void)
{
    int status;

    kill(device, SIGTERM);
    assert_int_equal(waitpid(device, &status, 0), device);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(access(path, F_OK), -1);
    rmdir(folder);
}

/* The device's child processes, their number returned, the latest in *newest. */
static unsigned workers(pid_t *newest)
{
    char name[64];
    unsigned n = 0;
    FILE *children;
    int pid;

    snprintf(name, sizeof(name), "/proc/%d/task/%d/children", device, device);
    children = fopen(name, "r");
    assert_non_null(children);
    while (fscanf(children, "%d", &pid) == 1) {
        *newest = pid;
        n++;
    }
    fclose(children);
    return n;
}

pid_t raw_device_newest_worker(void)
{
    pid_t newest = 0;

    assert_true(workers(&newest) > 0);
    return newest;
}

struct raw_holdings raw_device_holdings(void)
{
    struct raw_holdings h = {0};
    struct dirent *entry;
    char name[64];
    pid_t newest;
    DIR *dir;

    snprintf(name, sizeof(name), "/proc/%d/fd", device);
    dir = opendir(name);
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        h.fds += entry->d_name[0] != '.';
    closedir(dir);
    h.workers = workers(&newest);
    return h;
}

void raw_device_settles(struct raw_holdings before)
{
    struct raw_holdings now = raw_device_holdings();

    for (int ms = 0; ms < PATIENCE_MS && memcmp(&now, &before, sizeof(now)); ms++) {
        nap();
        now = raw_device_holdings();
    }
    assert_int_equal(now.fds, before.fds);
    assert_int_equal(now.workers, before.workers);
}

/* ---- A session ---- */

void raw_connect(struct raw_client *c)
{
    static struct vgr_names names;
    int line[2];

    memset(c, 0, sizeof(*c));
    c->socket = try_connect();
    assert_true(c->socket >= 0);
    assert_int_equal(recv(c->socket, &c->capset, sizeof(c->capset), 0), sizeof(c->capset));
    assert_int_equal(c->capset.magic, VGR_MAGIC);

    c->fds[0] = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, line), 0);
    c->line = line[0];
    c->fds[1] = line[1];
    assert_int_equal(ftruncate(c->fds[0], RAW_ARENA), 0);
    assert_int_equal(fcntl(c->fds[0], F_ADD_SEALS, F_SEAL_SHRINK), 0);
    c->arena = mmap(NULL, RAW_ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, c->fds[0], 0);
    assert_ptr_not_equal(c->arena, MAP_FAILED);
    c->ctl = (struct vgr_control *)c->arena;

    vgr_ggml_names(&names);
    c->ctl->hello = (struct vgr_hello){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .arena_size = RAW_ARENA,
        .ring_off = VGR_CONTROL_SIZE,
        .ring_size = RAW_RING,
        .heap_off = RAW_HEAP,
        .dict_off = RAW_HEAP,
        .dict_len = (uint32_t)vgr_names_size(&names),
        .reply_off = RAW_HEAP + (128u << 10),
        .reply_cap = 128u << 10,
    };
    assert_true(vgr_names_write(&names, c->arena + RAW_HEAP, 128u << 10) > 0);
    vgr_ring_producer_init(&c->ring, c->arena, c->arena + VGR_CONTROL_SIZE, RAW_RING);
}

void raw_send_open(struct raw_client *c, uint32_t magic, uint64_t size, unsigned n_fds)
{
    struct vgr_submit submit = {.magic = magic, .op = VGR_SUBMIT_OPEN, .size = size};

    assert_int_equal(send_fds(c->socket, &submit, sizeof(submit), c->fds, n_fds), sizeof(submit));
}

void raw_open(struct raw_client *c)
{
    raw_connect(c);
    raw_send_open(c, VGR_MAGIC, RAW_ARENA, VGR_DIRECT_NFDS);
    assert_int_equal(raw_settled(c), VGR_STATE_READY);
}

/* The context's state. A notice of the front's goes into the control page, as in the guest library. */
static uint32_t state_of(struct raw_client *c)
{
    uint32_t state = __atomic_load_n(&c->ctl->state, __ATOMIC_ACQUIRE);
    struct vgr_notice notice;

    if (state == VGR_STATE_FAILED ||
        recv(c->socket, &notice, sizeof(notice), MSG_DONTWAIT) != (ssize_t)sizeof(notice))
        return state;
    assert_int_equal(notice.magic, VGR_MAGIC);
    /* The worker may have said it before the front did. */
    if (__atomic_load_n(&c->ctl->state, __ATOMIC_ACQUIRE) != VGR_STATE_FAILED) {
        memcpy(c->ctl->error_text, notice.text, sizeof(notice.text));
        c->ctl->error = notice.error;
        c->ctl->state = VGR_STATE_FAILED;
    }
    return VGR_STATE_FAILED;
}

uint32_t raw_settled(struct raw_client *c)
{
    uint32_t state = VGR_STATE_NONE;

    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        state = state_of(c);
        if (state >= VGR_STATE_READY)
            break;
        nap();
    }
    return state;
}

void raw_doorbell(struct raw_client *c)
{
    assert_true(send(c->line, "", 1, MSG_NOSIGNAL) == 1 || errno == EAGAIN);
}

uint64_t raw_push(struct raw_client *c, void *cmd, uint16_t op, uint32_t size)
{
    struct vgr_cmd h = {.op = op, .flags = VGR_CMD_F_AWAIT, .size = size};
    void *at = vgr_ring_reserve(&c->ring, size);
    uint64_t seq;

    assert_non_null(at);
    memcpy(at, cmd, size);
    memcpy(at, &h, sizeof(h));
    seq = vgr_ring_commit(&c->ring, size);
    if (vgr_ring_publish(&c->ring))
        raw_doorbell(c);
    return seq;
}

bool raw_done(struct raw_client *c, uint64_t seq)
{
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        if (vgr_ring_done(&c->ring) >= seq)
            return true;
        if (state_of(c) == VGR_STATE_FAILED)
            return false;
        nap();
    }
    fail_msg("command %llu is neither done nor refused", (unsigned long long)seq);
    return false;
}

void raw_assert_fails(struct raw_client *c, enum vgr_error code, const char *text)
{
    uint32_t state = VGR_STATE_NONE;

    for (int ms = 0; ms < PATIENCE_MS && state != VGR_STATE_FAILED; ms++) {
        nap();
        state = state_of(c);
    }
    assert_int_equal(state, VGR_STATE_FAILED);
    /* The worker ends next; the front must not write over what it said. */
    raw_assert_hangs_up(c);
    if (c->ctl->error != code || !strstr(c->ctl->error_text, text))
        fail_msg("error %u '%.256s', expected %u '%s'", c->ctl->error, c->ctl->error_text, code,
                 text);
}

void raw_assert_hangs_up(struct raw_client *c)
{
    struct pollfd p = {.fd = c->socket, .events = POLLRDHUP};

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_true(p.revents & (POLLHUP | POLLRDHUP));
}

void raw_close(struct raw_client *c)
{
    munmap(c->arena, RAW_ARENA);
    close(c->socket);
    close(c->line);
    for (int i = 0; i < VGR_DIRECT_NFDS; i++)
        close(c->fds[i]);
}

/* ---- What a good guest does ---- */

void raw_buffer(struct raw_client *c, uint32_t handle, uint64_t size)
{
    struct vgr_cmd_alloc alloc = {.buffer = handle, .size = size, .reply_off = RAW_DATA};
    struct vgr_alloc_reply reply;

    assert_true(raw_done(c, raw_push(c, &alloc, VGR_CMD_BUFFER_ALLOC, sizeof(alloc))));
    memcpy(&reply, c->arena + RAW_DATA, sizeof(reply));
    assert_int_equal(reply.ok, 1);
}

/* A vector of n floats at `offset` in buffer 1. */
static struct vgr_tensor vector(int64_t n, uint64_t offset)
{
    uint64_t bytes = (uint64_t)n * sizeof(float);

    return (struct vgr_tensor){
        .op = GGML_OP_NONE,
        .type = GGML_TYPE_F32,
        .buffer = 1,
        .offset = offset,
        .ne = {n, 1, 1, 1},
        .nb = {sizeof(float), bytes, bytes, bytes},
    };
}

void raw_assert_computes(struct raw_client *c)
{
    struct {
        struct vgr_graph g;
        struct vgr_tensor t[3];
    } graph = {
        .g = {.device = 0, .n_nodes = 1, .n_tensors = 3},
        .t = {vector(8, 2048), vector(8, 0), vector(8, 1024)},
    };
    float *in = (float *)(c->arena + RAW_DATA);
    float *out = (float *)(c->arena + RAW_DATA + 4096);
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_data set_a = {.buffer = 1, .len = 32, .data_off = RAW_DATA};
    struct vgr_cmd_data set_b = {.buffer = 1, .offset = 1024, .len = 32, .data_off = RAW_DATA + 32};
    struct vgr_cmd_graph define = {
        .graph = 1, .data_off = RAW_DATA + 8192, .data_len = sizeof(graph)};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};
    struct vgr_cmd_data get = {
        .buffer = 1, .stream = 1, .offset = 2048, .len = 32, .data_off = RAW_DATA + 4096};

    raw_buffer(c, 1, 4096);
    for (int i = 0; i < 8; i++) {
        in[i] = 1;
        in[8 + i] = 2;
    }
    graph.t[0].op = GGML_OP_ADD;
    graph.t[0].src[0] = 2;
    graph.t[0].src[1] = 3;
    memcpy(c->arena + RAW_DATA + 8192, &graph, sizeof(graph));
    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    raw_push(c, &set_a, VGR_CMD_SET, sizeof(set_a));
    raw_push(c, &set_b, VGR_CMD_SET, sizeof(set_b));
    raw_push(c, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
    raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
    assert_true(raw_done(c, raw_push(c, &get, VGR_CMD_GET, sizeof(get))));
    for (int i = 0; i < 8; i++)
        assert_true(out[i] == 3);
}
