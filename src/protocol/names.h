/* SPDX-License-Identifier: MIT
 *
 * names.h - dictionaries: the numbers of one GGML, mapped to those of another by name.
 *
 * Theory of operation
 * -------------------
 *
 * Each end writes a dictionary of its own GGML (struct vgr_dict in wire.h) and parses the other's. A
 * map takes numbers of one dictionary to numbers of the other. Types must agree in name, block size
 * and type size. A number without a partner maps to VGR_NAMES_NONE: an op that one side lacks is not
 * supported, and nothing else changes.
 *
 * This module knows no GGML: dictionaries come from the caller, who fills them with
 * vgr_names_add(). So a test can permute the numbers.
 */
#ifndef VGR_PROTOCOL_NAMES_H
#define VGR_PROTOCOL_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"

#define VGR_NAMES_NONE 0xffffu

/* A parsed dictionary, indexed by number. An empty name means: no such number. About 45 KiB. */
struct vgr_names {
    char version[24];
    struct vgr_name {
        char name[32];
        uint32_t block_size;
        uint32_t type_size;
    } entry[VGR_DICT_KINDS][VGR_DICT_MAX_NUMBER + 1];
};

/* From the numbers of one side to those of the other. */
struct vgr_names_map {
    uint16_t to[VGR_DICT_KINDS][VGR_DICT_MAX_NUMBER + 1];
};

/* Starts an empty dictionary of that GGML version (cut at 23 bytes). */
void vgr_names_init(struct vgr_names *n, const char *ggml_version);

/* Adds a name. Block and type size are 0 but for types. -EINVAL if the number is over
 * VGR_DICT_MAX_NUMBER, the name empty or over 31 bytes, or the number is taken. */
int vgr_names_add(struct vgr_names *n, enum vgr_dict_kind kind, unsigned number, const char *name,
                  uint32_t block_size, uint32_t type_size);

/* Bytes that vgr_names_write() needs. */
size_t vgr_names_size(const struct vgr_names *n);

/* Writes the wire form. Returns its length, or -ENOSPC. */
int64_t vgr_names_write(const struct vgr_names *n, void *buf, size_t cap);

/* Parses the wire form from untrusted bytes (the caller's private copy). -EPROTO if malformed. */
int vgr_names_read(struct vgr_names *n, const void *buf, size_t len);

/* Maps the numbers of `from` to those of `to`. */
void vgr_names_map(struct vgr_names_map *m, const struct vgr_names *from,
                   const struct vgr_names *to);

/* The number there, or VGR_NAMES_NONE; any `number` is allowed. */
static inline unsigned vgr_names_lookup(const struct vgr_names_map *m, enum vgr_dict_kind kind,
                                        unsigned number)
{
    return number <= VGR_DICT_MAX_NUMBER ? m->to[kind][number] : VGR_NAMES_NONE;
}

#endif
