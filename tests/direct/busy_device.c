/* SPDX-License-Identifier: MIT
 *
 * busy_device - a program with two VirtGPUs, one of which computes for seconds.
 *
 * Meanwhile the other one gets small uploads, graphs and downloads, from the thread that started the
 * long graph and then from another one. All of them must be done while the long graph still runs: that
 * is an order, not a time. Both devices take both parts. Prints the latencies of the small ones beside
 * those on an idle host, and at last the number of rounds; status 1 if anything waited for the long
 * graph, or is wrong.
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FEW     3 /* with these it has waited, and not been slow */
#define ROUNDS  100
#define SMALL   4096 /* elements */
#define SIDE    512  /* of the long graph's matrices */
#define LONG_S  1.8  /* what it should take */
#define MIN_S   1.0  /* what it must take, or it proves nothing */
#define MAX_OPS 16384

static void die(const char *what)
{
    fprintf(stderr, "busy_device: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct device {
    const char *name;
    ggml_backend_t backend;
    /* small: out = in + in */
    struct ggml_context *ctx;
    struct ggml_tensor *in, *out;
    struct ggml_cgraph *small;
    /* long: a chain of matrix products */
    struct ggml_context *long_ctx;
    struct ggml_cgraph *long_graph;
    ggml_gallocr_t alloc;
    int ops; /* of the long graph */
};

static void make_small(struct device *d)
{
    struct ggml_init_params params = {.mem_size = 1u << 20, .no_alloc = true};

    d->ctx = ggml_init(params);
    d->in = ggml_new_tensor_1d(d->ctx, GGML_TYPE_F32, SMALL);
    d->out = ggml_add(d->ctx, d->in, d->in);
    d->small = ggml_new_graph(d->ctx);
    ggml_build_forward_expand(d->small, d->out);
    if (!ggml_backend_alloc_ctx_tensors(d->ctx, d->backend))
        die("no memory on a device");
}

static void make_long(struct device *d, int ops)
{
    struct ggml_init_params params = {
        .mem_size =
            (MAX_OPS + 8) * ggml_tensor_overhead() + ggml_graph_overhead_custom(MAX_OPS + 8, false),
        .no_alloc = true,
    };
    static float weights[SIDE * SIDE];
    struct ggml_tensor *w, *x;

    if (d->long_ctx) {
        ggml_gallocr_free(d->alloc);
        ggml_free(d->long_ctx);
    }
    d->ops = ops;
    d->long_ctx = ggml_init(params);
    w = ggml_new_tensor_2d(d->long_ctx, GGML_TYPE_F32, SIDE, SIDE);
    ggml_set_input(w);
    x = w;
    for (int i = 0; i < ops; i++)
        x = ggml_mul_mat(d->long_ctx, w, x);
    ggml_set_output(x);
    d->long_graph = ggml_new_graph_custom(d->long_ctx, MAX_OPS + 8, false);
    ggml_build_forward_expand(d->long_graph, x);
    d->alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(d->backend));
    if (!ggml_gallocr_alloc_graph(d->alloc, d->long_graph))
        die("no memory for the long graph");
    for (int i = 0; i < SIDE; i++)
        weights[i * SIDE + i] = 1.0f;
    ggml_backend_tensor_set(w, weights, 0, sizeof(weights));
}

/* Makes the long graph long enough. */
static void calibrate(struct device *d)
{
    int ops = 4;
    double took = 0;

    for (int i = 0; i < 8; i++) {
        double wanted;

        make_long(d, ops);
        if (ggml_backend_graph_compute(d->backend, d->long_graph) != GGML_STATUS_SUCCESS)
            die("the long graph fails"); /* also brings up what the first run needs */
        took = now();
        if (ggml_backend_graph_compute(d->backend, d->long_graph) != GGML_STATUS_SUCCESS)
            die("the long graph fails");
        took = now() - took;
        if (took >= LONG_S * 0.8)
            break;
        wanted = ops * (LONG_S / took) + 1;
        ops = wanted > ops * 16 ? ops * 16 : (int)wanted;
        if (ops > MAX_OPS)
            ops = MAX_OPS;
    }
    if (took < MIN_S)
        die("no graph is long enough");
}

struct latency {
    int rounds; /* complete before `over` was set */
    double median, longest;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Small work, until it was done ROUNDS times or `over` is set. */
static struct latency small_rounds(struct device *d, const int *over)
{
    struct latency l = {0};
    static float data[SMALL], result[SMALL];
    static double took[ROUNDS];
    static int value;

    while (l.rounds < ROUNDS) {
        double start = now();

        value++;
        for (int i = 0; i < SMALL; i++)
            data[i] = (float)(value + i % 5);
        /* By turns through the stream, and by plain calls. */
        if (l.rounds % 2) {
            ggml_backend_tensor_set_async(d->backend, d->in, data, 0, sizeof(data));
            if (ggml_backend_graph_compute_async(d->backend, d->small) != GGML_STATUS_SUCCESS)
                die("a small graph fails");
            ggml_backend_tensor_get_async(d->backend, d->out, result, 0, sizeof(result));
            ggml_backend_synchronize(d->backend);
        } else {
            ggml_backend_tensor_set(d->in, data, 0, sizeof(data));
            if (ggml_backend_graph_compute(d->backend, d->small) != GGML_STATUS_SUCCESS)
                die("a small graph fails");
            ggml_backend_tensor_get(d->out, result, 0, sizeof(result));
        }
        for (int i = 0; i < SMALL; i++) {
            if (result[i] != 2.0f * data[i])
                die("a small graph's result is wrong");
        }
        if (__atomic_load_n(over, __ATOMIC_SEQ_CST))
            break;
        took[l.rounds++] = (now() - start) * 1e6;
    }
    if (!l.rounds)
        return l;
    qsort(took, (size_t)l.rounds, sizeof(took[0]), by_value);
    l.median = took[l.rounds / 2];
    l.longest = took[l.rounds - 1];
    return l;
}

/* ---- The long graph ---- */

struct run {
    struct device *d;
    ggml_backend_event_t event; /* NULL: the thread computes */
    int begun;                  /* atomic */
    int over;                   /* atomic */
};

static void *wait_for_long(void *arg)
{
    struct run *r = arg;

    __atomic_store_n(&r->begun, 1, __ATOMIC_SEQ_CST);
    if (r->event)
        ggml_backend_event_synchronize(r->event);
    else if (ggml_backend_graph_compute(r->d->backend, r->d->long_graph) != GGML_STATUS_SUCCESS)
        die("the long graph fails");
    __atomic_store_n(&r->over, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Small work on `quick` while `slow` computes, started by this thread or by another. False if the long
 * graph was over before enough of it was done. */
static bool try(struct device *slow, struct device *quick, bool this_thread, double idle)
{
    struct run r = {.d = slow};
    double start = now(), length, at;
    struct latency l;
    pthread_t thread;

    if (this_thread) {
        r.event = ggml_backend_event_new(ggml_backend_get_device(slow->backend));
        if (ggml_backend_graph_compute_async(slow->backend, slow->long_graph) !=
            GGML_STATUS_SUCCESS)
            die("the long graph fails");
        ggml_backend_event_record(r.event, slow->backend);
    }
    if (pthread_create(&thread, NULL, wait_for_long, &r))
        die("no thread");
    while (!__atomic_load_n(&r.begun, __ATOMIC_SEQ_CST))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 50000000},
              NULL); /* it computes, and its waiter sleeps */
    l = small_rounds(quick, &r.over);
    at = now() - start;
    pthread_join(thread, NULL);
    ggml_backend_synchronize(slow->backend);
    length = now() - start;
    if (r.event)
        ggml_backend_event_free(r.event);
    printf("%s busy for %.2f s, started by %s thread: %d rounds on %s done at %.2f s, "
           "median %.0f us, longest %.0f us; on an idle device %.0f us\n",
           slow->name, length, this_thread ? "this" : "another", l.rounds, quick->name, at,
           l.median, l.longest, idle);
    if (l.rounds < FEW)
        die("small work waited for the long graph");
    if (length < MIN_S)
        die("the long graph was too short");
    return l.rounds == ROUNDS;
}

static void try_hard(struct device *slow, struct device *quick, bool this_thread, double idle)
{
    for (int i = 0; i < 3; i++) {
        if (try(slow, quick, this_thread, idle))
            return;
        make_long(slow, slow->ops * 4 < MAX_OPS ? slow->ops * 4 : MAX_OPS);
    }
    die("too little small work was done beside the long graph");
}

int main(void)
{
    struct device d[2] = {{.name = "VirtGPU0"}, {.name = "VirtGPU1"}};
    const int never = 0;
    int rounds = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    ggml_backend_load_all();
    for (int i = 0; i < 2; i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_by_name(d[i].name);

        d[i].backend = dev ? ggml_backend_dev_init(dev, NULL) : NULL;
        if (!d[i].backend)
            die(d[i].name);
        make_small(&d[i]);
    }
    for (int i = 0; i < 2; i++) {
        struct device *slow = &d[i], *quick = &d[!i];
        double idle;

        calibrate(slow);
        small_rounds(quick, &never);
        idle = small_rounds(quick, &never).median;
        for (int this_thread = 1; this_thread >= 0; this_thread--) {
            try_hard(slow, quick, this_thread, idle);
            rounds += ROUNDS;
        }
    }
    printf("%d\n", rounds);
    for (int i = 0; i < 2; i++)
        ggml_backend_free(d[i].backend);
    return 0;
}
