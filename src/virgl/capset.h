/* SPDX-License-Identifier: MIT
 *
 * capset.h - the trailer by which a guest sees that there is a bridge.
 *
 * Whether there is one is decided once for the monitor's life, when it first asks how large a capset
 * is, which is before the machine runs: if a broker answers then. Were it to change later, a monitor
 * that remembers the size would be written beyond its buffer.
 */
#ifndef VGR_VIRGL_CAPSET_H
#define VGR_VIRGL_CAPSET_H

#include <stdbool.h>

#include "protocol/wire.h"

/* Decides, if that was not done yet. Any thread. */
bool vgr_capset_decide(void);

/* It was decided that tensor devices are offered. */
bool vgr_capset_is_offered(void);
const struct vgr_capset *vgr_capset_offered(void);

/* The size of a capset with the trailer, of one of `size` bytes without. */
uint32_t vgr_capset_size(uint32_t size);

/* Writes the trailer into a capset of vgr_capset_size(size) bytes. */
void vgr_capset_write(void *caps, uint32_t size);

#endif
