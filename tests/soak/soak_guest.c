/* SPDX-License-Identifier: MIT
 *
 * soak_guest - opens and closes the guest library's connection to the host, many times.
 *
 *   soak_guest CONNECTIONS KILLS
 *   soak_guest compute
 *
 * KILLS times among the CONNECTIONS another process (the second form) opens the device, has it compute a
 * graph of seconds, and is killed meanwhile. Somebody may kill workers, too: a connection whose worker dies
 * at its start does not count, and neither does a process whose worker dies before it. Prints "begun" when
 * the device is found, for which nobody may have killed the worker yet; then how many connections were
 * opened, how many failed, how many processes were killed in mid-graph and how many ended before that,
 * and the descriptors and mappings of this process after the tenth connection and after the last.
 */
#include <fcntl.h>
#include <ggml-backend.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ggml-virtgpu.h"
#include "guest/conn.h"
#include "holdings.h"
#include "long_graph.h"

static void pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (ms % 1000) * 1000000L}, NULL);
}

/* ---- A process to be killed ---- */

/* Says "r" on stdout while the host computes; ends when it has computed, or cannot. */
static int compute(void)
{
    ggml_backend_reg_t reg = ggml_backend_virtgpu_reg();
    ggml_backend_t backend = reg && ggml_backend_reg_dev_count(reg)
                                 ? ggml_backend_dev_init(ggml_backend_reg_dev_get(reg, 0), NULL)
                                 : NULL;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!backend || !long_graph_begin(backend))
        return 1;
    pause_ms(30); /* the worker takes the graph from the ring and begins */
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    ggml_backend_synchronize(backend);
    return 0;
}

/* True: a process was killed while the host computed for it. */
static bool kill_one(void)
{
    static const char *const args[] = {"soak_guest", "compute", NULL};
    posix_spawn_file_actions_t actions;
    struct pollfd p = {.events = POLLIN};
    bool running = false;
    int fds[2], status;
    pid_t pid;
    char c;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    if (!posix_spawn(&pid, "/proc/self/exe", &actions, NULL, (char *const *)args, environ)) {
        close(fds[1]);
        running = read(fds[0], &c, 1) == 1;
        pause_ms((unsigned)rand() % 50);
        p.fd = fds[0];
        running = running && !poll(&p, 1, 0); /* the pipe is not closed: it has not ended */
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        running = running && WIFSIGNALED(status);
    } else {
        close(fds[1]);
    }
    close(fds[0]);
    posix_spawn_file_actions_destroy(&actions);
    return running;
}

/* ---- Connections ---- */

/* A connection that can send a command and see it done. */
static bool visit(void)
{
    struct vgr_host *host = vgr_hosts_find() ? vgr_host_at(0) : NULL;
    struct vgr_conn *c = host ? vgr_conn_open(host) : NULL;
    struct vgr_cmd sync = {.op = VGR_CMD_SYNC};
    struct vgr_queue *q;
    uint64_t seq = 0;
    bool ok;

    if (!c)
        return false;
    q = vgr_conn_queue(c, 0);
    if (vgr_queue_lock(q)) {
        seq = vgr_queue_push(q, &sync, sizeof(sync), NULL, 0);
        vgr_queue_publish(q);
        vgr_queue_unlock(q);
    }
    ok = seq && vgr_queue_wait(q, seq);
    vgr_conn_close(c);
    return ok;
}

int main(int argc, char **argv)
{
    unsigned n, kills, opened = 0, failed = 0, killed = 0, ended = 0, fds = 0, maps = 0;

    if (argc == 2 && !strcmp(argv[1], "compute"))
        return compute();
    if (argc != 3)
        return 2;
    if (!vgr_hosts_find())
        return 1;
    puts("begun");
    fflush(stdout);
    n = (unsigned)atoi(argv[1]);
    kills = (unsigned)atoi(argv[2]);
    while (opened < n && failed <= n) {
        if (!visit()) {
            failed++;
        } else if (++opened == 10) {
            fds = count_fds();
            maps = count_maps();
        }
        while (killed * n < opened * kills && ended <= n) {
            if (kill_one())
                killed++;
            else
                ended++;
        }
    }
    printf("%u %u %u %u %u %u %u %u\n", opened, failed, killed, ended, fds, count_fds(), maps,
           count_maps());
    return 0;
}
