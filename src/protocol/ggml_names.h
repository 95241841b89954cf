/* SPDX-License-Identifier: MIT
 *
 * ggml_names.h - the dictionary of the GGML that this process is linked to.
 */
#ifndef VGR_PROTOCOL_GGML_NAMES_H
#define VGR_PROTOCOL_GGML_NAMES_H

#include "protocol/names.h"

/* Fills `n` with every op, unary op, GLU op and type of the GGML in this process. Numbers without a
 * usable name are left out: they cannot be remoted. */
void vgr_ggml_names(struct vgr_names *n);

#endif
