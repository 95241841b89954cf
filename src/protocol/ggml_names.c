/* SPDX-License-Identifier: MIT */
#include "protocol/ggml_names.h"

#include <ggml.h>

/* GGML answers every number below COUNT, with NULL or an empty name for holes in the type list.
 * vgr_names_add() refuses what cannot travel; nothing more is to be done about it. */
static void add(struct vgr_names *n, enum vgr_dict_kind kind, int number, const char *name,
                int64_t block_size, size_t type_size)
{
    if (name)
        vgr_names_add(n, kind, (unsigned)number, name, (uint32_t)block_size, (uint32_t)type_size);
}

void vgr_ggml_names(struct vgr_names *n)
{
    vgr_names_init(n, ggml_version());
    for (int i = 0; i < GGML_OP_COUNT; i++)
        add(n, VGR_DICT_OP, i, ggml_op_name((enum ggml_op)i), 0, 0);
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
