/* SPDX-License-Identifier: MIT
 *
 * table.h - objects by the numbers that a guest chose for them. Bounded; the node is embedded in the
 * object, which stays the caller's.
 *
 * Theory of operation
 * -------------------
 *
 * A digital search tree: at depth d, bit d of the number (the lowest is bit 0) says which way it goes
 * on, and each node on the way holds an object. So no way is longer than a number has bits, whatever
 * numbers a guest picks, and there is nothing to be kept balanced or secret. A leaf may stand in for
 * any node above it, as it shares the bits that lead there: that is how a node is taken out.
 */
#ifndef VGR_DEVICE_TABLE_H
#define VGR_DEVICE_TABLE_H

#include <stdint.h>

/* The longest way from the root to a node, in nodes: a search looks at no more. */
#define VGR_TABLE_DEPTH 33u

struct vgr_table_node {
    struct vgr_table_node *parent;
    struct vgr_table_node *child[2];
    uint32_t id;
};

/* All 0 but for the limit: empty. */
struct vgr_table {
    struct vgr_table_node *root;
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
