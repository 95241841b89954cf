/* SPDX-License-Identifier: MIT
 *
 * submit.h - is a command buffer of a guest one of ours?
 */
#ifndef VGR_VIRGL_SUBMIT_H
#define VGR_VIRGL_SUBMIT_H

#include <stdbool.h>

#include "protocol/wire.h"

/* Reads `n_words` words (anything may be in them, and any number be given) as a struct
 * vgr_bridge_submit. True, and a copy in *s: it is one, of an op that exists. */
bool vgr_submit_parse(const void *buffer, int n_words, struct vgr_submit *s);

#endif
