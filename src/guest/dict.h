/* SPDX-License-Identifier: MIT
 *
 * dict.h - this GGML's numbers as they go over the wire.
 *
 * They are GGML's own numbers. A test build permutes those of ops, unary ops and GLU ops, to prove
 * that the host goes by the dictionary and not by luck.
 */
#ifndef VGR_GUEST_DICT_H
#define VGR_GUEST_DICT_H

#include <stdint.h>

#include "protocol/ggml_abi.h"
#include "protocol/names.h"

/* Wire numbers by GGML's; filled by vgr_dict_fill(). */
extern uint8_t vgr_dict_op[VGR_DICT_MAX_NUMBER + 1];
extern uint8_t vgr_dict_unary[VGR_DICT_MAX_NUMBER + 1];
extern uint8_t vgr_dict_glu[VGR_DICT_MAX_NUMBER + 1];

/* Fills the tables above and the dictionary to send. Ops that carry function pointers are left out:
 * they can never run elsewhere. */
void vgr_dict_fill(struct vgr_names *names);

/* op_params[0] of an op as it goes over the wire. */
static inline int32_t vgr_dict_param0(enum ggml_op op, int32_t value)
{
    if (op == GGML_OP_UNARY)
        return vgr_dict_unary[(uint32_t)value & VGR_DICT_MAX_NUMBER];
    if (op == GGML_OP_GLU)
        return vgr_dict_glu[(uint32_t)value & VGR_DICT_MAX_NUMBER];
    return value;
}

#endif
