/* SPDX-License-Identifier: MIT
 *
 * soak - opens and closes contexts of a direct front, many times, from several processes.
 *
 *   soak SOCKET DEVICE_PID PROCESSES PLAIN KILLS LEAVES
 *
 * PLAIN contexts compute something, look at the result and close. In KILLS of them the worker, a child of
 * DEVICE_PID, is killed while it runs a long graph, and the context must then fail for that reason. LEAVES
 * of them are left by their client while the worker runs the graph. The three are mixed. Prints what was
 * done.
 */
#include "direct/raw_client.h"

#include <ggml.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vgr_test.h"

#define NODES  2000
#define FLOATS (1 << 20)

static pid_t device;

static void pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (ms % 1000) * 1000000L}, NULL);
}

/* Does the process map the arena? */
static bool maps(pid_t pid, ino_t arena)
{
    char name[64], line[512];
    bool found = false;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/%d/maps", pid);
    f = fopen(name, "r");
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned long inode;

        found = strstr(line, "memfd:raw") && sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 &&
                inode == arena;
    }
    if (f)
        fclose(f);
    return found;
}

static pid_t worker_of(const struct raw_client *c)
{
    char name[64];
    pid_t pid, mine = 0;
    struct stat st;
    FILE *f;

    assert_int_equal(fstat(c->fds[0], &st), 0);
    snprintf(name, sizeof(name), "/proc/%d/task/%d/children", device, device);
    f = fopen(name, "r");
    assert_non_null(f);
    while (!mine && fscanf(f, "%d", &pid) == 1) {
        if (maps(pid, st.st_ino))
            mine = pid;
    }
    fclose(f);
    assert_true(mine > 0);
    return mine;
}

static struct vgr_tensor vector(uint64_t offset)
{
    uint64_t bytes = FLOATS * sizeof(float);

    return (struct vgr_tensor){
        .op = GGML_OP_NONE,
        .type = GGML_TYPE_F32,
        .buffer = 1,
        .offset = offset,
        .ne = {FLOATS, 1, 1, 1},
        .nb = {sizeof(float), bytes, bytes, bytes},
    };
}

/* Has the worker run a graph that takes seconds, and returns while it does. */
static void run_long(struct raw_client *c)
{
    struct vgr_graph *g = (struct vgr_graph *)(c->arena + RAW_DATA);
    struct vgr_tensor *t = (struct vgr_tensor *)(g + 1);
    struct vgr_cmd_stream open = {.stream = 1};
    struct vgr_cmd_graph define = {
        .graph = 1, .data_off = RAW_DATA, .data_len = sizeof(*g) + (NODES + 1) * sizeof(*t)};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};
    uint64_t seq;

    raw_buffer(c, 1, 2 * FLOATS * sizeof(float));
    *g = (struct vgr_graph){.n_nodes = NODES, .n_tensors = NODES + 1};
    for (int i = 0; i < NODES; i++) {
        t[i] = vector(FLOATS * sizeof(float));
        t[i].op = GGML_OP_SQR;
        t[i].src[0] = NODES + 1;
    }
    t[NODES] = vector(0);
    raw_push(c, &open, VGR_CMD_STREAM_OPEN, sizeof(open));
    seq = raw_push(c, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
    assert_true(raw_done(c, seq));
    seq = raw_push(c, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
    pause_ms(1 + (unsigned)rand() % 20);
    assert_true(vgr_ring_done(&c->ring) < seq);
}

static void plain(void)
{
    struct raw_client c;

    raw_open(&c);
    raw_assert_computes(&c);
    raw_close(&c);
}

static void kill_worker(void)
{
    struct raw_client c;

    raw_open(&c);
    run_long(&c);
    assert_int_equal(kill(worker_of(&c), SIGKILL), 0);
    raw_assert_fails(&c, VGR_ERROR_WORKER_DIED, "killed by signal 9");
    raw_close(&c);
}

static void leave(void)
{
    struct raw_client c;

    raw_open(&c);
    run_long(&c);
    raw_close(&c);
}

/* Does a share of each kind, in a random order. */
static void client(unsigned n_plain, unsigned n_kill, unsigned n_leave)
{
    while (n_plain + n_kill + n_leave) {
        unsigned r = (unsigned)rand() % (n_plain + n_kill + n_leave);

        if (r < n_plain) {
            plain();
            n_plain--;
        } else if (r < n_plain + n_kill) {
            kill_worker();
            n_kill--;
        } else {
            leave();
            n_leave--;
        }
    }
}

static unsigned share(unsigned n, unsigned i, unsigned processes)
{
    return n / processes + (i < n % processes);
}

int main(int argc, char **argv)
{
    unsigned n[4];
    int failed = 0, status;

    if (argc != 7)
        return 2;
    device = atoi(argv[2]);
    for (int i = 0; i < 4; i++)
        n[i] = (unsigned)atoi(argv[3 + i]);
    raw_device_at(argv[1]);
    for (unsigned i = 0; i < n[0]; i++) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (!pid) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            srand(i);
            client(share(n[1], i, n[0]), share(n[2], i, n[0]), share(n[3], i, n[0]));
            _exit(0);
        }
    }
    while (wait(&status) > 0)
        failed += status != 0;
    printf("%u contexts, %u of them killed and %u left while they computed\n", n[1] + n[2] + n[3],
           n[2], n[3]);
    return failed ? 1 : 0;
}
