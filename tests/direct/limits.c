/* SPDX-License-Identifier: MIT
 *
 * limits - a program that goes to the limits of VirtGPU0, through GGML's public calls only.
 *
 * Does what the lines on its standard input say, and answers each with one line:
 *
 *   alloc BYTES    allocates a buffer: "ok" or "refused"
 *   free           frees all buffers: "ok"
 *   memory         "FREE TOTAL" of the device, in bytes
 *   compute N      a graph of N products of large matrices: "STATUS MS", STATUS as GGML says it
 *   quit           ends the program, with what it holds; no answer
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE    512
#define BUFFERS 64

static ggml_backend_dev_t dev;
static ggml_backend_buffer_t buffers[BUFFERS];
static int n_buffers;

static void die(const char *what)
{
    fprintf(stderr, "limits: %s\n", what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void alloc(size_t size)
{
    ggml_backend_buffer_t b =
        ggml_backend_buft_alloc_buffer(ggml_backend_dev_buffer_type(dev), size);

    if (b && n_buffers == BUFFERS)
        die("too many buffers");
    if (b)
        buffers[n_buffers++] = b;
    puts(b ? "ok" : "refused");
}

static void free_all(void)
{
    while (n_buffers)
        ggml_backend_buffer_free(buffers[--n_buffers]);
    puts("ok");
}

static void memory(void)
{
    size_t free = 0, total = 0;

    ggml_backend_dev_memory(dev, &free, &total);
    printf("%zu %zu\n", free, total);
}

/* Opens everything anew: what a program does that goes on after a failure. */
static void compute(int n)
{
    struct ggml_init_params params = {.mem_size = 16u << 20, .no_alloc = true};
    struct ggml_context *ctx = ggml_init(params);
    ggml_backend_t backend = ggml_backend_dev_init(dev, NULL);
    struct ggml_tensor *a = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, SIZE, SIZE), *x = a;
    struct ggml_cgraph *graph = ggml_new_graph_custom(ctx, (size_t)n + 8, false);
    enum ggml_status status;
    ggml_gallocr_t alloc;
    double start, ms;

    if (!backend)
        die("no backend");
    ggml_set_input(a);
    for (int i = 0; i < n; i++)
        x = ggml_mul_mat(ctx, a, x);
    ggml_build_forward_expand(graph, x);
    alloc = ggml_gallocr_new(ggml_backend_dev_buffer_type(dev));
    if (!ggml_gallocr_alloc_graph(alloc, graph))
        die("no memory for the graph");
    start = now_ms();
    status = ggml_backend_graph_compute(backend, graph);
    ms = now_ms() - start;
    /* What goes wrong while GGML waits for a graph, it says when the next one is computed. */
    if (status == GGML_STATUS_SUCCESS)
        status = ggml_backend_graph_compute(backend, graph);
    printf("%s %.0f\n", status == GGML_STATUS_SUCCESS ? "success" : "failed", ms);
    ggml_gallocr_free(alloc);
    ggml_backend_free(backend);
    ggml_free(ctx);
}

int main(void)
{
    char line[64];

    ggml_backend_load_all();
    dev = ggml_backend_dev_by_name("VirtGPU0");
    if (!dev)
        die("no VirtGPU0");
    while (fgets(line, sizeof(line), stdin)) {
        char *argument = strchr(line, ' ');

        if (!strncmp(line, "alloc ", 6))
            alloc(strtoull(argument, NULL, 10));
        else if (!strcmp(line, "free\n"))
            free_all();
        else if (!strcmp(line, "memory\n"))
            memory();
        else if (!strncmp(line, "compute ", 8))
            compute(atoi(argument));
        else if (!strcmp(line, "quit\n"))
            return 0;
        else
            die("an unknown command");
        fflush(stdout);
    }
    return 0;
}
