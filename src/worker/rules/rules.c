/* SPDX-License-Identifier: MIT
 *
 * The table of ops and what holds for any of them: see rules.h.
 *
 * The table is keyed by name, which is what identifies an op across versions of GGML (numbers move,
 * and an enumerator that this GGML lacks would not compile). It is matched with the numbers once.
 */
#include "worker/rules/rules.h"

#include <ggml-backend.h>

#include "protocol/codec.h"

#define MAX_ELEMENTS ((int64_t)1 << 40)

/* Sources as bits. */
#define S0 0x01u
#define S1 0x02u
#define S2 0x04u
#define S3 0x08u
#define S4 0x10u
#define S5 0x20u
#define S6 0x40u

/* `n` parameters from `first` on, as bits. */
#define P(first, n) ((uint16_t)(((1u << (n)) - 1) << (first)))

enum trait {
    NO_COMPUTE = 1,   /* a name for memory: nothing runs */
    EMPTY_SOURCE = 2, /* a source may be empty though the result is not */
    OWN_LAYOUT = 4,   /* the rule looks at the result's strides */
    SUM = 8,          /* each element is a sum: zero if a source is empty */
    CHANGES = 16,     /* changes some rows of the result, and leaves the others */
};

struct entry {
    const char *name;
    vgr_rule_fn *rule;
    uint16_t must;   /* sources that are there */
    uint16_t may;    /* sources that may be there */
    uint16_t params; /* parameters that are used; the others are zero */
    uint16_t traits;
};

static const struct entry table[] = {
    {"NONE", vgr_rule_view, 0, 0, 0, NO_COMPUTE},
    {"RESHAPE", vgr_rule_view, S0, 0, 0, NO_COMPUTE},
    {"VIEW", vgr_rule_view, S0, 0, 0, NO_COMPUTE},
    {"PERMUTE", vgr_rule_view, S0, 0, 0, NO_COMPUTE},
    {"TRANSPOSE", vgr_rule_view, S0, 0, 0, NO_COMPUTE},

    {"ADD", vgr_rule_add, S0 | S1, 0, 0, 0},
    {"SUB", vgr_rule_binary, S0 | S1, 0, 0, 0},
    {"MUL", vgr_rule_binary, S0 | S1, 0, 0, 0},
    {"DIV", vgr_rule_binary, S0 | S1, 0, 0, 0},
    {"ADD1", vgr_rule_add1, S0 | S1, 0, 0, 0},
    {"SQR", vgr_rule_math, S0, 0, 0, 0},
    {"SQRT", vgr_rule_math, S0, 0, 0, 0},
    {"LOG", vgr_rule_math, S0, 0, 0, 0},
    {"SIN", vgr_rule_math, S0, 0, 0, 0},
    {"COS", vgr_rule_math, S0, 0, 0, 0},
    {"UNARY", vgr_rule_unary, S0, 0, P(0, 5), 0},
    {"GLU", vgr_rule_glu, S0, S1, P(0, 4), 0},
    {"LEAKY_RELU", vgr_rule_leaky_relu, S0, 0, P(0, 1), 0},
    {"SILU_BACK", vgr_rule_silu_back, S0 | S1, 0, 0, 0},
    {"CLAMP", vgr_rule_clamp, S0, 0, P(0, 2), 0},
    {"SCALE", vgr_rule_scale, S0, 0, P(0, 2), 0},
    {"FILL", vgr_rule_fill, S0, 0, P(0, 1), 0},
    {"TRI", vgr_rule_tri, S0, 0, P(0, 1), 0},
    {"DIAG_MASK_INF", vgr_rule_diag_mask, S0, 0, P(0, 1), 0},
    {"DIAG_MASK_ZERO", vgr_rule_diag_mask, S0, 0, P(0, 1), 0},

    {"SUM", vgr_rule_sum, S0, 0, 0, EMPTY_SOURCE},
    {"SUM_ROWS", vgr_rule_sum_rows, S0, 0, 0, EMPTY_SOURCE | SUM},
    {"MEAN", vgr_rule_mean, S0, 0, 0, 0},
    {"CUMSUM", vgr_rule_cumsum, S0, 0, 0, 0},
    {"ARGMAX", vgr_rule_argmax, S0, 0, 0, 0},
    {"COUNT_EQUAL", vgr_rule_count_equal, S0 | S1, 0, 0, 0},
    {"ARGSORT", vgr_rule_argsort, S0, 0, P(0, 1), 0},
    {"TOP_K", vgr_rule_top_k, S0, 0, 0, 0},

    {"DUP", vgr_rule_dup, S0, 0, 0, 0},
    {"CONT", vgr_rule_cont, S0, 0, 0, 0},
    {"CPY", vgr_rule_cpy, S0 | S1, 0, 0, 0},
    {"REPEAT", vgr_rule_repeat, S0, 0, 0, 0},
    {"REPEAT_BACK", vgr_rule_repeat_back, S0, 0, 0, 0},
    {"CONCAT", vgr_rule_concat, S0 | S1, 0, P(0, 1), EMPTY_SOURCE},
    {"ACC", vgr_rule_acc, S0 | S1, 0, P(0, 5), EMPTY_SOURCE},
    {"SET", vgr_rule_set, S0 | S1, 0, P(0, 5), EMPTY_SOURCE},
    {"DIAG", vgr_rule_diag, S0, 0, 0, 0},
    {"PAD", vgr_rule_pad, S0, 0, P(0, 9), 0},
    {"PAD_REFLECT_1D", vgr_rule_pad_reflect_1d, S0, 0, P(0, 2), 0},
    {"ROLL", vgr_rule_roll, S0, 0, P(0, 4), 0},
    {"ARANGE", vgr_rule_arange, 0, 0, P(0, 3), 0},
    {"TIMESTEP_EMBEDDING", vgr_rule_timestep_embedding, S0, 0, P(0, 2), 0},
    {"UPSCALE", vgr_rule_upscale, S0, 0, P(0, 1), 0},

    {"MUL_MAT", vgr_rule_mul_mat, S0 | S1, 0, P(0, 2) | P(3, 1), EMPTY_SOURCE | SUM},
    {"MUL_MAT_ID", vgr_rule_mul_mat_id, S0 | S1 | S2, 0, P(0, 1) | P(3, 1), EMPTY_SOURCE | SUM},
    {"OUT_PROD", vgr_rule_out_prod, S0 | S1, 0, 0, EMPTY_SOURCE | SUM},
    {"SOLVE_TRI", vgr_rule_solve_tri, S0 | S1, 0, 0, 0},

    {"GET_ROWS", vgr_rule_get_rows, S0 | S1, 0, 0, 0},
    {"GET_ROWS_BACK", vgr_rule_get_rows_back, S0 | S1, 0, 0, 0},
    {"SET_ROWS", vgr_rule_set_rows, S0 | S1, S2, 0, EMPTY_SOURCE | CHANGES},
    {"ADD_ID", vgr_rule_add_id, S0 | S1 | S2, 0, 0, 0},

    {"NORM", vgr_rule_norm, S0, 0, P(0, 1), 0},
    {"RMS_NORM", vgr_rule_rms_norm, S0, 0, P(0, 1), 0},
    {"RMS_NORM_BACK", vgr_rule_rms_norm_back, S0 | S1, 0, P(0, 1), 0},
    {"GROUP_NORM", vgr_rule_group_norm, S0, 0, P(0, 2), 0},
    {"L2_NORM", vgr_rule_norm, S0, 0, P(0, 1), 0},
    {"SOFT_MAX", vgr_rule_soft_max, S0, S1 | S2, P(0, 2), 0},
    {"SOFT_MAX_BACK", vgr_rule_soft_max_back, S0 | S1, 0, P(0, 2), 0},
    {"ROPE", vgr_rule_rope, S0 | S1, S2, P(1, 2) | P(4, 12), 0},
    {"ROPE_BACK", vgr_rule_rope, S0 | S1, S2, P(1, 2) | P(4, 12), 0},

    {"FLASH_ATTN_EXT", vgr_rule_flash_attn_ext, S0 | S1 | S2, S3 | S4, P(0, 5), 0},
    {"LIGHTNING_INDEXER", vgr_rule_lightning_indexer, S0 | S1 | S2 | S3, 0, 0, 0},
    {"WIN_PART", vgr_rule_win_part, S0, 0, P(0, 3), 0},
    {"WIN_UNPART", vgr_rule_win_unpart, S0, 0, P(0, 1), 0},
    {"GET_REL_POS", vgr_rule_get_rel_pos, S0, 0, 0, 0},
    {"ADD_REL_POS", vgr_rule_add_rel_pos, S0 | S1 | S2, 0, P(0, 1), 0},

    {"IM2COL", vgr_rule_im2col, S0 | S1, 0, P(0, 7), 0},
    {"IM2COL_BACK", vgr_rule_im2col_back, S0 | S1, 0, P(0, 7), 0},
    {"IM2COL_3D", vgr_rule_im2col_3d, S0 | S1, 0, P(0, 10), 0},
    {"COL2IM_1D", vgr_rule_col2im_1d, S0, 0, P(0, 3), 0},
    {"CONV_2D", vgr_rule_conv_2d, S0 | S1, 0, P(0, 6), 0},
    {"CONV_3D", vgr_rule_conv_3d, S0 | S1, 0, P(0, 12), EMPTY_SOURCE},
    {"CONV_2D_DW", vgr_rule_conv_2d_dw, S0 | S1, 0, P(0, 6), OWN_LAYOUT},
    {"CONV_TRANSPOSE_1D", vgr_rule_conv_transpose_1d, S0 | S1, 0, P(0, 3), 0},
    {"CONV_TRANSPOSE_2D", vgr_rule_conv_transpose_2d, S0 | S1, 0, P(0, 1), 0},
    {"POOL_1D", vgr_rule_pool_1d, S0, 0, P(0, 4), 0},
    {"POOL_2D", vgr_rule_pool_2d, S0, 0, P(0, 7), 0},
    {"POOL_2D_BACK", vgr_rule_pool_2d_back, S0 | S1, 0, P(0, 7), 0},

    {"SSM_CONV", vgr_rule_ssm_conv, S0 | S1, 0, 0, 0},
    {"SSM_SCAN", vgr_rule_ssm_scan, S0 | S1 | S2 | S3 | S4 | S5 | S6, 0, P(0, 1), 0},
    {"RWKV_WKV6", vgr_rule_rwkv_wkv6, S0 | S1 | S2 | S3 | S4 | S5, 0, 0, 0},
    {"RWKV_WKV7", vgr_rule_rwkv_wkv7, S0 | S1 | S2 | S3 | S4 | S5 | S6, 0, 0, 0},
    {"GATED_LINEAR_ATTN", vgr_rule_gated_linear_attn, S0 | S1 | S2 | S3 | S4, 0, P(0, 1), 0},
    {"GATED_DELTA_NET", vgr_rule_gated_delta_net, S0 | S1 | S2 | S3 | S4 | S5, 0, P(0, 1), 0},
    {"DSV4_HC_COMB", vgr_rule_dsv4_hc_comb, S0 | S1 | S2, 0, P(0, 2), 0},
    {"DSV4_HC_PRE", vgr_rule_dsv4_hc_pre, S0 | S1, 0, P(0, 2), 0},
    {"DSV4_HC_POST", vgr_rule_dsv4_hc_post, S0 | S1 | S2, S3, 0, 0},

    {"CROSS_ENTROPY_LOSS", vgr_rule_cross_entropy_loss, S0 | S1, 0, 0, 0},
    {"CROSS_ENTROPY_LOSS_BACK", vgr_rule_cross_entropy_loss_back, S0 | S1 | S2, 0, 0, 0},
    {"OPT_STEP_ADAMW", vgr_rule_opt_step_adamw, S0 | S1 | S2 | S3 | S4, 0, 0, 0},
    {"OPT_STEP_SGD", vgr_rule_opt_step_sgd, S0 | S1 | S2, 0, 0, 0},
};

#define TABLE_LEN (sizeof(table) / sizeof(table[0]))

/* Refused whatever they look like. No builder of GGML makes a FLASH_ATTN_BACK any more. */
static const struct refused {
    const char *name, *reason;
} refused[] = {
    {"MAP_CUSTOM1", "an op that carries a function pointer"},
    {"MAP_CUSTOM2", "an op that carries a function pointer"},
    {"MAP_CUSTOM3", "an op that carries a function pointer"},
    {"CUSTOM", "an op that carries a function pointer"},
    {"FLASH_ATTN_BACK", "an op that no program can make"},
};

static const struct entry *find(const char *name)
{
    for (size_t i = 0; i < TABLE_LEN; i++) {
        if (!strcmp(table[i].name, name))
            return &table[i];
    }
    return NULL;
}

/* Why no tensor of this op is ever taken; NULL for any other op. */
static const char *always_refused(const char *name)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (!strcmp(refused[i].name, name))
            return refused[i].reason;
    }
    return NULL;
}

int vgr_rules_known(const char *name)
{
    return find(name) ? 1 : always_refused(name) ? 0 : -1;
}

static const struct entry *lookup(enum ggml_op op)
{
    static const struct entry *by_number[GGML_OP_COUNT]; /* atomic: all queues ask */
    const struct entry *e;

    if ((unsigned)op >= GGML_OP_COUNT)
        return NULL;
    /* Who finds it first does not matter: entries do not change. */
    e = __atomic_load_n(&by_number[op], __ATOMIC_RELAXED);
    if (!e) {
        e = find(ggml_op_name(op));
        __atomic_store_n(&by_number[op], e, __ATOMIC_RELAXED);
    }
    return e;
}

/* ---- What holds for any tensor -------------------------------------------------------------- */

static const char *check_sizes(const struct ggml_tensor *t)
{
    int64_t elements = 1, rows = 1;

    for (int d = 0; d < GGML_MAX_DIMS; d++) {
        int64_t n = t->ne[d] ? t->ne[d] : 1;

        VGR_REQUIRE(n > 0 && n <= INT32_MAX, "a dimension is too long to compute with");
        VGR_REQUIRE(n <= MAX_ELEMENTS / elements, "too many elements to compute with");
        elements *= n;
        if (d) {
            VGR_REQUIRE(n <= INT32_MAX / rows, "too many rows to compute with");
            rows *= n;
        }
    }
    return NULL;
}

/* A stride of a dimension that is stepped through is in whole elements (blocks). */
static const char *check_strides(const struct ggml_tensor *t)
{
    size_t size = ggml_type_size(t->type);

    for (int d = 0; d < GGML_MAX_DIMS; d++)
        VGR_REQUIRE(t->ne[d] <= 1 || t->nb[d] % size == 0,
                    "a stride is not a multiple of the element");
    VGR_REQUIRE(!ggml_is_quantized(t->type) || t->nb[0] == size, "blocks do not follow each other");
    return NULL;
}

/* GGML's backends differ in what they use: data, or view_src's data and view_offs. */
static const char *check_place(const struct ggml_tensor *t)
{
    const struct ggml_tensor *v = t->view_src;

    if (!t->buffer)
        return NULL;
    VGR_REQUIRE(ggml_blck_size(t->type) > 1 || (uintptr_t)t->data % ggml_type_size(t->type) == 0,
                "an element is not aligned");
    if (!v) {
        VGR_REQUIRE(!t->view_offs, "an offset of a view that is none");
        return NULL;
    }
    VGR_REQUIRE(v->buffer == t->buffer, "a view in another buffer than its source");
    VGR_REQUIRE((uintptr_t)t->data - (uintptr_t)v->data == t->view_offs,
                "a view is not where its source and offset say");
    return NULL;
}

/* From its first byte to the last that an op may touch. Its sizes have been checked. GGML asks of every view that
 * it makes that it would fit what it is a view of if its rows were dense. */
static const char *check_reach(const struct ggml_tensor *t)
{
    uint64_t bytes, at, size;

    if (!t->buffer || vgr_empty(t))
        return NULL;
    at = (uint64_t)((uintptr_t)t->data - (uintptr_t)ggml_backend_buffer_get_base(t->buffer));
    size = ggml_backend_buffer_get_size(t->buffer);
    VGR_REQUIRE(!vgr_codec_touch(t->ne, t->nb, (uint32_t)ggml_blck_size(t->type),
                                 (uint32_t)ggml_type_size(t->type), &bytes) &&
                    at <= size && bytes <= size - at,
                "a tensor outside its buffer");
    return NULL;
}

static const char *check_tensor(const struct ggml_tensor *t)
{
    VGR_REQUIRE_RULE(check_sizes(t));
    VGR_REQUIRE_RULE(check_strides(t));
    VGR_REQUIRE_RULE(check_place(t));
    return check_reach(t);
}

static const char *check_sources(const struct ggml_tensor *t, const struct entry *e)
{
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        unsigned bit = 1u << s;

        VGR_REQUIRE(t->src[s] || !(e->must & bit), "a source is missing");
        VGR_REQUIRE(!t->src[s] || (e->must | e->may) & bit, "a source too many");
    }
    return NULL;
}

/* A parameter that this rule does not know may be one that a later GGML does. */
static const char *check_params(const struct ggml_tensor *t, const struct entry *e)
{
    for (int i = 0; i < (int)(sizeof(t->op_params) / sizeof(t->op_params[0])); i++)
        VGR_REQUIRE(!t->op_params[i] || e->params & 1u << i,
                    "a parameter that the op does not have");
    return NULL;
}

/* A result is laid out like a new tensor, or like the source that it is a view of. */
static bool known_layout(const struct ggml_tensor *t)
{
    if (vgr_fresh(t))
        return true;
    for (int s = 0; s < 3; s++) {
        if (t->src[s] && t->src[s] != t && vgr_same_layout(t, t->src[s]))
            return true;
    }
    return false;
}

/* Why there is no entry for the op. */
static const char *no_entry(enum ggml_op op)
{
    const char *why = (unsigned)op < GGML_OP_COUNT ? always_refused(ggml_op_name(op)) : NULL;

    return why ? why : "an op without a rule";
}

enum vgr_work vgr_rules_work(const struct ggml_tensor *t)
{
    const struct entry *e = lookup(t->op);
    bool empty = false;

    if (!e || e->traits & NO_COMPUTE)
        return VGR_WORK_OP;
    if (vgr_empty(t))
        return VGR_WORK_NONE;
    for (int s = 0; s < GGML_MAX_SRC; s++)
        empty |= t->src[s] && vgr_empty(t->src[s]);
    if (!empty)
        return VGR_WORK_OP;
    return e->traits & SUM ? VGR_WORK_ZEROS : e->traits & CHANGES ? VGR_WORK_NONE : VGR_WORK_OP;
}

const char *vgr_rules_check_idle(const struct ggml_tensor *t)
{
    const struct entry *e = lookup(t->op);

    if (!e)
        return no_entry(t->op);
    VGR_REQUIRE_RULE(check_sources(t, e));
    VGR_REQUIRE_RULE(check_sizes(t));
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        if (t->src[s])
            VGR_REQUIRE_RULE(check_sizes(t->src[s]));
    }
    return NULL;
}

const char *vgr_rules_check(const struct ggml_tensor *t)
{
    const struct entry *e = lookup(t->op);

    if (!e)
        return no_entry(t->op);
    VGR_REQUIRE_RULE(check_sources(t, e));
    VGR_REQUIRE_RULE(check_place(t));
    if (e->traits & NO_COMPUTE)
        return e->rule(t);

    VGR_REQUIRE_RULE(check_params(t, e));
    VGR_REQUIRE_RULE(check_tensor(t));
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        if (!t->src[s] || t->src[s] == t)
            continue;
        VGR_REQUIRE_RULE(check_tensor(t->src[s]));
        VGR_REQUIRE(!vgr_empty(t->src[s]) || vgr_empty(t) || e->traits & EMPTY_SOURCE,
                    "a source is empty");
    }
    VGR_REQUIRE(e->traits & OWN_LAYOUT || known_layout(t), "the result has strides of its own");
    return e->rule(t);
}
