/* SPDX-License-Identifier: MIT
 *
 * fuzz_guest.c - the guest library, with a host that lies.
 *
 * Theory of operation
 * -------------------
 *
 * The library is used as GGML uses it: devices, buffers, streams, graphs, events. The host is played in
 * the same thread (lying_host.h): its vgr_transport_direct() takes the place of the library's own, and
 * its doorbell and its sleep are where the host works. So there is no race, and an input always
 * means the same.
 *
 * The first byte of an input chooses: the handshake alone, or what a program does with a connection, with
 * one device or with two that have a queue each and give each other work.
 * The process's first connection is good, or there would be no device; each input gets a new one, the
 * way a program does whose connection has failed.
 */
#include "fuzz.h"

#include "ggml-virtgpu.h"
#include "guest/tensor.h"
#include "lying_host.h"
#include "protocol/ggml_abi.h"

#define ACTIONS 48

#define TENSORS 8
#define SLOT    4096u /* room of a tensor in the buffer */
#define SLOTS   48u
#define BIG     (96u << 10)

static ggml_backend_dev_t devices[2];

/* What a program has on one device. */
struct side {
    ggml_backend_dev_t dev;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *t[TENSORS];
    unsigned n_t;
    uint32_t next_slot;
};

struct program {
    struct ggml_context *ctx;
    unsigned n_sides;
    struct side side[2];
    ggml_backend_buffer_t other, host_buffer;
    ggml_backend_t stream[2]; /* of the last side the second */
    ggml_backend_event_t event;
    uint8_t data[BIG];
};

/* Puts a tensor into the buffer. False if the host wants more room for it than it gets. */
static bool put(struct side *s, struct ggml_tensor *t, size_t room)
{
    uint8_t *base = ggml_backend_buffer_get_base(s->buffer);
    size_t at = (size_t)s->next_slot * SLOT;

    if (ggml_backend_buffer_get_alloc_size(s->buffer, t) > room ||
        at + room > ggml_backend_buffer_get_size(s->buffer))
        return false;
    s->next_slot += (uint32_t)((room + SLOT - 1) / SLOT);
    return ggml_backend_tensor_alloc(s->buffer, t, base + at) == GGML_STATUS_SUCCESS;
}

static void start_side(struct program *p, struct side *s, ggml_backend_dev_t dev)
{
    s->dev = dev;
    s->buffer =
        ggml_backend_buft_alloc_buffer(ggml_backend_dev_buffer_type(dev), SLOTS * SLOT + 2 * BIG);
    for (int i = 0; s->buffer && i < TENSORS; i++) {
        struct ggml_tensor *t = i < 6    ? ggml_new_tensor_2d(p->ctx, GGML_TYPE_F32, 32, 8)
                                : i == 6 ? ggml_new_tensor_1d(p->ctx, GGML_TYPE_F32, BIG / 4)
                                         : ggml_new_tensor_2d(p->ctx, GGML_TYPE_Q4_0, 96, 4);

        if (put(s, t, i == 6 ? BIG : SLOT))
            s->t[s->n_t++] = t;
    }
}

static void start(struct program *p, unsigned n_sides)
{
    static uint8_t memory[256 << 10];
    struct ggml_init_params params = {sizeof(memory), memory, true};

    p->ctx = ggml_init(params);
    p->n_sides = n_sides;
    for (unsigned i = 0; i < n_sides; i++)
        start_side(p, &p->side[i], devices[i]);
}

/* The device of a stream. */
static struct side *side_of(struct program *p, uint32_t stream)
{
    return &p->side[stream % p->n_sides];
}

static void finish(struct program *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->stream[i])
            ggml_backend_free(p->stream[i]);
    }
    if (p->event)
        ggml_backend_event_free(p->event);
    ggml_backend_buffer_free(p->host_buffer);
    ggml_backend_buffer_free(p->other);
    for (unsigned i = 0; i < p->n_sides; i++)
        ggml_backend_buffer_free(p->side[i].buffer);
    ggml_free(p->ctx);
}

static void transfer(struct program *p, struct ggml_tensor *t, ggml_backend_t stream)
{
    size_t size = ggml_nbytes(t), off = fuzz_below(&in, 65536) % size;
    uint8_t *data = p->data;
    size_t n;

    n = fuzz_below(&in, 2) ? size - off : fuzz_below(&in, 65536) % (size - off) + 1;
    if (p->host_buffer && fuzz_below(&in, 2) && n <= ggml_backend_buffer_get_size(p->host_buffer))
        data = ggml_backend_buffer_get_base(p->host_buffer);
    switch (fuzz_below(&in, 3)) {
    case 0:
        if (stream)
            ggml_backend_tensor_set_async(stream, t, data, off, n);
        else
            ggml_backend_tensor_set(t, data, off, n);
        break;
    case 1:
        if (stream) {
            ggml_backend_tensor_get_async(stream, t, data, off, n);
        } else {
            bool failed = vgr_conn_failed(vgr_tensor_owner(t)->queue->conn);

            memset(p->data, 0xee, sizeof(p->data));
            ggml_backend_tensor_get(t, p->data, off, n);
            for (size_t i = 0; failed && i < n; i++)
                FUZZ_CHECK(!p->data[i]);
        }
        break;
    default:
        ggml_backend_tensor_memset(t, fuzz_u8(&in), off, n);
    }
}

static void copy(struct program *p)
{
    struct side *from = &p->side[0], *to = &p->side[0];
    struct ggml_tensor *a, *b;

    if (p->n_sides > 1) {
        from = &p->side[fuzz_below(&in, 2)];
        to = &p->side[fuzz_below(&in, 2)];
    }
    if (!from->n_t || !to->n_t)
        return;
    a = from->t[fuzz_below(&in, from->n_t)];
    b = to->t[fuzz_below(&in, to->n_t)];
    if (a == b || a->type != b->type || !ggml_are_same_shape(a, b))
        return;
    if (p->n_sides > 1 && p->stream[from - p->side] && p->stream[to - p->side] &&
        fuzz_below(&in, 2))
        ggml_backend_tensor_copy_async(p->stream[from - p->side], p->stream[to - p->side], a, b);
    else
        ggml_backend_tensor_copy(a, b);
}

/* GGML aborts if the node until which memory is to be kept is none of the graph's. */
static void wish(void *user_data, struct ggml_tensor *tensor, struct ggml_tensor *until)
{
    struct ggml_cgraph *cg = user_data;
    bool node = false;

    FUZZ_CHECK(tensor);
    for (int i = 0; i < ggml_graph_n_nodes(cg); i++)
        node |= ggml_graph_node(cg, i) == until;
    FUZZ_CHECK(node);
}

static void graph(struct program *p, struct side *s, ggml_backend_t stream)
{
    struct ggml_cgraph *cg;
    struct ggml_tensor *x = s->t[fuzz_below(&in, s->n_t)];
    uint32_t n = 1 + fuzz_below(&in, 8), slot = s->next_slot;
    bool placed = true;

    if (x->type != GGML_TYPE_F32 || ggml_nelements(x) > 1024 || ggml_used_mem(p->ctx) > (128 << 10))
        return;
    cg = ggml_new_graph_custom(p->ctx, 16, false);
    for (uint32_t i = 0; i < n; i++) {
        switch (fuzz_below(&in, 5)) {
        case 0:
            x = ggml_add(p->ctx, x, s->t[0]->ne[0] == x->ne[0] ? s->t[0] : x);
            break;
        case 1:
            x = ggml_scale(p->ctx, x, 0.5f);
            break;
        case 2:
            x = ggml_relu(p->ctx, x);
            break;
        case 3:
            x = ggml_rms_norm(p->ctx, x, 1e-5f);
            break;
        default:
            x = ggml_mul(p->ctx, x, x);
        }
        placed &= put(s, x, SLOT);
        if (fuzz_rarely(&in))
            ggml_backend_dev_supports_op(s->dev, x);
    }
    ggml_build_forward_expand(cg, x);
    if (fuzz_below(&in, 2)) {
        struct ggml_backend_graph_optimize_params params = {wish, cg};

        stream->iface.graph_optimize(stream, cg, fuzz_below(&in, 2) ? &params : NULL);
    }
    FUZZ_CHECK(ggml_graph_n_nodes(cg) == (int)n);
    if (placed) {
        ggml_backend_graph_compute_async(stream, cg);
        if (fuzz_below(&in, 2))
            ggml_backend_graph_compute_async(stream, cg);
    }
    /* With two devices it goes on while the other has its turn. */
    if (p->n_sides == 1 || fuzz_below(&in, 2))
        ggml_backend_synchronize(stream);
    s->next_slot = slot;
}

static void events(struct program *p, ggml_backend_t stream)
{
    if (!p->event)
        p->event = ggml_backend_event_new(devices[0]);
    switch (fuzz_below(&in, 4)) {
    case 0:
        ggml_backend_event_record(p->event, stream);
        break;
    case 1:
        ggml_backend_event_wait(stream, p->event);
        break;
    case 2:
        ggml_backend_event_synchronize(p->event);
        break;
    default:
        ggml_backend_event_free(p->event);
        p->event = NULL;
    }
}

static void buffers(struct program *p, ggml_backend_buffer_t *b, ggml_backend_buffer_type_t buft)
{
    if (*b) {
        for (int i = 0; i < 2; i++) { /* what is under way may use it */
            if (p->stream[i])
                ggml_backend_synchronize(p->stream[i]);
        }
        ggml_backend_buffer_free(*b);
        *b = NULL;
    } else {
        *b = ggml_backend_buft_alloc_buffer(buft, 1 + fuzz_u16(&in));
    }
}

static void act(struct program *p)
{
    uint32_t which = fuzz_below(&in, 2);
    ggml_backend_t stream = p->stream[which];
    struct side *s = side_of(p, which);
    size_t free_bytes, total;
    char text[256];

    switch (fuzz_below(&in, 12)) {
    case 0:
        if (stream)
            ggml_backend_free(stream);
        p->stream[which] = stream ? NULL : ggml_backend_dev_init(s->dev, NULL);
        break;
    case 1:
        if (stream)
            ggml_backend_synchronize(stream);
        break;
    case 2:
        ggml_backend_dev_memory(s->dev, &free_bytes, &total);
        break;
    case 3:
        buffers(p, &p->other, ggml_backend_dev_buffer_type(s->dev));
        break;
    case 4:
        buffers(p, &p->host_buffer, ggml_backend_dev_host_buffer_type(s->dev));
        break;
    case 5:
        if (stream)
            events(p, stream);
        break;
    case 6:
        ggml_backend_virtgpu_stats(text, fuzz_below(&in, sizeof(text)));
        break;
    case 7:
        copy(p);
        break;
    case 8:
    case 9:
        if (s->n_t)
            transfer(p, s->t[fuzz_below(&in, s->n_t)], fuzz_below(&in, 2) ? stream : NULL);
        break;
    default:
        if (stream && s->n_t)
            graph(p, s, stream);
    }
}

static void use(unsigned n_sides)
{
    static struct program p;

    memset(&p, 0, sizeof(p));
    vgr_host_at(0)->failed_at = 0; /* or the library would not try again so soon */
    host.queues = n_sides > 1;
    for (unsigned i = 0; i < n_sides; i++)
        p.stream[i] = ggml_backend_dev_init(devices[i], NULL);
    start(&p, n_sides);
    for (int i = 0; i < ACTIONS && in.left; i++)
        act(&p);
    finish(&p);
    host.queues = false;
    vgr_conn_fail(vgr_host_at(0)->current, "the input ends");
}

static void handshake(bool queues)
{
    struct vgr_conn *c;

    host.good = false;
    host.queues = queues;
    c = vgr_conn_open(vgr_host_at(0));
    host.queues = false;
    host.good = true;
    if (!c)
        return;
    FUZZ_CHECK(c->reply.n_devices && c->reply.n_devices <= VGR_MAX_DEVICES);
    for (uint32_t i = 0; i < c->reply.n_devices; i++) {
        const struct vgr_device_info *d = &c->reply.devices[i];

        FUZZ_CHECK(memchr(d->name, 0, sizeof(d->name)));
        FUZZ_CHECK(memchr(d->description, 0, sizeof(d->description)));
        FUZZ_CHECK(d->max_size && d->alignment && !(d->alignment & (d->alignment - 1)));
    }
    vgr_conn_close(c);
}

static void no_log(enum ggml_log_level level, const char *text, void *user)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    ggml_backend_reg_t reg;

    setenv("VGR_DIRECT", "played by the fuzzer", 1);
    ggml_log_set(no_log, NULL);
    host.good = true;
    reg = ggml_backend_virtgpu_reg();
    FUZZ_CHECK(ggml_backend_reg_dev_count(reg) == 2);
    for (int i = 0; i < 2; i++)
        devices[i] = ggml_backend_reg_dev_get(reg, (size_t)i);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t how;

    in = (struct fuzz_in){data, size};
    how = fuzz_u8(&in);
    if (how < 0x30)
        handshake(how & 1);
    else
        use(how < 0xc0 ? 1 : 2);
    return 0;
}
