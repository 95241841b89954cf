/* SPDX-License-Identifier: MIT
 *
 * What vgr-probe measures, through GGML's public calls only. See probe.h.
 *
 * A step imitates the decoding of one token: nine small inputs set one by one, as llama.cpp does, a
 * graph of 529 nodes, one output read back. All but 17 of its nodes are views, which cost a backend
 * next to nothing but must be told apart and sent like any other: so a step's time is nearly all
 * overhead, and the difference of two devices' steps is what the one adds to a token.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ggml-alloc.h>

#include "probe.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The step: as many layers, inputs and nodes as a model of 1B parameters has. */
#define LAYERS   16
#define VIEWS    32 /* of each layer */
#define NODES    (1 + LAYERS * (VIEWS + 1))
#define INPUTS   9
#define SMALL    16   /* floats of an input */
#define BIG      2048 /* floats of the last input */
#define N_OUTPUT 4096 /* floats of the output */

#define TRANSFERS 20 /* at most, of large ones */

/* Not exit(): GPU drivers crash in the destructors of a process that is going anyway. */
void probe_die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "vgr-probe: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    _exit(1);
}

double probe_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* ---- Measuring ---- */

typedef void step_fn(struct probe *p, void *user, long i);

/* Calls step() over and over and keeps the time of each, `total` counts the warm-up too. Prints its
 * line. `rate_bytes` makes a time into GB/s; the high percentiles are still the slow ones. */
static void measure(struct probe *p, const char *name, long most, double rate_bytes, step_fn *step,
                    void *user)
{
    long iterations = p->iterations < most ? p->iterations : most;
    double end = probe_now_us() + (double)p->seconds * 1e6, start, q[5];
    static const double at[5] = {0, 0.5, 0.9, 0.99, 1};
    long n = 0, i = 0, warm_up = iterations / 10 + 1;

    for (; i < warm_up && (!i || probe_now_us() < end); i++)
        step(p, user, i);
    end = probe_now_us() + (double)p->seconds * 1e6;
    for (; n < iterations && (n < 2 || probe_now_us() < end); n++, i++) {
        if (p->pause_us)
            usleep((useconds_t)p->pause_us);
        p->issued_us = 0;
        start = probe_now_us();
        step(p, user, i);
        p->sample[n] = (p->issued_us > 0 ? p->issued_us : probe_now_us()) - start;
    }
    qsort(p->sample, (size_t)n, sizeof(*p->sample), compare);
    for (size_t k = 0; k < ARRAY_SIZE(q); k++) {
        q[k] = p->sample[(long)(at[k] * (double)(n - 1))];
        if (rate_bytes > 0)
            q[k] = rate_bytes / q[k] / 1e3; /* bytes a microsecond are MB/s */
    }
    printf(
        "{\"measure\": \"%s\", \"device\": \"%s\", \"unit\": \"%s\", \"n\": %ld, \"total\": %ld, "
        "\"best\": %.3f, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"worst\": %.3f}\n",
        name, ggml_backend_dev_name(p->dev), rate_bytes > 0 ? "GB/s" : "us", n, i, q[0], q[1], q[2],
        q[3], q[4]);
    fflush(stdout);
}

static struct ggml_context *new_context(size_t n_tensors)
{
    struct ggml_init_params params = {.mem_size = (n_tensors + 1) * ggml_tensor_overhead() +
                                                  ggml_graph_overhead_custom(n_tensors + 1, false),
                                      .no_alloc = true};
    struct ggml_context *ctx = ggml_init(params);

    if (!ctx)
        probe_die("no memory");
    return ctx;
}

static ggml_backend_buffer_t alloc_tensors(struct probe *p, struct ggml_context *ctx)
{
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, p->backend);

    if (!buffer)
        probe_die("%s has no memory for this", ggml_backend_dev_name(p->dev));
    return buffer;
}

/* ---- Round trip and decoding step ---- */

static void rtt_step(struct probe *p, void *user, long i)
{
    float value;

    ggml_backend_tensor_get(user, &value, 0, sizeof(value));
    if (value != 1.0f)
        probe_die("rtt: read %g, wrote 1", (double)value);
}

void probe_rtt(struct probe *p)
{
    struct ggml_context *ctx = new_context(1);
    struct ggml_tensor *t = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, SMALL);
    ggml_backend_buffer_t buffer = alloc_tensors(p, ctx);
    float one[SMALL];

    for (size_t i = 0; i < ARRAY_SIZE(one); i++)
        one[i] = 1.0f;
    ggml_backend_tensor_set(t, one, 0, sizeof(one));
    measure(p, "rtt", p->iterations, 0, rtt_step, t);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

struct step {
    bool issue_only; /* measure until all is asked for, not until it is there */
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *input[INPUTS], *output;
    struct ggml_cgraph *graph;
    float data[BIG], result[N_OUTPUT];
};

/* output = the big input, repeated, plus a small one in each layer, repeated. */
static void make_step(struct probe *p, struct step *s)
{
    struct ggml_tensor *x;

    s->ctx = new_context(INPUTS + 1 + NODES);
    for (int k = 0; k < INPUTS; k++)
        s->input[k] = ggml_new_tensor_1d(s->ctx, GGML_TYPE_F32, k == INPUTS - 1 ? BIG : SMALL);
    x = ggml_new_tensor_1d(s->ctx, GGML_TYPE_F32, N_OUTPUT);
    x = ggml_repeat(s->ctx, s->input[INPUTS - 1], x);
    for (int layer = 0; layer < LAYERS; layer++) {
        for (int v = 0; v < VIEWS; v++)
            x = v % 2 ? ggml_reshape_2d(s->ctx, x, SMALL, N_OUTPUT / SMALL)
                      : ggml_reshape_1d(s->ctx, x, N_OUTPUT);
        x = ggml_add(s->ctx, x, s->input[layer % (INPUTS - 1)]);
    }
    s->output = x;
    s->graph = ggml_new_graph_custom(s->ctx, INPUTS + 1 + NODES, false);
    ggml_build_forward_expand(s->graph, s->output);
    s->buffer = alloc_tensors(p, s->ctx);
}

static void one_step(struct probe *p, void *user, long i)
{
    struct step *s = user;
    float value = (float)(i % 64), want;

    for (int k = 0; k < BIG; k++)
        s->data[k] = value;
    for (int k = 0; k < INPUTS; k++)
        ggml_backend_tensor_set(s->input[k], s->data, 0, ggml_nbytes(s->input[k]));
    if (ggml_backend_graph_compute_async(p->backend, s->graph) != GGML_STATUS_SUCCESS)
        probe_die("step: the graph was not computed");
    ggml_backend_tensor_get_async(p->backend, s->output, s->result, 0, sizeof(s->result));
    if (s->issue_only)
        p->issued_us = probe_now_us();
    ggml_backend_synchronize(p->backend);
    want = value * (LAYERS + 1);
    if (s->result[0] != want || s->result[N_OUTPUT - 1] != want)
        probe_die("step: %g and %g instead of %g", (double)s->result[0],
                  (double)s->result[N_OUTPUT - 1], (double)want);
}

static void free_step(struct step *s)
{
    ggml_backend_buffer_free(s->buffer);
    ggml_free(s->ctx);
}

static void measure_step(struct probe *p, const char *name, bool issue_only)
{
    static struct step s;

    make_step(p, &s);
    s.issue_only = issue_only;
    measure(p, name, p->iterations, 0, one_step, &s);
    free_step(&s);
}

void probe_step(struct probe *p)
{
    measure_step(p, "step", false);
}

void probe_issue(struct probe *p)
{
    measure_step(p, "issue", true);
}

void probe_idle(struct probe *p)
{
    static struct step s;

    make_step(p, &s);
    for (long i = 0; i < 10; i++)
        one_step(p, &s, i);
    printf("{\"measure\": \"idle\", \"device\": \"%s\", \"unit\": \"s\", \"pid\": %ld}\n",
           ggml_backend_dev_name(p->dev), (long)getpid());
    fflush(stdout);
    sleep((unsigned)p->seconds);
    free_step(&s);
}

/* ---- Transfers ---- */

struct transfer {
    struct ggml_tensor *t;
    uint8_t *data, *source; /* source: for memcpy */
    size_t bytes;
};

static void upload_step(struct probe *p, void *user, long i)
{
    struct transfer *x = user;
    uint8_t last[4];

    x->data[x->bytes - 1] = (uint8_t)i;
    ggml_backend_tensor_set(x->t, x->data, 0, x->bytes);
    /* An upload may still be on its way: what was written last is read back. */
    ggml_backend_tensor_get(x->t, last, x->bytes - sizeof(last), sizeof(last));
    if (memcmp(last, x->data + x->bytes - sizeof(last), sizeof(last)) != 0)
        probe_die("upload: other bytes than those written");
}

/* What llama.cpp does with its inputs: the program leaves the bytes alone until the device has them. */
static void async_upload_step(struct probe *p, void *user, long i)
{
    struct transfer *x = user;
    uint8_t last[4];

    x->data[x->bytes - 1] = (uint8_t)i;
    ggml_backend_tensor_set_async(p->backend, x->t, x->data, 0, x->bytes);
    ggml_backend_tensor_get_async(p->backend, x->t, last, x->bytes - sizeof(last), sizeof(last));
    ggml_backend_synchronize(p->backend);
    if (memcmp(last, x->data + x->bytes - sizeof(last), sizeof(last)) != 0)
        probe_die("asynchronous upload: other bytes than those written");
}

static void download_step(struct probe *p, void *user, long i)
{
    struct transfer *x = user;

    x->data[x->bytes - 1] = (uint8_t)~x->data[x->bytes - 1];
    ggml_backend_tensor_get(x->t, x->data, 0, x->bytes);
}

static void memcpy_step(struct probe *p, void *user, long i)
{
    struct transfer *x = user;

    memcpy(x->data, x->source, x->bytes);
    __asm__ volatile("" ::"r"(x->data) : "memory"); /* the copy has a reader */
}

/* Bytes that differ along the way: xorshift with a fixed seed. */
static void fill(uint8_t *data, size_t bytes)
{
    uint64_t x = 0x9e3779b97f4a7c15u;

    for (size_t i = 0; i + sizeof(x) <= bytes; i += sizeof(x)) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(data + i, &x, sizeof(x));
    }
}

/* Measures uploads from `data`, or downloads into it. */
static void measure_transfer(struct probe *p, const char *name, uint8_t *data, step_fn *step)
{
    bool down = step == download_step;
    struct ggml_context *ctx = new_context(1);
    struct transfer x = {.t = ggml_new_tensor_1d(ctx, GGML_TYPE_I8, (int64_t)p->bytes),
                         .data = data,
                         .bytes = p->bytes};
    ggml_backend_buffer_t buffer = alloc_tensors(p, ctx);
    uint8_t *copy = malloc(p->bytes);

    if (!copy)
        probe_die("no memory");
    fill(data, p->bytes);
    memcpy(copy, data, p->bytes);
    ggml_backend_tensor_set(x.t, data, 0, p->bytes);
    measure(p, name, TRANSFERS, (double)p->bytes, step, &x);
    if (!down) {
        memset(data, 0, p->bytes - 1);
        copy[p->bytes - 1] = data[p->bytes - 1];
        ggml_backend_tensor_get(x.t, data, 0, p->bytes);
    }
    if (memcmp(copy, data, p->bytes) != 0)
        probe_die("%s: other bytes than those written", name);
    free(copy);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

static void from_plain_memory(struct probe *p, const char *name, step_fn *step)
{
    uint8_t *data = malloc(p->bytes);

    if (!data)
        probe_die("no memory");
    measure_transfer(p, name, data, step);
    free(data);
}

void probe_upload(struct probe *p)
{
    from_plain_memory(p, "upload", upload_step);
}

void probe_download(struct probe *p)
{
    from_plain_memory(p, "download", download_step);
}

void probe_memcpy(struct probe *p)
{
    struct transfer x = {.data = malloc(p->bytes), .bytes = p->bytes};

    x.source = malloc(p->bytes);
    if (!x.source || !x.data)
        probe_die("no memory");
    fill(x.source, p->bytes);
    measure(p, "memcpy", TRANSFERS, (double)p->bytes, memcpy_step, &x);
    free(x.source);
    free(x.data);
}

static void from_host_buffer(struct probe *p, const char *name, step_fn *step)
{
    ggml_backend_buffer_type_t type = ggml_backend_dev_host_buffer_type(p->dev);
    ggml_backend_buffer_t buffer = type ? ggml_backend_buft_alloc_buffer(type, p->bytes) : NULL;

    if (!buffer) {
        printf("{\"measure\": \"%s\", \"device\": \"%s\", \"unit\": \"GB/s\", \"n\": 0, "
               "\"p50\": null}\n",
               name, ggml_backend_dev_name(p->dev));
        return;
    }
    measure_transfer(p, name, ggml_backend_buffer_get_base(buffer), step);
    ggml_backend_buffer_free(buffer);
}

void probe_pinned(struct probe *p)
{
    from_host_buffer(p, "pinned", upload_step);
}

void probe_pinned_async(struct probe *p)
{
    from_host_buffer(p, "pinned_async", async_upload_step);
}
