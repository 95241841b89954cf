/* SPDX-License-Identifier: MIT
 *
 * session_change.h - how fuzz_session changes an input: by whole commands, and by fields of what they carry.
 *
 * libFuzzer's own changes would mostly break the coding of a file. Here a file is read, changed in one to
 * four places, and written again: commands are dropped, doubled, exchanged and taken over from
 * another file; a field of a record or of a tensor gets a near or an odd value, or that of a neighbour;
 * bytes are changed by libFuzzer.
 */
#ifndef VGR_FUZZ_SESSION_CHANGE_H
#define VGR_FUZZ_SESSION_CHANGE_H

#include "session.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2,
                                 size_t size2, uint8_t *out, size_t max_out, unsigned seed);

/* There is no libFuzzer where inputs are only replayed. */
#pragma weak LLVMFuzzerMutate

static uint64_t dice_state;

/* 0..n-1 */
static uint32_t dice(uint32_t n)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (uint32_t)(dice_state >> 32) % n;
}

static void roll(unsigned seed)
{
    dice_state = 0x9e3779b97f4a7c15u ^ seed;
    for (int i = 0; i < 4; i++)
        dice(1);
}

/* ---- Commands ---- */

static void drop(struct session *s, uint32_t i, uint32_t n)
{
    memmove(&s->command[i], &s->command[i + n], (s->n - i - n) * sizeof(s->command[0]));
    s->n -= n;
}

/* Puts the last command in the place of `i`, which moves up with all that follow. */
static void last_to(struct session *s, uint32_t i)
{
    struct session_command c = s->command[s->n - 1];

    memmove(&s->command[i + 1], &s->command[i], (s->n - 1 - i) * sizeof(c));
    s->command[i] = c;
}

static void insert(struct session *s, uint32_t i, const struct session_command *c)
{
    struct session_command *new = session_add(s, c->how, c->len, c->payload_len);

    if (!new)
        return;
    memcpy(new->record, c->record, (size_t)c->len + c->payload_len);
    last_to(s, i);
}

/* ---- Fields ---- */

/* Near, or odd. `size` is 1, 2, 4 or 8. */
static void change_number(uint8_t *p, uint32_t size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    switch (dice(8)) {
    case 0:
        v++;
        break;
    case 1:
        v--;
        break;
    case 2:
        v *= 2;
        break;
    case 3:
        v /= 2;
        break;
    case 4:
        v = dice(64);
        break;
    case 5:
        v ^= 1ull << dice(8 * size);
        break;
    case 6:
        v = (1ull << dice(64)) - dice(2);
        break;
    default:
        v = (uint64_t)dice(1u << 31) << 33 | dice(1u << 31);
    }
    memcpy(p, &v, size);
}

static void change_record(struct session_command *c)
{
    uint32_t at = 4 * dice(c->len / 4);

    if (at == 4) /* its size is not the input's to say */
        at = 8 % c->len;
    if (at < sizeof(struct vgr_cmd))
        change_number(c->record + 2 * dice(2), 2);
    else if (at % 8 == 0 && at + 8 <= c->len && dice(2))
        change_number(c->record + at, 8);
    else
        change_number(c->record + at, 4);
}

static const struct {
    uint8_t offset, size, n;
} tensor_fields[] = {
#define FIELD(name, count)                                                                         \
    {offsetof(struct vgr_tensor, name), sizeof(((struct vgr_tensor *)0)->name) / (count), count}
    FIELD(op, 1),         FIELD(type, 1),
    FIELD(flags, 1),      FIELD(buffer, 1),
    FIELD(offset, 1),     FIELD(ne, VGR_DIMS),
    FIELD(nb, VGR_DIMS),  FIELD(ne, VGR_DIMS),
    FIELD(nb, VGR_DIMS),  FIELD(op_params, VGR_PARAMS),
    FIELD(src, VGR_SRCS), FIELD(view_src, 1),
    FIELD(view_offs, 1),
#undef FIELD
};

/* The tensors of a payload: how many, the first one's place and the distance. */
static uint32_t tensors_of(const struct session_command *c, uint32_t *first, uint32_t *step)
{
    uint16_t op = ((const struct vgr_cmd *)c->record)->op;

    *step = sizeof(struct vgr_tensor);
    *first = 0;
    if (op == VGR_CMD_GRAPH_DEFINE || op == VGR_CMD_QUERY_ORDER) {
        *first = sizeof(struct vgr_graph);
    } else if (op == VGR_CMD_GRAPH_PATCH) {
        *first = offsetof(struct vgr_graph_patch, tensor);
        *step = sizeof(struct vgr_graph_patch);
    } else if (op != VGR_CMD_QUERY_OP) {
        return 0;
    }
    if (c->payload_len < *first + sizeof(struct vgr_tensor))
        return 0;
    return (c->payload_len - *first - (uint32_t)sizeof(struct vgr_tensor)) / *step + 1;
}

static void change_tensor(struct session_command *c)
{
    uint32_t first, step, n = tensors_of(c, &first, &step), field, at;
    uint8_t *t;

    if (!n)
        return;
    field = dice(sizeof(tensor_fields) / sizeof(tensor_fields[0]));
    at = tensor_fields[field].offset + tensor_fields[field].size * dice(tensor_fields[field].n);
    t = c->payload + first + step * dice(n);
    if (dice(3) == 0) /* as another one has it */
        memcpy(t + at, c->payload + first + step * dice(n) + at, tensor_fields[field].size);
    else if (dice(16) == 0) /* all of another one */
        memcpy(t, c->payload + first + step * dice(n), sizeof(struct vgr_tensor));
    else
        change_number(t + at, tensor_fields[field].size);
}

static void change_bytes(uint8_t *p, uint32_t len)
{
    uint32_t at = len ? dice(len) : 0, n = len - at < 64 ? len - at : 64;

    if (n)
        LLVMFuzzerMutate(p + at, n, n);
}

/* ---- The whole ---- */

static void change(struct session *s)
{
    uint32_t i = dice(s->n), j = dice(s->n);
    struct session_command *c = &s->command[i], swap;
    uint32_t first, step;

    switch (dice(16)) {
    case 0:
        drop(s, i, 1);
        break;
    case 1: /* several in a row */
        drop(s, i, 1 + dice(s->n - i < 8 ? s->n - i : 8));
        break;
    case 2:
        insert(s, i, &s->command[j]);
        break;
    case 3:
        swap = s->command[i];
        s->command[i] = s->command[j];
        s->command[j] = swap;
        break;
    case 4:
        c->how = (uint8_t)(c->how ^ (dice(2) ? SESSION_AS_IS : 1 + dice(SESSION_QUEUES)));
        break;
    case 5:
    case 6:
    case 7:
        change_record(c);
        break;
    case 8:
        change_bytes(c->payload, c->payload_len);
        break;
    case 9:
        s->n_devices = (uint8_t)(1 + dice(SESSION_QUEUES));
        break;
    default: /* a graph or a question, near here */
        for (uint32_t k = 0; k < s->n && !tensors_of(c, &first, &step); k++)
            c = &s->command[(i + k) % s->n];
        change_tensor(c);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct session s;

    roll(seed);
    session_read(&s, data, size);
    if (!s.n)
        return LLVMFuzzerMutate(data, size, max_size);
    for (uint32_t n = 1 + dice(4); n && s.n; n--)
        change(&s);
    return session_write(&s, data, max_size);
}

/* Some commands in a row of the second, in the first. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2,
                                 size_t size2, uint8_t *out, size_t max_out, unsigned seed)
{
    static struct session s, other;
    uint32_t at, from, n;

    roll(seed);
    session_read(&s, data1, size1);
    session_read(&other, data2, size2);
    if (!s.n || !other.n)
        return 0;
    at = dice(s.n + 1);
    from = dice(other.n);
    n = 1 + dice(other.n - from < 32 ? other.n - from : 32);
    if (dice(2)) /* in their place */
        drop(&s, at, s.n - at < n ? s.n - at : n);
    for (uint32_t i = 0; i < n; i++)
        insert(&s, at + i < s.n ? at + i : s.n, &other.command[from + i]);
    return session_write(&s, out, max_out);
}

#endif
