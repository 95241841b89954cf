/* SPDX-License-Identifier: MIT
 *
 * product.h - a computation whose result is known, by GGML's public calls.
 */
#ifndef VGR_TEST_PRODUCT_H
#define VGR_TEST_PRODUCT_H

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <stdbool.h>
#include <stdlib.h>

struct product {
    ggml_backend_t backend;
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *result;
    struct ggml_cgraph *graph;
    int n;
};

static inline void product_free(struct product *p)
{
    if (p->buffer)
        ggml_backend_buffer_free(p->buffer);
    if (p->ctx)
        ggml_free(p->ctx);
    if (p->backend)
        ggml_backend_free(p->backend);
    *p = (struct product){0};
}

/* A chain of `nodes` products of n x n matrices, all of whose elements are 1 / n. `n` is a power of two, so
 * that the elements of each product are exactly 1 / n, too. False: a part of it is not to be had. */
static inline bool product_new(struct product *p, ggml_backend_dev_t dev, int n, int nodes)
{
    struct ggml_init_params params = {.mem_size = 1u << 20, .no_alloc = true};
    struct ggml_tensor *a, *x;
    float *values;

    *p = (struct product){.n = n};
    p->backend = ggml_backend_dev_init(dev, NULL);
    p->ctx = ggml_init(params);
    a = x = ggml_new_tensor_2d(p->ctx, GGML_TYPE_F32, n, n);
    for (int i = 0; i < nodes; i++)
        x = ggml_mul_mat(p->ctx, a, x);
    p->result = x;
    p->graph = ggml_new_graph_custom(p->ctx, (size_t)nodes + 8, false);
    ggml_build_forward_expand(p->graph, x);
    if (p->backend)
        p->buffer = ggml_backend_alloc_ctx_tensors(p->ctx, p->backend);
    if (!p->buffer) {
        product_free(p);
        return false;
    }
    values = malloc((size_t)n * (size_t)n * sizeof(*values));
    for (int i = 0; values && i < n * n; i++)
        values[i] = 1.0f / (float)n;
    if (values)
        ggml_backend_tensor_set(a, values, 0, (size_t)n * (size_t)n * sizeof(*values));
    free(values);
    return values;
}

/* 1: the result is right; 0: GGML said that it failed; -1: success was said, and the result is another. */
static inline int product_compute(struct product *p)
{
    size_t last = ((size_t)p->n * (size_t)p->n - 1) * sizeof(float);
    float got[2] = {0};

    if (ggml_backend_graph_compute(p->backend, p->graph) != GGML_STATUS_SUCCESS)
        return 0;
    ggml_backend_tensor_get(p->result, &got[0], 0, sizeof(float));
    ggml_backend_tensor_get(p->result, &got[1], last, sizeof(float));
    if (got[0] == 1.0f / (float)p->n && got[1] == got[0])
        return 1;
    /* What goes wrong while GGML waits, it says when the next graph is computed. */
    return ggml_backend_graph_compute(p->backend, p->graph) == GGML_STATUS_SUCCESS ? -1 : 0;
}

/* VirtGPU0, or the first device of the plugin that GGML_BACKEND_PATH names, without a look for others. */
static inline ggml_backend_dev_t product_device(void)
{
    const char *path = getenv("GGML_BACKEND_PATH");
    ggml_backend_reg_t reg;

    if (!path) {
        ggml_backend_load_all();
        return ggml_backend_dev_by_name("VirtGPU0");
    }
    reg = ggml_backend_load(path);
    return reg && ggml_backend_reg_dev_count(reg) ? ggml_backend_reg_dev_get(reg, 0) : NULL;
}

#endif
