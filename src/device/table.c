/* SPDX-License-Identifier: MIT */
#include "device/table.h"

#include <errno.h>
#include <stddef.h>

/* Where the way to `id` ends: at the node of this number, or at the place where it would be. *parent is
 * the node above. */
static struct vgr_table_node **place(struct vgr_table *t, uint32_t id,
                                     struct vgr_table_node **parent)
{
    struct vgr_table_node **link = &t->root;
    uint32_t bits = id;

    *parent = NULL;
    for (; *link && (*link)->id != id; bits >>= 1) {
        *parent = *link;
        link = &(*link)->child[bits & 1];
    }
    return link;
}

struct vgr_table_node *vgr_table_find(const struct vgr_table *t, uint32_t id)
{
    struct vgr_table_node *node = t->root;

    for (uint32_t bits = id; node && node->id != id; bits >>= 1)
        node = node->child[bits & 1];
    return node;
}

int vgr_table_insert(struct vgr_table *t, struct vgr_table_node *node, uint32_t id)
{
    struct vgr_table_node *parent, **link = place(t, id, &parent);

    if (!id)
        return -EINVAL;
    if (*link)
        return -EEXIST;
    if (t->n >= t->limit)
        return -ENOSPC;
    *node = (struct vgr_table_node){.parent = parent, .id = id};
    *link = node;
    t->n++;
    return 0;
}

static struct vgr_table_node **link_to(struct vgr_table *t, const struct vgr_table_node *node)
{
    return node->parent ? &node->parent->child[node->parent->child[1] == node] : &t->root;
}

/* The first leaf in or below a node, of those that vgr_table_next() meets. */
static struct vgr_table_node *first_leaf(struct vgr_table_node *node)
{
    while (node->child[0] || node->child[1])
        node = node->child[0] ? node->child[0] : node->child[1];
    return node;
}

void vgr_table_remove(struct vgr_table *t, struct vgr_table_node *node)
{
    struct vgr_table_node *leaf = first_leaf(node);

    *link_to(t, leaf) = NULL;
    if (leaf != node) {
        *link_to(t, node) = leaf;
        leaf->parent = node->parent;
        for (int i = 0; i < 2; i++) {
            leaf->child[i] = node->child[i];
            if (leaf->child[i])
                leaf->child[i]->parent = leaf;
        }
    }
    t->n--;
}

/* Those below a node come before it. So what stands in for a node that is taken out was met before. */
struct vgr_table_node *vgr_table_next(const struct vgr_table *t, const struct vgr_table_node *node)
{
    struct vgr_table_node *parent;

    if (!node)
        return t->root ? first_leaf(t->root) : NULL;
    parent = node->parent;
    if (parent && parent->child[0] == node && parent->child[1])
        return first_leaf(parent->child[1]);
    return parent;
}
