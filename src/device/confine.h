/* SPDX-License-Identifier: MIT
 *
 * confine.h - what the command line says about the workers' sandbox, in the terms of worker/boot.h.
 */
#ifndef VGR_DEVICE_CONFINE_H
#define VGR_DEVICE_CONFINE_H

#include <stddef.h>

#include "device/options.h"

/* Looks up the user and the folder. A worker with a user of its own keeps the groups that own GPUs'
 * device nodes here. The folder of shaders has to be the workers' user's alone; it stays locked for as
 * long as this process lives. The devices' names decide which kinds of GPUs' nodes workers open. Returns
 * 0, or -EINVAL with one line for the user in `why`. */
int vgr_confine(const struct vgr_options *o, struct vgr_boot_sandbox *sandbox, char *why,
                size_t why_size);

#endif
