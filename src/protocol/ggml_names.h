/* SPDX-License-Identifier: MIT
 *
 * ggml_names.h - the dictionary of the GGML that this process is linked to.
 *
 * A name stands for a meaning. Now and then GGML gives an op another one and keeps its name: other
 * op_params, or another shape of a source. Such an op has its new meaning under a new name here, so
 * that two ends of which one is older do not take it for the same: it is then not supported.
 */
#ifndef VGR_PROTOCOL_GGML_NAMES_H
#define VGR_PROTOCOL_GGML_NAMES_H

#include "protocol/names.h"

/* Fills `n` with every op, unary op, GLU op and type of the GGML in this process. Numbers without a
 * usable name are left out: they cannot be remoted. */
void vgr_ggml_names(struct vgr_names *n);

/* The name under which an op of GGML `version` ("0.27.0") goes into a dictionary. */
const char *vgr_ggml_op_name(const char *name, const char *version);

#endif
