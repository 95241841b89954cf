/* SPDX-License-Identifier: MIT
 *
 * table.h - objects by the numbers that a guest chose for them. Bounded; the node is embedded in the
 * object, which stays the caller's.
 */
#ifndef VGR_DEVICE_TABLE_H
#define VGR_DEVICE_TABLE_H

#include <stdint.h>

#define VGR_TABLE_BUCKETS 256u

struct vgr_table_node {
    struct vgr_table_node *next;
    uint32_t id;
};

struct vgr_table {
    struct vgr_table_node *buckets[VGR_TABLE_BUCKETS];
    unsigned n;
    unsigned limit;
};

/* NULL: no object has this number. */
struct vgr_table_node *vgr_table_find(const struct vgr_table *t, uint32_t id);

/* 0; -EINVAL: the number is 0; -EEXIST: it is taken; -ENOSPC: the table is full. */
int vgr_table_insert(struct vgr_table *t, struct vgr_table_node *node, uint32_t id);

/* Takes out a node that is in the table. */
void vgr_table_remove(struct vgr_table *t, struct vgr_table_node *node);

/* Walks all nodes: first with NULL, then with the node returned before. The caller may take out that
 * node after it has fetched the one that follows. NULL at the end. */
struct vgr_table_node *vgr_table_next(const struct vgr_table *t, const struct vgr_table_node *node);

#endif
