/* SPDX-License-Identifier: MIT */
#include "guest/dict.h"

#include <string.h>

#include "protocol/ggml_names.h"

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

/* Moves the names of `kind` to their wire numbers. */
static void number(struct vgr_names *names, enum vgr_dict_kind kind, unsigned count, uint8_t *wire)
{
    struct vgr_name own[VGR_DICT_MAX_NUMBER + 1];

    memcpy(own, names->entry[kind], sizeof(own));
    for (unsigned i = 0; i < count; i++) {
        wire[i] = wire_number(i, count);
        names->entry[kind][wire[i]] = own[i];
    }
}

void vgr_dict_fill(struct vgr_names *names)
{
    static const enum ggml_op with_pointers[] = {GGML_OP_MAP_CUSTOM1, GGML_OP_MAP_CUSTOM2,
                                                 GGML_OP_MAP_CUSTOM3, GGML_OP_CUSTOM};

    vgr_ggml_names(names);
    for (size_t i = 0; i < sizeof(with_pointers) / sizeof(with_pointers[0]); i++)
        names->entry[VGR_DICT_OP][with_pointers[i]] = (struct vgr_name){0};
    number(names, VGR_DICT_OP, GGML_OP_COUNT, vgr_dict_op);
    number(names, VGR_DICT_UNARY, GGML_UNARY_OP_COUNT, vgr_dict_unary);
    number(names, VGR_DICT_GLU, GGML_GLU_OP_COUNT, vgr_dict_glu);
}
