/* SPDX-License-Identifier: MIT
 *
 * Losses and optimizer steps: see rules.h.
 */
#include "worker/rules/rules.h"

const char *vgr_rule_cross_entropy_loss(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(vgr_alike(a, b), "the sources differ");
    VGR_REQUIRE(vgr_packed(a) && vgr_packed(b), "not contiguous");
    VGR_REQUIRE(vgr_ne(t, 1, 1, 1, 1), "the result is not one number");
    return NULL;
}

/* a: the gradient of the loss; b and c: the sources of the loss. */
const char *vgr_rule_cross_entropy_loss_back(const struct ggml_tensor *t)
{
    const struct ggml_tensor *a = t->src[0], *b = t->src[1], *c = t->src[2];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && a->type == GGML_TYPE_F32, "not F32");
    VGR_REQUIRE(vgr_ne(a, 1, 1, 1, 1), "the gradient is not one number");
    VGR_REQUIRE(vgr_alike(t, b) && vgr_alike(t, c), "the sources or the result differ");
    VGR_REQUIRE(vgr_packed(t) && vgr_packed(b) && vgr_packed(c), "not contiguous");
    return NULL;
}

/* Parameters of the step are in the source `params_at`; all others are like the first, which is
 * changed and which the result is a view of. Kernels use the first one's strides for all. */
static const char *opt_step(const struct ggml_tensor *t, int params_at, int64_t n_params)
{
    const struct ggml_tensor *params = t->src[params_at];

    VGR_REQUIRE(t->type == GGML_TYPE_F32 && ggml_is_contiguous(t), "not contiguous F32");
    for (int s = 0; s < params_at; s++)
        VGR_REQUIRE(vgr_alike(t, t->src[s]) && ggml_is_contiguous(t->src[s]),
                    "the sources or the result differ");
    VGR_REQUIRE(params->type == GGML_TYPE_F32 && ggml_is_contiguous(params) &&
                    ggml_nelements(params) == n_params,
                "not the right number of parameters");
    return NULL;
}

const char *vgr_rule_opt_step_adamw(const struct ggml_tensor *t)
{
    return opt_step(t, 4, 7);
}

const char *vgr_rule_opt_step_sgd(const struct ggml_tensor *t)
{
    return opt_step(t, 2, 2);
}
