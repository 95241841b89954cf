/* SPDX-License-Identifier: MIT
 *
 * renew - a program that outlives its workers, through GGML's public calls only.
 *
 * Each round opens VirtGPU0, computes, says "ready" and waits for a line; meanwhile somebody kills
 * the worker. Then the next computation must fail, soon, and everything must still be freed in
 * peace. Some of the first round's objects are kept to the end: they must stay dead and harmless
 * while later rounds work. Prints the slowest failure in ms, and descriptors and mappings of this
 * process after the second round and after the last.
 */
#include <ggml-backend.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "holdings.h"

#define N 1024

struct job {
    ggml_backend_t backend;
    ggml_backend_buffer_t buffer, host;
    struct ggml_context *ctx;
    struct ggml_tensor *in, *out;
    struct ggml_cgraph *graph;
};

static void die(int round, const char *what)
{
    fprintf(stderr, "renew: round %d: %s\n", round, what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct job open_job(ggml_backend_dev_t dev, int round)
{
    struct ggml_init_params params = {.mem_size = 1u << 20, .no_alloc = true};
    struct job j = {.backend = ggml_backend_dev_init(dev, NULL), .ctx = ggml_init(params)};

    if (!j.backend)
        die(round, "no backend");
    j.in = ggml_new_tensor_1d(j.ctx, GGML_TYPE_F32, N);
    j.out = ggml_sqr(j.ctx, j.in);
    j.graph = ggml_new_graph(j.ctx);
    ggml_build_forward_expand(j.graph, j.out);
    j.buffer = ggml_backend_alloc_ctx_tensors(j.ctx, j.backend);
    j.host = ggml_backend_buft_alloc_buffer(ggml_backend_dev_host_buffer_type(dev), 65536);
    if (!j.buffer || !j.host)
        die(round, "no memory");
    return j;
}

static void close_job(struct job *j)
{
    ggml_backend_buffer_free(j->host);
    ggml_backend_buffer_free(j->buffer);
    ggml_backend_free(j->backend);
    ggml_free(j->ctx);
}

/* Computes and reads the result into the host buffer. */
static bool compute(struct job *j, float value)
{
    float *host = ggml_backend_buffer_get_base(j->host), data[N];

    for (int i = 0; i < N; i++)
        data[i] = value;
    ggml_backend_tensor_set(j->in, data, 0, sizeof(data));
    if (ggml_backend_graph_compute(j->backend, j->graph) != GGML_STATUS_SUCCESS)
        return false;
    ggml_backend_tensor_get_async(j->backend, j->out, host, 0, sizeof(data));
    ggml_backend_synchronize(j->backend);
    for (int i = 0; i < N; i++) {
        if (host[i] != value * value)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 3;
    unsigned fds = 0, maps = 0;
    struct job first;
    double slowest = 0;
    ggml_backend_dev_t dev;
    char line[16];

    ggml_backend_load_all();
    dev = ggml_backend_dev_by_name("VirtGPU0");
    if (!dev)
        die(0, "no VirtGPU0");
    for (int round = 1; round <= rounds; round++) {
        struct job j = open_job(dev, round);
        double start;

        if (!compute(&j, (float)round))
            die(round, "a wrong result");
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin))
            die(round, "nobody there");
        start = now_ms();
        if (compute(&j, 2.0f))
            die(round, "computed without a worker");
        if (now_ms() - start > slowest)
            slowest = now_ms() - start;
        if (round == 1)
            first = j;
        else
            close_job(&j);
        if (round > 1 && compute(&first, 3.0f))
            die(round, "what was dead is alive");
        if (round == 2) {
            fds = count_fds();
            maps = count_maps();
        }
    }
    printf("%.0f %u %u %u %u\n", slowest, fds, count_fds(), maps, count_maps());
    close_job(&first);
    return 0;
}
