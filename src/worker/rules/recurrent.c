/* SPDX-License-Identifier: MIT
 *
 * Recurrent layers and their states: see rules.h.
 */
#include "worker/rules/rules.h"

/* The widest step of GGML's CPU kernel for RWKV_WKV7, which has no remainder loop. */
#define WKV7_STEP 64

static bool all_f32(const struct ggml_tensor *t)
{
    if (t->type != GGML_TYPE_F32)
        return false;
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        if (t->src[s] && t->src[s]->type != GGML_TYPE_F32)
            return false;
    }
    return true;
}

static bool all_contiguous(const struct ggml_tensor *t)
{
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        if (t->src[s] && !ggml_is_contiguous(t->src[s]))
            return false;
    }
    return vgr_fresh(t);
}

/* a: [kernel - 1 + tokens, inner, n]; b: [kernel, inner]; result: [inner, tokens, n]. */
const char *vgr_rule_ssm_conv(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(all_f32(t), "not F32");
    VGR_REQUIRE(a->ne[3] == 1 && vgr_matrix(b) && a->ne[1] == b->ne[1], "the sources do not fit");
    VGR_REQUIRE(vgr_dense_rows(a) && a->nb[1] == (uint64_t)a->ne[0] * a->nb[0] &&
                    ggml_is_contiguous(b) && vgr_fresh(t),
                "not contiguous");
    VGR_REQUIRE(vgr_bytes_fit_int(a) && vgr_bytes_fit_int(t), "too large");
    VGR_REQUIRE(vgr_ne(t, b->ne[1], a->ne[0] - b->ne[0] + 1, a->ne[2], 1),
                "the result has a wrong shape");
    return NULL;
}

/* s: [state, dim, heads, any], x: [dim, heads, tokens, n], dt: [heads, tokens, n], a: [state or 1,
 * heads], b and c: [state, groups, tokens, n], ids: n; result: outputs like x, then k states for
 * each of n. */
const char *vgr_rule_ssm_scan(const struct ggml_tensor *t)
{
    const struct ggml_tensor *s = t->src[0], *x = t->src[1], *dt = t->src[2], *a = t->src[3],
                             *b = t->src[4], *c = t->src[5], *ids = t->src[6];
    int64_t k = t->op_params[0] ? t->op_params[0] : 1, state;

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && s->type == GGML_TYPE_F32 && x->type == GGML_TYPE_F32 &&
                    dt->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32 &&
                    b->type == GGML_TYPE_F32 && c->type == GGML_TYPE_F32 &&
                    ids->type == GGML_TYPE_I32,
                "a wrong type");
    VGR_REQUIRE(ggml_is_contiguous(s) && ggml_is_contiguous(dt) && ggml_is_contiguous(a) &&
                    ggml_is_contiguous(ids) && vgr_fresh(t),
                "not contiguous");
    VGR_REQUIRE(vgr_dense_rows(x) && x->nb[1] == (uint64_t)x->ne[0] * x->nb[0] &&
                    vgr_dense_rows(b) && b->nb[1] == (uint64_t)b->ne[0] * b->nb[0] &&
                    vgr_dense_rows(c) && c->nb[1] == (uint64_t)c->ne[0] * c->nb[0],
                "rows do not follow each other");
    VGR_REQUIRE(vgr_bytes_fit_int(x) && vgr_bytes_fit_int(b) && vgr_bytes_fit_int(c), "too large");
    VGR_REQUIRE(s->ne[1] == x->ne[0] && s->ne[2] == x->ne[1], "states do not fit the input");
    VGR_REQUIRE(vgr_ne(dt, x->ne[1], x->ne[2], x->ne[3], 1), "time steps do not fit the input");
    VGR_REQUIRE(vgr_matrix(a) && a->ne[1] == x->ne[1] && (a->ne[0] == 1 || a->ne[0] == s->ne[0]),
                "decays do not fit the states");
    VGR_REQUIRE(vgr_ne(b, s->ne[0], b->ne[1], x->ne[2], x->ne[3]) && vgr_same_shape(b, c),
                "projections do not fit the states");
    VGR_REQUIRE(vgr_multiple(x->ne[1], b->ne[1]), "heads do not fall into groups");
    VGR_REQUIRE(vgr_vector(ids) && ids->ne[0] == x->ne[3], "not an index for each sequence");
    VGR_REQUIRE(k >= 1 && (k == 1 || a->ne[0] == 1), "a wrong number of states to keep");
    state = s->ne[0] * s->ne[1] * s->ne[2];
    VGR_REQUIRE(state <= INT32_MAX && state * x->ne[3] <= INT32_MAX, "states are too large");
    /* The step from state to state is also that of the result, even if there is one state only. */
    VGR_REQUIRE(s->nb[3] == (uint64_t)state * sizeof(float), "states do not follow each other");
    VGR_REQUIRE(vgr_ne(t, ggml_nelements(x) + k * state * x->ne[3], 1, 1, 1),
                "the result has a wrong shape");
    VGR_REQUIRE(!vgr_overlap(t, ids), "the result overlaps the indices");
    return NULL;
}

/* RWKV and its like: sources [size, heads, tokens], then a state of size * size * heads for each of n
 * sequences of equal length; result: outputs, then states. `extra` is a source that is the same for
 * all tokens, or -1. */
static const char *linear_attn(const struct ggml_tensor *t, int state_at, int extra)
{
    const struct ggml_tensor *first = t->src[0], *state = t->src[state_at];
    int64_t size = first->ne[0], heads = first->ne[1], tokens = first->ne[2], n = state->ne[1];

    VGR_REQUIRE(all_f32(t), "not F32");
    VGR_REQUIRE(all_contiguous(t), "not contiguous");
    for (int s = 0; s < state_at; s++) {
        if (s == extra)
            VGR_REQUIRE(ggml_nelements(t->src[s]) == size * heads, "a source has a wrong shape");
        else
            VGR_REQUIRE(vgr_ne(t->src[s], size, heads, tokens, 1), "the sources differ in shape");
    }
    VGR_REQUIRE(size * size <= INT32_MAX && size * size * heads <= INT32_MAX,
                "heads are too large");
    VGR_REQUIRE(ggml_nelements(state) == size * size * heads * n, "the state has a wrong size");
    VGR_REQUIRE(vgr_multiple(tokens, n), "sequences are not of one length");
    VGR_REQUIRE(vgr_ne(t, size * heads, tokens + size * n, 1, 1), "the result has a wrong shape");
    VGR_REQUIRE(vgr_fits_int(t), "too large");
    return NULL;
}

const char *vgr_rule_rwkv_wkv6(const struct ggml_tensor *t)
{
    return linear_attn(t, 5, 3);
}

const char *vgr_rule_rwkv_wkv7(const struct ggml_tensor *t)
{
    VGR_REQUIRE(t->src[0]->ne[0] % WKV7_STEP == 0, "heads are not a multiple of 64");
    return linear_attn(t, 6, -1);
}

const char *vgr_rule_gated_linear_attn(const struct ggml_tensor *t)
{
    return linear_attn(t, 4, -1);
}

/* The same steps in every dimension that is stepped through. */
static bool same_steps(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    for (int d = 1; d < GGML_MAX_DIMS; d++) {
        if (a->ne[d] > 1 && a->nb[d] != b->nb[d])
            return false;
    }
    return vgr_same_shape(a, b);
}

/* q and k: [size, heads that are broadcast, tokens, n that is broadcast], v: [size, heads, tokens, n],
 * g: [1 or size, heads, tokens, n], beta: [1, heads, tokens, n], state: [size, size, heads, n]. */
const char *vgr_rule_gated_delta_net(const struct ggml_tensor *t)
{
    const struct ggml_tensor *v = t->src[2], *g = t->src[3], *beta = t->src[4], *state = t->src[5];
    int64_t size = v->ne[0], heads = v->ne[1], tokens = v->ne[2], n = v->ne[3], k = t->op_params[0];

    VGR_REQUIRE(all_f32(t), "not F32");
    for (int s = 0; s < 2; s++) {
        const struct ggml_tensor *x = t->src[s];

        VGR_REQUIRE(vgr_dense_rows(x), "rows are not dense");
        VGR_REQUIRE(x->ne[0] == size && x->ne[2] == tokens && vgr_multiple(heads, x->ne[1]) &&
                        vgr_multiple(n, x->ne[3]),
                    "queries or keys do not fit the values");
    }
    /* Kernels find the keys where the queries are. */
    VGR_REQUIRE(same_steps(t->src[0], t->src[1]), "keys are not laid out like queries");
    VGR_REQUIRE(vgr_dense_rows(v), "rows are not dense");
    VGR_REQUIRE(ggml_is_contiguous(g) && ggml_is_contiguous(beta) && ggml_is_contiguous(state) &&
                    vgr_fresh(t),
                "not contiguous");
    VGR_REQUIRE((g->ne[0] == 1 || g->ne[0] == size) && vgr_ne(g, g->ne[0], heads, tokens, n) &&
                    vgr_ne(beta, 1, heads, tokens, n),
                "gates do not fit the values");
    VGR_REQUIRE(vgr_ne(state, size, size, heads, n), "the state has a wrong shape");
    VGR_REQUIRE(k >= 1 && size * n <= INT32_MAX, "a wrong number of states to keep");
    VGR_REQUIRE(vgr_ne(t, size * heads, tokens * n + k * size * n, 1, 1),
                "the result has a wrong shape");
    return NULL;
}

/* The hyper-connections of DeepSeek V4 are four streams. */
#define STREAMS INT64_C(4)
#define MIXES   ((2 + STREAMS) * STREAMS)

/* Models use 20; the number costs the guest nothing and the host time. */
#define ITERATIONS_MAX 4096

const char *vgr_rule_dsv4_hc_comb(const struct ggml_tensor *t)
{
    const struct ggml_tensor *mixes = t->src[0], *scale = t->src[1], *base = t->src[2];

    VGR_REQUIRE(all_f32(t), "not F32");
    VGR_REQUIRE(vgr_matrix(mixes) && mixes->ne[0] == MIXES, "not the right number of mixes");
    VGR_REQUIRE(vgr_vector(scale) && scale->ne[0] >= 3, "too few scales");
    VGR_REQUIRE(vgr_vector(base) && base->ne[0] == MIXES, "not the right number of bases");
    VGR_REQUIRE(t->op_params[1] > 0 && t->op_params[1] <= ITERATIONS_MAX,
                "no iteration, or too many");
    VGR_REQUIRE(vgr_ne(t, STREAMS, STREAMS, mixes->ne[1], 1), "the result has a wrong shape");
    return NULL;
}

/* x: [len, streams, tokens]; w: a weight for each stream, or for each element where it is a gate. */
const char *vgr_rule_dsv4_hc_pre(const struct ggml_tensor *t)
{
    const struct ggml_tensor *x = t->src[0], *w = t->src[1];

    VGR_REQUIRE(all_f32(t), "not F32");
    VGR_REQUIRE(vgr_param_bool(t, 1), "a wrong parameter");
    VGR_REQUIRE(x->ne[3] == 1, "too many dimensions");
    if (t->op_params[1])
        VGR_REQUIRE(vgr_same_shape(w, x), "gates do not fit");
    else
        VGR_REQUIRE(vgr_ne(w, x->ne[1], x->ne[2], 1, 1), "weights do not fit");
    VGR_REQUIRE(vgr_ne(t, x->ne[0], x->ne[2], 1, 1), "the result has a wrong shape");
    return NULL;
}

/* x: [len, tokens], residual: [len, streams, tokens], post: [streams, tokens], comb: [streams,
 * streams, tokens]. */
const char *vgr_rule_dsv4_hc_post(const struct ggml_tensor *t)
{
    const struct ggml_tensor *x = t->src[0], *res = t->src[1], *post = t->src[2], *comb = t->src[3];
    int64_t streams = res->ne[1];

    VGR_REQUIRE(all_f32(t), "not F32");
    VGR_REQUIRE(vgr_matrix(x) && vgr_ne(res, x->ne[0], streams, x->ne[1], 1),
                "the residual does not fit");
    VGR_REQUIRE(vgr_ne(post, streams, x->ne[1], 1, 1), "weights do not fit");
    VGR_REQUIRE(!comb || vgr_ne(comb, streams, streams, x->ne[1], 1), "combinations do not fit");
    VGR_REQUIRE(vgr_same_shape(t, res), "the result has a wrong shape");
    return NULL;
}
