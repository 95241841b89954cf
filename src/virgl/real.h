/* SPDX-License-Identifier: MIT
 *
 * real.h - the real virglrenderer, behind us.
 */
#ifndef VGR_VIRGL_REAL_H
#define VGR_VIRGL_REAL_H

#include "virgl/calls.h"

/* How deep this thread is in calls of the real library. That library calls its own exported functions
 * by name, which we have taken: such a call has no business with our tables. */
extern __thread int vgr_real_depth;

static inline bool vgr_real_is_inside(void)
{
    return vgr_real_depth > 0;
}

/* Calls the real function of this name; gives `missing` if there is none. Any thread. */
#define VGR_REAL_DECLARE(ret, name, params, args, missing) ret vgr_real_##name params;
VGR_VIRGL_PLAIN(VGR_REAL_DECLARE)
VGR_VIRGL_HOOKED(VGR_REAL_DECLARE)
#undef VGR_REAL_DECLARE

#endif
