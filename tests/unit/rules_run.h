/* SPDX-License-Identifier: MIT
 *
 * rules_run.h - runs ops on GGML's CPU backend where a stray access cannot go unseen.
 *
 * Each tensor and the backend's scratch memory lie between pages that nobody may touch, flush with one
 * of them, so that one byte too many is a signal. All runs in a child process; the parent tells an abort
 * of GGML (an assertion of its own, which is how it refuses) from any other death and goes on behind it.
 */
#ifndef VGR_RULES_RUN_H
#define VGR_RULES_RUN_H

#include <dlfcn.h>
#include <ggml-cpu.h>
#include <link.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rules_change.h"
#include "worker/backends.h"

#define ABORTED      77          /* exit status of a child in which GGML aborted */
#define RUN_BYTES    (20u << 20) /* scratch memory of convolutions is 16 MB and a little */
#define RUN_SECONDS  5
#define RUN_MAPS_MAX (GGML_MAX_SRC + 2)

enum flush { FLUSH_END, FLUSH_START };

static struct {
    struct vgr_backends backends;
    struct ggml_cplan (*plan)(const struct ggml_cgraph *, int, struct ggml_threadpool *);
    enum ggml_status (*compute)(struct ggml_cgraph *, struct ggml_cplan *);
} cpu;

static int find_cpu(struct dl_phdr_info *info, size_t size, void *to)
{
    (void)size;
    if (!strstr(info->dlpi_name, "libggml-cpu"))
        return 0;
    *(const char **)to = info->dlpi_name;
    return 1;
}

/* Loads the CPU backend, as the worker does, and finds the calls with which scratch is our own. */
static int run_load(void)
{
    static const char names[1][64] = {"CPU"};
    const char *file = NULL;
    void *lib;

    /* Threads that spin after their work would be in each other's way. */
    setenv("OMP_WAIT_POLICY", "passive", 1);
    if (vgr_backends_load(&cpu.backends, names, 1))
        return -1;
    dl_iterate_phdr(find_cpu, &file);
    lib = dlopen(file, RTLD_NOW | RTLD_NOLOAD);
    if (!lib)
        return -1;
    *(void **)&cpu.plan = dlsym(lib, "ggml_graph_plan");
    *(void **)&cpu.compute = dlsym(lib, "ggml_graph_compute");
    return cpu.plan && cpu.compute ? 0 : -1;
}

/* ---- In the child --------------------------------------------------------------------------- */

static uint64_t run_seed;
static int32_t run_index; /* what all indices are; 0 is in range everywhere */

static uint32_t run_random(void)
{
    run_seed = run_seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(run_seed >> 33);
}

static struct {
    void *at;
    size_t len;
} maps[RUN_MAPS_MAX];

static int n_maps;

#define GUARD (4u << 20) /* on each side: some go far astray */

/* `bytes` of memory between two stretches that are out of bounds. */
static uint8_t *guarded(size_t bytes, size_t align, enum flush flush)
{
    size_t page = 4096, room = (bytes + page) / page * page;
    uint8_t *p = mmap(NULL, room + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + GUARD, room, PROT_READ | PROT_WRITE))
        _exit(2);
    maps[n_maps].at = p;
    maps[n_maps++].len = room + 2 * GUARD;
    return flush == FLUSH_START ? p + GUARD : p + GUARD + (room - bytes) / align * align;
}

static void unmap_all(void)
{
    for (int i = 0; i < n_maps; i++)
        munmap(maps[i].at, maps[i].len);
    n_maps = 0;
}

/* Numbers, now and then none. */
static void fill(uint8_t *p, size_t bytes, enum ggml_type type, bool wild)
{
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        float f = (float)(run_random() % 4096) / 1024 - 2;
        uint16_t h = ggml_fp32_to_fp16(f);
        uint32_t word = type == GGML_TYPE_F32   ? 0
                        : type == GGML_TYPE_F16 ? h * 0x10001u
                                                : run_random();

        if (wild && run_random() % 32 == 0)
            f = run_random() % 2 ? NAN : INFINITY;
        if (type == GGML_TYPE_F32)
            memcpy(&word, &f, 4);
        if (type == GGML_TYPE_I32)
            word = (uint32_t)run_index;
        if (type == GGML_TYPE_I64)
            word = i % 8 == 0 ? (uint32_t)run_index : run_index < 0 ? UINT32_MAX : 0;
        memcpy(p + i, &word, 4);
    }
}

/* `room` bytes at least. */
static bool place(tensor_t t, uint64_t room, enum flush flush, bool wild)
{
    uint64_t bytes;
    size_t align = ggml_blck_size(t->type) > 1 ? 2 : ggml_type_size(t->type);

    if (!tensor_possible(t, &bytes) || bytes > RUN_BYTES)
        return false;
    if (bytes < room)
        bytes = room;
    t->data = guarded(bytes, align, flush);
    fill(t->data, bytes, t->type, wild);
    return true;
}

/* Runs `op` once; false if it is too large. Does not return if something goes wrong. */
static bool run_op(ctx_t c, tensor_t op, int threads, enum flush flush, bool wild)
{
    struct ggml_cgraph *g = ggml_new_graph_custom(c, 32, false);
    struct ggml_cplan plan;
    bool placed = true;

    op->data = NULL;
    for (int s = 0; placed && s < GGML_MAX_SRC; s++) {
        /* The rules let rotary factors be read beyond their end, inside of their buffer. */
        uint64_t room = s == 2 && (op->op == GGML_OP_ROPE || op->op == GGML_OP_ROPE_BACK)
                            ? (uint64_t)op->ne[0] / 2 * sizeof(float)
                            : 0;

        if (op->src[s] && op->src[s] != op)
            placed = place(op->src[s], room, flush, wild);
    }
    for (int s = 0; placed && s < GGML_MAX_SRC; s++) {
        tensor_t t = op->src[s];

        /* In place: on the memory of the source that it is a view of. */
        if (op->view_src && t && (t == op->view_src || t->view_src == op->view_src) &&
            t->type == op->type && ggml_are_same_stride(t, op) && ggml_are_same_shape(t, op))
            op->data = t->data;
    }
    if (placed && !op->data)
        placed = place(op, 0, flush, wild);
    if (placed) {
        ggml_build_forward_expand(g, op);
        plan = cpu.plan(g, threads, NULL);
        placed = plan.work_size <= RUN_BYTES;
        if (placed && plan.work_size)
            plan.work_data = guarded(plan.work_size, 16, FLUSH_END);
        if (placed)
            cpu.compute(g, &plan);
    }
    unmap_all();
    return placed;
}

static void exit_instead(const char *message)
{
    (void)message;
    _exit(ABORTED);
}

/* ---- In the parent -------------------------------------------------------------------------- */

struct run_report {
    int next; /* case */
    int ran, aborted, slow, died;
    char text[256]; /* what runs now */
};

/* Shared with the children. */
static struct run_report *run_report_new(void)
{
    return mmap(NULL, sizeof(struct run_report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
}

/* Only in builds that measure coverage, where a child tells what it reached. */
extern void __gcov_dump(void) __attribute__((weak));

/* Runs `one(r, i)` for the cases r->next to n - 1 in children. */
static void run_all(struct run_report *r, int n, void (*one)(struct run_report *r, int i))
{
    while (r->next < n) {
        int status = 0;
        pid_t pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};

            /* cmocka would catch these and go on with its tests. */
            for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
                signal(deadly[i], SIG_DFL);
            ggml_set_abort_callback(exit_instead);
            for (; r->next < n; r->next++) {
                alarm(RUN_SECONDS);
                one(r, r->next);
            }
            if (__gcov_dump)
                __gcov_dump();
            _exit(0);
        }
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return;
        r->next++;
        if (WIFEXITED(status) && WEXITSTATUS(status) == ABORTED) {
            r->aborted++;
        } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
            r->slow++;
            printf("slow: %s\n", r->text);
        } else {
            r->died++;
            printf("died (%s %d): %s\n", WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), r->text);
        }
    }
}

#endif
