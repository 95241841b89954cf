/* SPDX-License-Identifier: MIT
 *
 * Resources: destroyed while the worker is at work in them, larger than the machine, in more pieces
 * than anybody would make.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <virtgpu_drm.h>

#include "cases.h"
#include "guest.h"

#define PAGE 4096u

/* ---- Destroyed under a running graph ---- */

/* Keeps the worker busy for some seconds: products of matrices, and after each graph a mebibyte that
 * goes into the arena, again and again. */
static void keep_busy(struct guest *g)
{
    enum { SIDE = 256, NODES = 64, RUNS = 40 };
    static struct {
        struct vgr_graph g;
        struct vgr_tensor t[NODES + 2];
    } graph;
    const uint64_t bytes = (uint64_t)SIDE * SIDE * 4;
    struct vgr_cmd_graph define = {.graph = 1, .data_off = GUEST_DATA, .data_len = sizeof(graph)};
    struct vgr_cmd_run run = {.graph = 1, .stream = 1};
    struct vgr_cmd_data get = {.buffer = 1, .stream = 1, .len = 1u << 20, .data_off = 3u << 20};

    graph.g = (struct vgr_graph){.n_nodes = NODES, .n_tensors = NODES + 2};
    for (int i = 0; i < NODES + 2; i++) {
        graph.t[i] = matrix(SIDE, SIDE, i < NODES ? 0 : (uint64_t)(i - NODES + 1) * bytes);
        if (i < NODES) {
            graph.t[i].op = OP_MUL_MAT;
            graph.t[i].src[0] = NODES + 1;
            graph.t[i].src[1] = NODES + 2;
        }
    }
    memcpy(g->arena + GUEST_DATA, &graph, sizeof(graph));
    guest_push(g, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
    CHECK(guest_done(g, guest_push(g, &run, VGR_CMD_GRAPH_RUN, sizeof(run))), "%.256s",
          g->ctl->error_text);
    for (int i = 0; i < RUNS; i++) {
        guest_push(g, &run, VGR_CMD_GRAPH_RUN, sizeof(run));
        for (int k = 0; k < 8; k++)
            guest_push(g, &get, VGR_CMD_GET, sizeof(get));
    }
}

/* The guest's kernel gives freed pages to whoever asks next: if the host still wrote to them, it
 * would be seen here. */
static void nobody_writes(unsigned ms)
{
    enum { SIZE = 64 << 20 };
    uint64_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t end = now_ms() + ms;

    CHECK(p != MAP_FAILED, "no memory");
    for (size_t i = 0; i < SIZE / 8; i += 8)
        p[i] = 0x5afe5afe5afe5afe ^ i;
    do {
        for (size_t i = 0; i < SIZE / 8; i += 8)
            CHECK(p[i] == (0x5afe5afe5afe5afe ^ i), "somebody writes to freed pages");
    } while (now_ms() < end);
    munmap(p, SIZE);
}

static unsigned destroyed(void)
{
    enum { ROUNDS = 12 };

    for (int round = 0; round < ROUNDS; round++) {
        struct guest g;
        pid_t pid;

        guest_take(round / 4 % 2 ? HOST_BLOB : GUEST_MEMORY);
        if (round % 4 == 3) { /* by the end of its process, which has no say in it */
            pid = fork();
            if (!pid) {
                guest_open(&g);
                guest_buffer(&g, 1u << 20);
                keep_busy(&g);
                raise(SIGKILL);
            }
            waitpid(pid, &(int){0}, 0);
            nobody_writes(300);
            continue;
        }
        guest_open(&g);
        guest_buffer(&g, 1u << 20);
        keep_busy(&g);
        if (round % 4 == 2) { /* the file, while the mapping keeps it open, and then that too */
            guest_close(&g);
            nobody_writes(300);
            continue;
        }
        CHECK(!node_ioctl(g.fd, DRM_IOCTL_GEM_CLOSE, &(struct drm_gem_close){.handle = g.bo}),
              "GEM_CLOSE");
        if (round % 4 == 1) {
            uint64_t done;

            /* The mapping stays, and all is still when the worker is gone. */
            nap(500);
            done = g.ctl->done;
            nap(500);
            CHECK(g.ctl->done == done && done < g.seq, "the worker goes on without its arena");
        }
        munmap(g.arena, g.size); /* until here the kernel keeps the pages for the mapping */
        nobody_writes(300);
        close(g.fd);
    }
    return ROUNDS;
}

/* ---- Larger than the machine ---- */

#define HUGE 0xfffff000u

/* May also be the end of this process, if the guest's kernel finds no other way. */
static void make_huge(void)
{
    struct drm_virtgpu_resource_create r = {.format = 64, .width = HUGE, .size = HUGE};
    struct guest g = {.fd = node_open()};
    FILE *f = fopen("/proc/self/oom_score_adj", "w");

    if (f) {
        fputs("1000", f);
        fclose(f);
    }
    _exit(node_ioctl(g.fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &r) ? 10 : 0);
}

static unsigned huge(void)
{
    struct guest g;
    int status;
    pid_t pid;

    guest_open(&g);
    guest_buffer(&g, 4096);
    pid = fork();
    if (!pid)
        make_huge();
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 10, "%u bytes fit a machine that has less",
          HUGE);
    CHECK(!WIFSIGNALED(status) || WTERMSIG(status) == SIGKILL, "signal %d", WTERMSIG(status));
    guest_computes(&g);
    return 1;
}

/* ---- In very many pieces ---- */

/* Leaves `n` single pages free whose neighbours are taken, of the kind that the kernel takes for a
 * resource: fills two sets of pipes in turns, page by page, and empties one. */
static void scatter(unsigned n)
{
    enum { PER_PIPE = 256 };
    static const uint8_t page[PAGE];
    unsigned pairs = n / PER_PIPE + 1;
    int *ends = calloc(pairs, 2 * sizeof(*ends));

    CHECK(ends, "no memory");
    for (unsigned i = 0; i < pairs; i++) {
        int kept[2], freed[2];

        CHECK(!pipe(kept) && !pipe(freed), "pipe %u: %s", i, strerror(errno));
        CHECK(fcntl(kept[1], F_SETPIPE_SZ, PER_PIPE * PAGE) > 0 &&
                  fcntl(freed[1], F_SETPIPE_SZ, PER_PIPE * PAGE) > 0,
              "pipe %u: %s", i, strerror(errno));
        for (int k = 0; k < PER_PIPE; k++)
            CHECK(write(kept[1], page, PAGE) == PAGE && write(freed[1], page, PAGE) == PAGE,
                  "pipe %u", i);
        ends[2 * i] = freed[0];
        ends[2 * i + 1] = freed[1];
    }
    for (unsigned i = 0; i < 2 * pairs; i++)
        close(ends[i]);
    free(ends);
}

/* In how many pieces of physical memory a mapping lies. */
static unsigned pieces(const uint8_t *p, uint64_t size)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t last = 0;
    unsigned n = 0;

    CHECK(fd >= 0, "no pagemap");
    for (uint64_t at = 0; at < size; at += PAGE) {
        uint64_t entry;

        (void)*(const volatile uint8_t *)(p + at);
        CHECK(pread(fd, &entry, 8, (off_t)(((uintptr_t)p + at) / PAGE * 8)) == 8, "pagemap");
        entry &= (1ull << 55) - 1;
        n += entry != last + 1;
        last = entry;
    }
    close(fd);
    return n;
}

static unsigned page_lists(void)
{
    enum { PIECES = 200000 };
    struct guest g = {.fd = node_open()};
    const uint64_t size = (uint64_t)(PIECES + 20000) * PAGE;
    unsigned n;
    int err;

    guest_claim(&g);
    scatter(PIECES + 40000);
    err = guest_resource(&g, size);
    CHECK(!err, "%s", strerror(-err));
    n = pieces(g.arena, size);
    CHECK(n >= PIECES, "only %u pieces", n);

    /* All of it, which no worker can map, and then only its beginning, which is in pieces, too. QEMU, where
     * it reads the list itself, takes no such list; a smaller one is good. */
    guest_hello(&g);
    CHECK(!guest_say(&g, VGR_SUBMIT_OPEN, NULL), "OPEN");
    if (bridged()) {
        guest_ignored(&g);
        CHECK(!guest_resource(&g, GUEST_ARENA), "no arena beside it");
    } else {
        guest_fails(&g, VGR_ERROR_ARENA, "too fragmented");
        memset(g.ctl, 0, VGR_CONTROL_SIZE);
        g.size = GUEST_ARENA;
    }
    guest_hello(&g);
    CHECK(!guest_say(&g, VGR_SUBMIT_OPEN, NULL), "OPEN");
    CHECK(guest_settled(&g, PATIENCE_MS) == VGR_STATE_READY, "error %u: %.256s", g.ctl->error,
          g.ctl->error_text);
    guest_buffer(&g, 4096);
    guest_computes(&g);
    return n;
}

const struct hostile_case cases_memory[] = {
    {"destroyed", destroyed},
    {"huge", huge},
    {"page-lists", page_lists},
    {0},
};
