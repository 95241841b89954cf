/* SPDX-License-Identifier: MIT
 *
 * two_devices - a program that uses two VirtGPUs at once, through GGML's public calls only.
 *
 * Round after round: VirtGPU0 computes, its result is copied to VirtGPU1 behind an event, VirtGPU1
 * computes on, and only that result is read. Prints the number of rounds; status 1 at the first
 * wrong value.
 */
#include <ggml-backend.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>

#define N      4096
#define ROUNDS 200

struct side {
    ggml_backend_t backend;
    struct ggml_context *ctx;
    struct ggml_tensor *in, *out;
    struct ggml_cgraph *graph;
};

static void die(const char *what)
{
    fprintf(stderr, "two_devices: %s\n", what);
    exit(1);
}

static ggml_backend_t open_device(const char *name)
{
    ggml_backend_dev_t dev = ggml_backend_dev_by_name(name);
    ggml_backend_t backend = dev ? ggml_backend_dev_init(dev, NULL) : NULL;

    if (!backend)
        die(name);
    return backend;
}

/* out = in * in, or in + in. */
static struct side make_side(const char *name, bool square)
{
    struct ggml_init_params params = {.mem_size = 1u << 20, .no_alloc = true};
    struct side s = {.backend = open_device(name), .ctx = ggml_init(params)};

    s.in = ggml_new_tensor_1d(s.ctx, GGML_TYPE_F32, N);
    s.out = square ? ggml_mul(s.ctx, s.in, s.in) : ggml_add(s.ctx, s.in, s.in);
    s.graph = ggml_new_graph(s.ctx);
    ggml_build_forward_expand(s.graph, s.out);
    if (!ggml_backend_alloc_ctx_tensors(s.ctx, s.backend))
        die("no memory on a device");
    return s;
}

int main(void)
{
    static float data[N], result[N];
    struct side a, b;
    ggml_backend_event_t event;

    ggml_backend_load_all();
    a = make_side("VirtGPU0", true);
    b = make_side("VirtGPU1", false);
    event = ggml_backend_event_new(ggml_backend_get_device(a.backend));
    if (!event)
        die("no events");

    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            data[i] = (float)(round + i % 7);
        ggml_backend_tensor_set_async(a.backend, a.in, data, 0, sizeof(data));
        if (ggml_backend_graph_compute_async(a.backend, a.graph) != GGML_STATUS_SUCCESS)
            die("VirtGPU0 fails");
        ggml_backend_event_record(event, a.backend);
        ggml_backend_event_wait(b.backend, event);
        ggml_backend_tensor_copy_async(a.backend, b.backend, a.out, b.in);
        if (ggml_backend_graph_compute_async(b.backend, b.graph) != GGML_STATUS_SUCCESS)
            die("VirtGPU1 fails");
        ggml_backend_tensor_get_async(b.backend, b.out, result, 0, sizeof(result));
        ggml_backend_synchronize(b.backend);
        for (int i = 0; i < N; i++) {
            if (result[i] != 2.0f * data[i] * data[i]) {
                fprintf(stderr, "two_devices: round %d, [%d] is %f\n", round, i, (double)result[i]);
                return 1;
            }
        }
    }
    ggml_backend_event_free(event);
    ggml_backend_free(a.backend);
    ggml_backend_free(b.backend);
    printf("%d\n", ROUNDS);
    return 0;
}
