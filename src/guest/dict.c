/* SPDX-License-Identifier: MIT */
#include "guest/dict.h"

uint8_t vgr_dict_op[VGR_DICT_MAX_NUMBER + 1];
uint8_t vgr_dict_unary[VGR_DICT_MAX_NUMBER + 1];
uint8_t vgr_dict_glu[VGR_DICT_MAX_NUMBER + 1];

static_assert(GGML_OP_COUNT <= VGR_DICT_MAX_NUMBER + 1, "op numbers fit the dictionary");
static_assert(GGML_TYPE_COUNT <= VGR_DICT_MAX_NUMBER + 1, "type numbers fit the dictionary");

/* The wire number of `number`, one of `count`. */
static uint8_t wire_number(unsigned number, unsigned count)
{
#ifdef VGR_TEST_PERMUTE_OPS
    return (uint8_t)(count - 1 - number);
#else
    (void)count;
    return (uint8_t)number;
#endif
}

static bool has_function_pointers(enum ggml_op op)
{
    return op == GGML_OP_MAP_CUSTOM1 || op == GGML_OP_MAP_CUSTOM2 || op == GGML_OP_MAP_CUSTOM3 ||
           op == GGML_OP_CUSTOM;
}

/* vgr_names_add() refuses names that the wire has no room for; such an op is then not in the
 * dictionary and so not supported, which is what it should be. */
void vgr_dict_fill(struct vgr_names *names)
{
    vgr_names_init(names, ggml_version());

    for (unsigned i = 0; i < GGML_OP_COUNT; i++) {
        vgr_dict_op[i] = wire_number(i, GGML_OP_COUNT);
        if (!has_function_pointers((enum ggml_op)i))
            vgr_names_add(names, VGR_DICT_OP, vgr_dict_op[i], ggml_op_name((enum ggml_op)i), 0, 0);
    }
    for (unsigned i = 0; i < GGML_UNARY_OP_COUNT; i++) {
        vgr_dict_unary[i] = wire_number(i, GGML_UNARY_OP_COUNT);
        vgr_names_add(names, VGR_DICT_UNARY, vgr_dict_unary[i],
                      ggml_unary_op_name((enum ggml_unary_op)i), 0, 0);
    }
    for (unsigned i = 0; i < GGML_GLU_OP_COUNT; i++) {
        vgr_dict_glu[i] = wire_number(i, GGML_GLU_OP_COUNT);
        vgr_names_add(names, VGR_DICT_GLU, vgr_dict_glu[i], ggml_glu_op_name((enum ggml_glu_op)i),
                      0, 0);
    }
    for (unsigned i = 0; i < GGML_TYPE_COUNT; i++) {
        enum ggml_type type = (enum ggml_type)i;
        size_t size = ggml_type_size(type);

        /* Removed types keep their number, with no size. */
        if (size)
            vgr_names_add(names, VGR_DICT_TYPE, i, ggml_type_name(type),
                          (uint32_t)ggml_blck_size(type), (uint32_t)size);
    }
}
