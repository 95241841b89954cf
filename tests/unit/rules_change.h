/* SPDX-License-Identifier: MIT
 *
 * rules_change.h - changes of one thing of an op, as a guest could make them.
 *
 * change_at(n) numbers all of them: for each tensor of the op its dimensions, strides and type, then the
 * parameters, then its sources. A changed op is what the worker would see if it had passed the checks
 * of names and extents, which change_possible() repeats.
 */
#ifndef VGR_RULES_CHANGE_H
#define VGR_RULES_CHANGE_H

#include <limits.h>
#include <string.h>

#include "protocol/codec.h"
#include "rules_ops.h"

#define RESULT_AT GGML_MAX_SRC

enum change_kind { CHANGE_NE, CHANGE_NB, CHANGE_TYPE, CHANGE_PARAM, CHANGE_SOURCE, CHANGE_KINDS };

static const char *const change_names[] = {"ne", "nb", "type", "param", "source"};

struct change {
    enum change_kind kind;
    int tensor; /* a source, or RESULT_AT */
    int index;  /* dimension or parameter */
    int value;  /* of the list of its kind */
};

#define NE_VALUES    8
#define NB_VALUES    9
#define PARAM_VALUES 12

static const enum ggml_type change_types[] = {
    GGML_TYPE_F32, GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_I32,  GGML_TYPE_I64,    GGML_TYPE_I8,
    GGML_TYPE_F64, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q8_1, GGML_TYPE_IQ2_XXS};

#define TYPE_VALUES ((int)(sizeof(change_types) / sizeof(change_types[0])))
#define PER_TENSOR  (4 * NE_VALUES + 4 * NB_VALUES + TYPE_VALUES)
#define CHANGES     ((GGML_MAX_SRC + 1) * PER_TENSOR + VGR_PARAMS * PARAM_VALUES + GGML_MAX_SRC)

static inline struct change change_at(int n)
{
    int tensor = n / PER_TENSOR, rest = n % PER_TENSOR;

    if (tensor <= RESULT_AT) {
        if (rest < 4 * NE_VALUES)
            return (struct change){CHANGE_NE, tensor, rest / NE_VALUES, rest % NE_VALUES};
        rest -= 4 * NE_VALUES;
        if (rest < 4 * NB_VALUES)
            return (struct change){CHANGE_NB, tensor, rest / NB_VALUES, rest % NB_VALUES};
        return (struct change){CHANGE_TYPE, tensor, 0, rest - 4 * NB_VALUES};
    }
    rest = n - (RESULT_AT + 1) * PER_TENSOR;
    if (rest < VGR_PARAMS * PARAM_VALUES)
        return (struct change){CHANGE_PARAM, RESULT_AT, rest / PARAM_VALUES, rest % PARAM_VALUES};
    return (struct change){CHANGE_SOURCE, rest - VGR_PARAMS * PARAM_VALUES, 0, 0};
}

static inline tensor_t change_tensor(tensor_t op, const struct change *x)
{
    return x->tensor == RESULT_AT ? op : op->src[x->tensor];
}

/* Makes the change; false if there is nothing to change or the value is the old one. */
static inline bool change_apply(ctx_t c, tensor_t op, const struct change *x)
{
    tensor_t t = change_tensor(op, x);

    if (x->kind == CHANGE_SOURCE) {
        op->src[x->tensor] = t ? NULL : f32(c, 8, 4, 3, 2);
        return true;
    }
    if (!t || (x->tensor != RESULT_AT && t == op))
        return false;
    if (x->kind == CHANGE_NE) {
        int64_t n = t->ne[x->index];
        const int64_t values[NE_VALUES] = {
            0, 1, n - 1, n + 1, 2 * n, 3 * n, (int64_t)1 << 31, (int64_t)1 << 40};

        t->ne[x->index] = values[x->value];
        return t->ne[x->index] != n;
    }
    if (x->kind == CHANGE_NB) {
        uint64_t b = t->nb[x->index], size = ggml_type_size(t->type);
        const uint64_t values[NB_VALUES] = {
            0, 1, size, b / 2, b + size, 2 * b, b + 1, (uint64_t)1 << 33, UINT64_MAX - 3};

        t->nb[x->index] = values[x->value];
        return t->nb[x->index] != b;
    }
    if (x->kind == CHANGE_TYPE) {
        enum ggml_type type = t->type;

        /* With the strides that a new tensor of the type would have. */
        t->type = change_types[x->value];
        t->nb[0] = ggml_type_size(t->type);
        t->nb[1] = ggml_row_size(t->type, t->ne[0]);
        t->nb[2] = t->nb[1] * (uint64_t)t->ne[1];
        t->nb[3] = t->nb[2] * (uint64_t)t->ne[2];
        return t->type != type;
    }
    int32_t p = t->op_params[x->index];
    const int32_t values[PARAM_VALUES] = {0,
                                          -1,
                                          1,
                                          2,
                                          3,
                                          7,
                                          1 << 20,
                                          p < INT_MAX ? p + 1 : 0,
                                          p > INT_MIN ? p - 1 : 0,
                                          INT_MAX,
                                          INT_MIN,
                                          0x7fc00000 /* no number */};

    t->op_params[x->index] = values[x->value];
    return t->op_params[x->index] != p;
}

/* ---- Changes of all tensors together, which so still fit one another ---- */

#define TOGETHER_NE 4

enum together_kind {
    TOGETHER_TYPES,     /* all of one type */
    TOGETHER_SOURCES,   /* all sources of one type */
    TOGETHER_NE_CHANGE, /* a dimension of all */
    TOGETHER_STRIDES,   /* a stride of all, and those above it */
    TOGETHER_TRANSPOSED,
    TOGETHER_FLAGS, /* a parameter that is made of bits */
    TOGETHER_KINDS
};

static const int32_t together_flags[] = {4, 8, 9, 16, 24, 40, 256, 257, 512, 513, 514, 768, 769};

#define TOGETHER_FLAG_VALUES ((int)(sizeof(together_flags) / sizeof(together_flags[0])))
#define TOGETHER             (2 * TYPE_VALUES + 4 * TOGETHER_NE + 4 + 1 + VGR_PARAMS * TOGETHER_FLAG_VALUES)

/* As a new tensor of its type and shape is laid out. */
static inline void together_fresh(tensor_t t)
{
    t->nb[0] = ggml_type_size(t->type);
    t->nb[1] = ggml_row_size(t->type, t->ne[0]);
    t->nb[2] = t->nb[1] * (uint64_t)t->ne[1];
    t->nb[3] = t->nb[2] * (uint64_t)t->ne[2];
}

static inline void together_one(tensor_t t, enum together_kind kind, int n)
{
    int64_t ne = t->ne[n / TOGETHER_NE % 4];
    uint64_t nb = t->nb[0];
    const int64_t values[TOGETHER_NE] = {1, ne + 1, 2 * ne, ne / 2};

    switch (kind) {
    case TOGETHER_TYPES:
    case TOGETHER_SOURCES:
        t->type = change_types[n];
        together_fresh(t);
        break;
    case TOGETHER_NE_CHANGE:
        t->ne[n / TOGETHER_NE] = values[n % TOGETHER_NE];
        together_fresh(t);
        break;
    case TOGETHER_STRIDES:
        for (int d = n; d < 4; d++)
            t->nb[d] *= 2;
        break;
    default:
        ne = t->ne[0];
        t->ne[0] = t->ne[1];
        t->nb[0] = t->nb[1];
        t->ne[1] = ne;
        t->nb[1] = nb;
    }
}

/* The n-th of TOGETHER changes. */
static inline void together_apply(tensor_t op, int n)
{
    static const int counts[TOGETHER_KINDS] = {
        TYPE_VALUES, TYPE_VALUES, 4 * TOGETHER_NE, 4, 1, VGR_PARAMS * TOGETHER_FLAG_VALUES};
    int kind = 0;

    for (; n >= counts[kind]; kind++)
        n -= counts[kind];
    if (kind == TOGETHER_FLAGS) {
        op->op_params[n / TOGETHER_FLAG_VALUES] = together_flags[n % TOGETHER_FLAG_VALUES];
        return;
    }
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        bool seen = !op->src[s] || op->src[s] == op;

        for (int k = 0; k < s; k++)
            seen |= op->src[k] == op->src[s];
        if (!seen)
            together_one(op->src[s], (enum together_kind)kind, n);
    }
    if (kind != TOGETHER_SOURCES)
        together_one(op, (enum together_kind)kind, n);
}

/* Would the worker come as far as the rules with this tensor? */
static bool tensor_possible(tensor_t t, uint64_t *bytes)
{
    struct vgr_tensor w = {0};

    for (int d = 0; d < VGR_DIMS; d++) {
        w.ne[d] = t->ne[d];
        w.nb[d] = t->nb[d];
    }
    return !vgr_codec_extent(&w, (uint32_t)ggml_blck_size(t->type),
                             (uint32_t)ggml_type_size(t->type), bytes);
}

static inline bool change_possible(tensor_t op)
{
    uint64_t bytes;

    for (int s = 0; s < GGML_MAX_SRC; s++) {
        if (op->src[s] && !tensor_possible(op->src[s], &bytes))
            return false;
    }
    return tensor_possible(op, &bytes);
}

static inline const char *change_text(tensor_t op, const struct change *x)
{
    static char text[128];
    tensor_t t = change_tensor(op, x);
    long long value = !t                        ? 0
                      : x->kind == CHANGE_NE    ? (long long)t->ne[x->index]
                      : x->kind == CHANGE_NB    ? (long long)t->nb[x->index]
                      : x->kind == CHANGE_PARAM ? t->op_params[x->index]
                                                : (long long)t->type;

    if (x->tensor == RESULT_AT)
        snprintf(text, sizeof(text), "%s[%d] of the result is %lld", change_names[x->kind],
                 x->index, value);
    else
        snprintf(text, sizeof(text), "%s[%d] of source %d is %lld", change_names[x->kind], x->index,
                 x->tensor, value);
    return text;
}

#endif
