/* SPDX-License-Identifier: MIT */
#include "device/table.h"

#include <errno.h>
#include <stddef.h>

static unsigned bucket_of(uint32_t id)
{
    return id % VGR_TABLE_BUCKETS;
}

struct vgr_table_node *vgr_table_find(const struct vgr_table *t, uint32_t id)
{
    struct vgr_table_node *node = t->buckets[bucket_of(id)];

    while (node && node->id != id)
        node = node->next;
    return node;
}

int vgr_table_insert(struct vgr_table *t, struct vgr_table_node *node, uint32_t id)
{
    struct vgr_table_node **bucket = &t->buckets[bucket_of(id)];

    if (!id)
        return -EINVAL;
    if (vgr_table_find(t, id))
        return -EEXIST;
    if (t->n >= t->limit)
        return -ENOSPC;
    node->id = id;
    node->next = *bucket;
    *bucket = node;
    t->n++;
    return 0;
}

void vgr_table_remove(struct vgr_table *t, struct vgr_table_node *node)
{
    struct vgr_table_node **link = &t->buckets[bucket_of(node->id)];

    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->next = NULL;
    t->n--;
}

struct vgr_table_node *vgr_table_next(const struct vgr_table *t, const struct vgr_table_node *node)
{
    unsigned b = 0;

    if (node) {
        if (node->next)
            return node->next;
        b = bucket_of(node->id) + 1;
    }
    for (; b < VGR_TABLE_BUCKETS; b++) {
        if (t->buckets[b])
            return t->buckets[b];
    }
    return NULL;
}
