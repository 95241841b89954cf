/* SPDX-License-Identifier: MIT
 *
 * program.c - what a program does with a device, once each: opens it, asks, allocates, computes, closes.
 *
 *   program
 *
 * Exit status 0: all of it was right. 3: GGML said that something failed, and its name is printed. 1: what was
 * said to have succeeded is wrong.
 */
#include <stdio.h>
#include <string.h>

#include "direct/product.h"

#define N 25000

enum { RIGHT = 0, WRONG = 1, FAILED = 3 };

static int failed(const char *what)
{
    printf("failed: %s\n", what);
    return FAILED;
}

static int wrong(const char *what)
{
    printf("wrong: %s\n", what);
    return WRONG;
}

static int compute(ggml_backend_dev_t dev)
{
    struct product p;
    int got;

    if (!product_new(&p, dev, 16, 4))
        return failed("the graph's memory");
    got = product_compute(&p);
    product_free(&p);
    return got < 0 ? wrong("the product") : got ? RIGHT : failed("the graph");
}

/* The device's own staging memory, as a program keeps it for what it reads from files. */
static int stage(ggml_backend_dev_t dev)
{
    ggml_backend_buffer_type_t host = ggml_backend_dev_host_buffer_type(dev);
    ggml_backend_buffer_t b = host ? ggml_backend_buft_alloc_buffer(host, 4096) : NULL;

    if (!b)
        return failed("staging memory");
    memset(ggml_backend_buffer_get_base(b), 1, 4096);
    ggml_backend_buffer_free(b);
    return RIGHT;
}

/* A transfer that is waited for by an event, in a second stream. GGML has no way to say that it failed: the next
 * graph does. */
static int transfer_in(ggml_backend_t a, ggml_backend_t b, ggml_backend_event_t event,
                       struct ggml_tensor *t, struct ggml_cgraph *graph)
{
    static float in[N], out[N];

    for (int i = 0; i < N; i++)
        in[i] = (float)(i * 7);
    ggml_backend_tensor_set_async(a, t, in, 0, sizeof(in));
    if (event) {
        ggml_backend_event_record(event, a);
        ggml_backend_event_wait(b, event);
    } else {
        ggml_backend_synchronize(a);
    }
    ggml_backend_tensor_get_async(b, t, out, 0, sizeof(out));
    ggml_backend_synchronize(b);
    if (!memcmp(in, out, sizeof(in)))
        return RIGHT;
    return ggml_backend_graph_compute(b, graph) ? failed("a transfer") : wrong("a transfer");
}

static int transfer(ggml_backend_dev_t dev)
{
    struct ggml_init_params params = {.mem_size = 1u << 20, .no_alloc = true};
    struct ggml_context *ctx = ggml_init(params);
    struct ggml_tensor *t = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, N);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_backend_t a = ggml_backend_dev_init(dev, NULL);
    ggml_backend_t b = a ? ggml_backend_dev_init(dev, NULL) : NULL;
    ggml_backend_event_t event = ggml_backend_event_new(dev);
    ggml_backend_buffer_t buffer;
    int status;

    ggml_build_forward_expand(graph, ggml_neg(ctx, t));
    buffer = b ? ggml_backend_alloc_ctx_tensors(ctx, b) : NULL;
    status = buffer ? transfer_in(a, b, event, t, graph) : failed("a tensor");
    ggml_backend_event_free(event);
    ggml_backend_buffer_free(buffer);
    ggml_backend_free(b);
    ggml_backend_free(a);
    ggml_free(ctx);
    return status;
}

int main(void)
{
    ggml_backend_dev_t dev = product_device();
    struct ggml_backend_dev_props props;
    int status;

    if (!dev)
        return failed("no device");
    ggml_backend_dev_get_props(dev, &props);
    status = props.memory_total ? compute(dev) : failed("the device's memory");
    if (!status)
        status = transfer(dev);
    if (!status)
        status = stage(dev);
    return status;
}
