/* SPDX-License-Identifier: MIT */
#include "protocol/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void vgr_names_init(struct vgr_names *n, const char *ggml_version)
{
    memset(n, 0, sizeof(*n));
    snprintf(n->version, sizeof(n->version), "%s", ggml_version);
}

int vgr_names_add(struct vgr_names *n, enum vgr_dict_kind kind, unsigned number, const char *name,
                  uint32_t block_size, uint32_t type_size)
{
    size_t len = strlen(name);
    struct vgr_name *e;

    if (kind >= VGR_DICT_KINDS || number > VGR_DICT_MAX_NUMBER || !len || len >= sizeof(e->name))
        return -EINVAL;
    e = &n->entry[kind][number];
    if (e->name[0])
        return -EINVAL;
    memcpy(e->name, name, len + 1);
    e->block_size = block_size;
    e->type_size = type_size;
    return 0;
}

static uint32_t count(const struct vgr_names *n)
{
    uint32_t c = 0;

    for (int k = 0; k < VGR_DICT_KINDS; k++) {
        for (unsigned i = 0; i <= VGR_DICT_MAX_NUMBER; i++)
            c += n->entry[k][i].name[0] != 0;
    }
    return c;
}

size_t vgr_names_size(const struct vgr_names *n)
{
    return sizeof(struct vgr_dict) + count(n) * sizeof(struct vgr_dict_entry);
}

int64_t vgr_names_write(const struct vgr_names *n, void *buf, size_t cap)
{
    struct vgr_dict head = {.n_entries = count(n)};
    size_t len = vgr_names_size(n);
    uint8_t *p = buf;

    if (len > cap)
        return -ENOSPC;
    memcpy(head.ggml_version, n->version, sizeof(head.ggml_version));
    memcpy(p, &head, sizeof(head));
    p += sizeof(head);

    for (unsigned k = 0; k < VGR_DICT_KINDS; k++) {
        for (unsigned i = 0; i <= VGR_DICT_MAX_NUMBER; i++) {
            const struct vgr_name *e = &n->entry[k][i];
            struct vgr_dict_entry w = {
                .kind = (uint16_t)k,
                .number = (uint16_t)i,
                .block_size = e->block_size,
                .type_size = e->type_size,
            };

            if (!e->name[0])
                continue;
            memcpy(w.name, e->name, sizeof(w.name));
            memcpy(p, &w, sizeof(w));
            p += sizeof(w);
        }
    }
    return (int64_t)len;
}

int vgr_names_read(struct vgr_names *n, const void *buf, size_t len)
{
    const uint8_t *p = buf;
    struct vgr_dict head;

    if (len < sizeof(head))
        return -EPROTO;
    memcpy(&head, p, sizeof(head));
    p += sizeof(head);
    if (head.n_entries > VGR_DICT_MAX_ENTRIES ||
        len - sizeof(head) < head.n_entries * sizeof(struct vgr_dict_entry) ||
        !memchr(head.ggml_version, 0, sizeof(head.ggml_version)))
        return -EPROTO;

    vgr_names_init(n, head.ggml_version);
    for (uint32_t i = 0; i < head.n_entries; i++, p += sizeof(struct vgr_dict_entry)) {
        struct vgr_dict_entry w;

        memcpy(&w, p, sizeof(w));
        if (!memchr(w.name, 0, sizeof(w.name)))
            return -EPROTO;
        if (vgr_names_add(n, (enum vgr_dict_kind)w.kind, w.number, w.name, w.block_size,
                          w.type_size))
            return -EPROTO;
    }
    return 0;
}

void vgr_names_map(struct vgr_names_map *m, const struct vgr_names *from,
                   const struct vgr_names *to)
{
    for (unsigned k = 0; k < VGR_DICT_KINDS; k++) {
        for (unsigned i = 0; i <= VGR_DICT_MAX_NUMBER; i++) {
            const struct vgr_name *a = &from->entry[k][i];

            m->to[k][i] = VGR_NAMES_NONE;
            for (unsigned j = 0; a->name[0] && j <= VGR_DICT_MAX_NUMBER; j++) {
                const struct vgr_name *b = &to->entry[k][j];

                if (!strcmp(a->name, b->name) && a->block_size == b->block_size &&
                    a->type_size == b->type_size) {
                    m->to[k][i] = (uint16_t)j;
                    break;
                }
            }
        }
    }
}
