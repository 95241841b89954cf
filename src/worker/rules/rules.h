/* SPDX-License-Identifier: MIT
 *
 * rules.h - what each op of GGML requires of its types, shapes, strides, parameters and sources.
 *
 * Theory of operation
 * -------------------
 *
 * A program that calls GGML builds its graph with ggml_mul_mat() and its like. These functions look at
 * what they are given, and the kernels rely on it: much of what a kernel needs is said only by an
 * assert that a release build leaves out, or by nothing at all. A graph from the wire never met a
 * builder. The rules here say again what the builder would have required, and besides what the kernels
 * take for granted, so that a graph that passes touches nothing but the bytes of its own tensors.
 *
 * vgr_rules_check() looks an op up in one table (rules.c) by its number, after the names in the table
 * were matched with this GGML's once. The entry says which sources must be there and which may; what
 * holds for any op is checked next (sizes, strides, the place of views, the layout of the result), then
 * the op's own rule is asked. An op without an entry is refused, so a new op of a newer GGML waits for
 * somebody to write its rule, and so are ops that carry pointers.
 *
 * A rule is a function from the tensor, whose sources are set, to a reason, or NULL. It allocates
 * nothing, calls itself nowhere and looks at no data: what indices are inside of tensors is known only
 * when the graph runs (docs/security.md).
 *
 * Reach. Where memory is known, every tensor that an op reads or writes lies inside of its buffer, from its first
 * byte to its last, whatever it is a view of, and so it would if its rows were dense. Ops that touch no data ask
 * nothing of the kind: a view may extend past its buffer as long as nobody but other views refers to it.
 *
 * Nothing. An op whose result has no elements does nothing; nor does SET_ROWS without rows. A sum over no
 * elements is zeros. No backend is given any of these: vgr_rules_work() tells what to do instead.
 *
 * Sizes. After the general checks every ne is in 0..INT32_MAX, a tensor has at most 2^40 elements and
 * INT32_MAX rows, and so sums and products of two of these fit an int64_t.
 */
#ifndef VGR_WORKER_RULES_H
#define VGR_WORKER_RULES_H

#include <ggml.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* NULL if the op of `t`, whose src and view_src are set, is one that GGML's builder could have made and
 * its kernels can run; else a constant reason. Memory is looked at where t->buffer is set. */
const char *vgr_rules_check(const struct ggml_tensor *t);

enum vgr_work {
    VGR_WORK_OP,    /* what the op says */
    VGR_WORK_NONE,  /* nothing */
    VGR_WORK_ZEROS, /* fill the result with zeros; vgr_rules_check() looks at the op all the same */
};

/* What there is to do for `t`, whose src are set. */
enum vgr_work vgr_rules_work(const struct ggml_tensor *t);

/* NULL if `t`, an op that no device is given since there is nothing to do for it, could be one of GGML's: it has the
 * sources of its op, and all have possible sizes; else a constant reason. */
const char *vgr_rules_check_idle(const struct ggml_tensor *t);

/* Whether there is a rule for the op called `name`: 1; it is refused by name: 0; neither: -1. */
int vgr_rules_known(const char *name);

/* ---- The vocabulary of the families ------------------------------------------------------------ */

typedef const char *vgr_rule_fn(const struct ggml_tensor *t);

/* For rules: gives `text` as the reason unless `cond` holds. */
#define VGR_REQUIRE(cond, text)                                                                    \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return text;                                                                           \
    } while (0)

/* Tests a rule that several share. */
#define VGR_REQUIRE_RULE(call)                                                                     \
    do {                                                                                           \
        const char *why_ = (call);                                                                 \
                                                                                                   \
        if (why_)                                                                                  \
            return why_;                                                                           \
    } while (0)

static inline float vgr_param_float(const struct ggml_tensor *t, int i)
{
    float f;

    memcpy(&f, &t->op_params[i], sizeof(f));
    return f;
}

static inline bool vgr_param_bool(const struct ggml_tensor *t, int i)
{
    return t->op_params[i] == 0 || t->op_params[i] == 1;
}

static inline bool vgr_type_float(enum ggml_type type)
{
    return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
}

static inline bool vgr_type_f32_f16(enum ggml_type type)
{
    return type == GGML_TYPE_F32 || type == GGML_TYPE_F16;
}

/* What kernels can turn into floats: floats and the quantized types that are stored, not those that
 * exist only inside of a dot product. */
static inline bool vgr_type_weight(enum ggml_type type)
{
    return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float;
}

static inline bool vgr_ne(const struct ggml_tensor *t, int64_t n0, int64_t n1, int64_t n2,
                          int64_t n3)
{
    return t->ne[0] == n0 && t->ne[1] == n1 && t->ne[2] == n2 && t->ne[3] == n3;
}

static inline bool vgr_same_shape(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    return vgr_ne(a, b->ne[0], b->ne[1], b->ne[2], b->ne[3]);
}

static inline bool vgr_same_layout(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    return a->type == b->type && vgr_same_shape(a, b) && !memcmp(a->nb, b->nb, sizeof(a->nb));
}

/* Same shape and same type. */
static inline bool vgr_alike(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    return a->type == b->type && vgr_same_shape(a, b);
}

static inline bool vgr_empty(const struct ggml_tensor *t)
{
    return !t->ne[0] || !t->ne[1] || !t->ne[2] || !t->ne[3];
}

static inline bool vgr_vector(const struct ggml_tensor *t)
{
    return t->ne[1] == 1 && t->ne[2] == 1 && t->ne[3] == 1;
}

static inline bool vgr_matrix(const struct ggml_tensor *t)
{
    return t->ne[2] == 1 && t->ne[3] == 1;
}

/* Is n a multiple of d? Not of zero. */
static inline bool vgr_multiple(int64_t n, int64_t d)
{
    return d > 0 && n % d == 0;
}

/* Can `a` be repeated to the shape of `b`? */
static inline bool vgr_can_repeat(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    return vgr_empty(a) ? vgr_empty(b)
                        : vgr_multiple(b->ne[0], a->ne[0]) && vgr_multiple(b->ne[1], a->ne[1]) &&
                              vgr_multiple(b->ne[2], a->ne[2]) && vgr_multiple(b->ne[3], a->ne[3]);
}

/* The elements of a row follow one another. */
static inline bool vgr_dense_rows(const struct ggml_tensor *t)
{
    return t->nb[0] == ggml_type_size(t->type) || t->ne[0] == ggml_blck_size(t->type);
}

/* Dense rows, and row number r, counted over all dimensions, is at r * nb[1]: what the kernels that
 * flatten their rows take for granted. Unlike ggml_is_contiguous_1() it does not overlook nb[1] where
 * ne[1] is 1. */
static inline bool vgr_flat_rows(const struct ggml_tensor *t)
{
    uint64_t plane = (uint64_t)t->ne[1] * t->nb[1];

    return vgr_dense_rows(t) && (t->ne[2] == 1 || t->nb[2] == plane) &&
           (t->ne[3] == 1 || t->nb[3] == plane * (uint64_t)t->ne[2]);
}

/* Contiguous, also for kernels that flatten its rows. */
static inline bool vgr_packed(const struct ggml_tensor *t)
{
    return ggml_is_contiguous(t) && vgr_flat_rows(t);
}

/* As ggml_new_tensor() lays it out. */
static inline bool vgr_fresh(const struct ggml_tensor *t)
{
    return t->nb[0] == ggml_type_size(t->type) &&
           t->nb[1] == t->nb[0] * (uint64_t)(t->ne[0] / ggml_blck_size(t->type)) &&
           t->nb[2] == t->nb[1] * (uint64_t)t->ne[1] && t->nb[3] == t->nb[2] * (uint64_t)t->ne[2];
}

/* Element i of a tensor that is read as one run is inside of its extent. Contiguous tensors are. */
static inline bool vgr_run(const struct ggml_tensor *t)
{
    return ggml_nbytes(t) >= (uint64_t)ggml_nelements(t) / (uint64_t)ggml_blck_size(t->type) *
                                 ggml_type_size(t->type);
}

/* Row number r, counted over all dimensions, at r * nb[1] is inside of the extent: enough for kernels
 * that flatten their rows in one version of GGML and do not in another. */
static inline bool vgr_rows_inside(const struct ggml_tensor *t)
{
    uint64_t rows = (uint64_t)ggml_nrows(t), bytes = ggml_nbytes(t),
             row = ggml_row_size(t->type, t->ne[0]);

    if (!vgr_dense_rows(t))
        return false;
    return vgr_empty(t) || rows == 1 || !t->nb[1] || rows - 1 <= (bytes - row) / t->nb[1];
}

/* Elements can be counted by int, as kernels do that take a tensor for a run of elements. */
static inline bool vgr_fits_int(const struct ggml_tensor *t)
{
    return ggml_nelements(t) <= INT32_MAX;
}

/* The offset of any element, in bytes, is an int: for kernels that add up strides in this type. */
static inline bool vgr_bytes_fit_int(const struct ggml_tensor *t)
{
    return vgr_empty(t) || ggml_nbytes(t) <= INT32_MAX;
}

/* The offset of any element, in elements, is an int. */
static inline bool vgr_offsets_fit_int(const struct ggml_tensor *t)
{
    return vgr_empty(t) || ggml_nbytes(t) / ggml_type_size(t->type) <= INT32_MAX;
}

/* Do the bytes of `a` and `b` overlap? False where memory is not known. */
static inline bool vgr_overlap(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    uintptr_t x = (uintptr_t)a->data, y = (uintptr_t)b->data;

    return a->buffer && a->buffer == b->buffer && x < y + ggml_nbytes(b) && y < x + ggml_nbytes(a);
}

/* ---- The rules, by family ------------------------------------------------------------------- */

/* rules_elementwise.c */
vgr_rule_fn vgr_rule_binary, vgr_rule_add, vgr_rule_add1, vgr_rule_math, vgr_rule_unary,
    vgr_rule_glu, vgr_rule_leaky_relu, vgr_rule_silu_back, vgr_rule_clamp, vgr_rule_scale,
    vgr_rule_fill, vgr_rule_tri, vgr_rule_diag_mask;

/* rules_reduce.c */
vgr_rule_fn vgr_rule_sum, vgr_rule_sum_rows, vgr_rule_mean, vgr_rule_cumsum, vgr_rule_argmax,
    vgr_rule_count_equal, vgr_rule_argsort, vgr_rule_top_k;

/* rules_shape.c */
vgr_rule_fn vgr_rule_view, vgr_rule_dup, vgr_rule_cont, vgr_rule_cpy, vgr_rule_repeat,
    vgr_rule_repeat_back, vgr_rule_concat, vgr_rule_acc, vgr_rule_set, vgr_rule_diag, vgr_rule_pad,
    vgr_rule_pad_reflect_1d, vgr_rule_roll, vgr_rule_arange, vgr_rule_timestep_embedding,
    vgr_rule_upscale;

/* rules_matmul.c */
vgr_rule_fn vgr_rule_mul_mat, vgr_rule_mul_mat_id, vgr_rule_out_prod, vgr_rule_solve_tri;

/* rules_index.c */
vgr_rule_fn vgr_rule_get_rows, vgr_rule_get_rows_back, vgr_rule_set_rows, vgr_rule_add_id;

/* rules_norm.c */
vgr_rule_fn vgr_rule_norm, vgr_rule_rms_norm, vgr_rule_rms_norm_back, vgr_rule_group_norm,
    vgr_rule_soft_max, vgr_rule_soft_max_back, vgr_rule_rope;

/* rules_attention.c */
vgr_rule_fn vgr_rule_flash_attn_ext, vgr_rule_lightning_indexer, vgr_rule_win_part,
    vgr_rule_win_unpart, vgr_rule_get_rel_pos, vgr_rule_add_rel_pos;

/* rules_conv.c */
vgr_rule_fn vgr_rule_im2col, vgr_rule_im2col_back, vgr_rule_im2col_3d, vgr_rule_col2im_1d,
    vgr_rule_conv_2d, vgr_rule_conv_3d, vgr_rule_conv_2d_dw, vgr_rule_conv_transpose_1d,
    vgr_rule_conv_transpose_2d, vgr_rule_pool_1d, vgr_rule_pool_2d, vgr_rule_pool_2d_back;

/* rules_recurrent.c */
vgr_rule_fn vgr_rule_ssm_conv, vgr_rule_ssm_scan, vgr_rule_rwkv_wkv6, vgr_rule_rwkv_wkv7,
    vgr_rule_gated_linear_attn, vgr_rule_gated_delta_net, vgr_rule_dsv4_hc_comb,
    vgr_rule_dsv4_hc_pre, vgr_rule_dsv4_hc_post;

/* rules_train.c */
vgr_rule_fn vgr_rule_cross_entropy_loss, vgr_rule_cross_entropy_loss_back, vgr_rule_opt_step_adamw,
    vgr_rule_opt_step_sgd;

#endif
