/* SPDX-License-Identifier: MIT */
#include "protocol/ggml_names.h"

#include <ggml.h>
#include <stdio.h>
#include <string.h>

/* Ops that mean something else from GGML 0.MINOR on, which was found by running an older GGML's own
 * suite on a newer host. An op that only gained a parameter whose 0 is the old behaviour is not one. */
static const struct {
    int minor;
    const char *name, *renamed;
} changed[] = {
    {23, "SSM_SCAN", "SSM_SCAN.2"},       /* the number of states to keep */
    {25, "DSV4_HC_PRE", "DSV4_HC_PRE.2"}, /* a factor */
};

/* GGML answers every number below COUNT, with NULL or an empty name for holes in the type list.
 * vgr_names_add() refuses what cannot travel; nothing more is to be done about it. */
static void add(struct vgr_names *n, enum vgr_dict_kind kind, int number, const char *name,
                int64_t block_size, size_t type_size)
{
    if (name)
        vgr_names_add(n, kind, (unsigned)number, name, (uint32_t)block_size, (uint32_t)type_size);
}

const char *vgr_ggml_op_name(const char *name, const char *version)
{
    int major = 0, minor = 0;

    sscanf(version, "%d.%d", &major, &minor);
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
        if (!strcmp(name, changed[i].name) && (major > 0 || minor >= changed[i].minor))
            return changed[i].renamed;
    }
    return name;
}

void vgr_ggml_names(struct vgr_names *n)
{
    vgr_names_init(n, ggml_version());
    for (int i = 0; i < GGML_OP_COUNT; i++)
        add(n, VGR_DICT_OP, i, vgr_ggml_op_name(ggml_op_name((enum ggml_op)i), ggml_version()), 0,
            0);
    for (int i = 0; i < GGML_UNARY_OP_COUNT; i++)
        add(n, VGR_DICT_UNARY, i, ggml_unary_op_name((enum ggml_unary_op)i), 0, 0);
    for (int i = 0; i < GGML_GLU_OP_COUNT; i++)
        add(n, VGR_DICT_GLU, i, ggml_glu_op_name((enum ggml_glu_op)i), 0, 0);
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        enum ggml_type t = (enum ggml_type)i;

        if (ggml_blck_size(t) > 0 && ggml_type_size(t) > 0)
            add(n, VGR_DICT_TYPE, i, ggml_type_name(t), ggml_blck_size(t), ggml_type_size(t));
    }
}
