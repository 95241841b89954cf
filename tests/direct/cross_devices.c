/* SPDX-License-Identifier: MIT
 *
 * cross_devices - what two VirtGPUs do with each other's results is what one CPU would have done.
 *
 * A vector goes round: the first device adds what was uploaded for this round, the result is copied to
 * the second one, which multiplies it with what was uploaded there, and that result is copied back to
 * where the first began. The source of a copy is overwritten, and the destination read, by what is sent
 * right after it; nothing is waited for but every few rounds, at another place each time, when the
 * vector is compared with what GGML's own CPU backend made of the same numbers. By turns an event says
 * what the copies would say by themselves, and copies go through streams and by plain calls.
 *
 * Two threads do this at once, the second one with the devices exchanged, so that each device waits for
 * the other all the time. Prints the number of rounds; status 1 at the first wrong value.
 */
#include <ggml-backend.h>
#include <ggml.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N       4096
#define ROUNDS  2000
#define THREADS 2

struct side {
    ggml_backend_t backend;
    struct ggml_context *ctx;
    struct ggml_tensor *in, *with, *out;
    struct ggml_cgraph *graph;
    ggml_backend_event_t event;
};

struct program {
    int number;
    struct side a, b; /* a adds, b multiplies */
    struct side cpu_a, cpu_b;
    unsigned checked;
};

static void die(const char *what)
{
    fprintf(stderr, "cross_devices: %s\n", what);
    exit(1);
}

static struct side make_side(ggml_backend_t backend, bool add)
{
    struct ggml_init_params params = {.mem_size = 1u << 20, .no_alloc = true};
    struct side s = {.backend = backend, .ctx = ggml_init(params)};
    static const float zero[N];

    if (!backend)
        die("no backend");
    s.in = ggml_new_tensor_1d(s.ctx, GGML_TYPE_F32, N);
    s.with = ggml_new_tensor_1d(s.ctx, GGML_TYPE_F32, N);
    s.out = add ? ggml_add(s.ctx, s.in, s.with) : ggml_mul(s.ctx, s.in, s.with);
    s.graph = ggml_new_graph(s.ctx);
    ggml_build_forward_expand(s.graph, s.out);
    if (!ggml_backend_alloc_ctx_tensors(s.ctx, backend))
        die("no memory on a device");
    ggml_backend_tensor_set(s.in, zero, 0, sizeof(zero));
    if (ggml_backend_get_device(backend))
        s.event = ggml_backend_event_new(ggml_backend_get_device(backend));
    return s;
}

static void free_side(struct side *s)
{
    if (s->event)
        ggml_backend_event_free(s->event);
    ggml_backend_free(s->backend);
    ggml_free(s->ctx);
}

/* Small whole numbers: exact on every device. */
static void numbers(float *with, const struct program *p, int round, bool add)
{
    for (int i = 0; i < N; i++) {
        int n = (round * 31 + i * 7 + p->number * 13) % 9 - 4;

        with[i] = add ? (float)n : n < -1 ? -1.0f : 1.0f;
    }
}

static void compute(struct side *s, const float *with)
{
    ggml_backend_tensor_set_async(s->backend, s->with, with, 0, N * sizeof(float));
    if (ggml_backend_graph_compute_async(s->backend, s->graph) != GGML_STATUS_SUCCESS)
        die("a graph fails");
}

static void pass_on(struct side *from, struct side *to, int round)
{
    if (round % 3 == 1) {
        ggml_backend_event_record(from->event, from->backend);
        ggml_backend_event_wait(to->backend, from->event);
    }
    if (round % 7 == 3)
        ggml_backend_tensor_copy(from->out, to->in);
    else
        ggml_backend_tensor_copy_async(from->backend, to->backend, from->out, to->in);
}

static void compare(struct program *p, int round, struct side *s, const struct side *cpu)
{
    static _Thread_local float got[N], want[N];
    struct ggml_tensor *t = round % 2 ? s->out : s->in;

    if (round % 4 < 2) {
        ggml_backend_tensor_get_async(s->backend, t, got, 0, sizeof(got));
        ggml_backend_synchronize(s->backend);
    } else {
        ggml_backend_tensor_get(t, got, 0, sizeof(got));
    }
    ggml_backend_tensor_get(round % 2 ? cpu->out : cpu->in, want, 0, sizeof(want));
    for (int i = 0; i < N; i++) {
        if (got[i] != want[i]) {
            fprintf(stderr, "cross_devices: thread %d, round %d, [%d] is %g, not %g\n", p->number,
                    round, i, (double)got[i], (double)want[i]);
            exit(1);
        }
    }
    p->checked++;
}

static void *go_round(void *arg)
{
    struct program *p = arg;
    static _Thread_local float add[N], mul[N];

    for (int round = 1; round <= ROUNDS; round++) {
        numbers(add, p, round, true);
        numbers(mul, p, round, false);
        compute(&p->a, add);
        pass_on(&p->a, &p->b, round);
        compute(&p->b, mul);
        pass_on(&p->b, &p->a, round + 1);

        ggml_backend_tensor_set(p->cpu_a.with, add, 0, sizeof(add));
        ggml_backend_graph_compute(p->cpu_a.backend, p->cpu_a.graph);
        memcpy(p->cpu_b.in->data, p->cpu_a.out->data, sizeof(add));
        ggml_backend_tensor_set(p->cpu_b.with, mul, 0, sizeof(mul));
        ggml_backend_graph_compute(p->cpu_b.backend, p->cpu_b.graph);
        memcpy(p->cpu_a.in->data, p->cpu_b.out->data, sizeof(mul));
        if (round % 16 == 0 || round % 37 == 0 || round == ROUNDS)
            compare(p, round / 16, round % 3 ? &p->a : &p->b, round % 3 ? &p->cpu_a : &p->cpu_b);
    }
    return NULL;
}

static ggml_backend_t open_device(const char *name)
{
    ggml_backend_dev_t dev = ggml_backend_dev_by_name(name);

    return dev ? ggml_backend_dev_init(dev, NULL) : NULL;
}

static ggml_backend_t open_cpu(void)
{
    ggml_backend_t cpu = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);

    return cpu;
}

int main(void)
{
    static struct program p[THREADS];
    pthread_t thread[THREADS];
    unsigned checked = 0;

    ggml_backend_load_all();
    for (int i = 0; i < THREADS; i++) {
        p[i].number = i;
        p[i].a = make_side(open_device(i % 2 ? "VirtGPU1" : "VirtGPU0"), true);
        p[i].b = make_side(open_device(i % 2 ? "VirtGPU0" : "VirtGPU1"), false);
        p[i].cpu_a = make_side(open_cpu(), true);
        p[i].cpu_b = make_side(open_cpu(), false);
    }
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, go_round, &p[i]))
            die("no thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        checked += p[i].checked;
        free_side(&p[i].a);
        free_side(&p[i].b);
        free_side(&p[i].cpu_a);
        free_side(&p[i].cpu_b);
    }
    printf("%u vectors compared\n%d\n", checked, THREADS * ROUNDS);
    return 0;
}
