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
 * The first byte of an input chooses: the handshake alone, or what a program does with a connection.
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

static ggml_backend_dev_t dev;

struct program {
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer, other, host_buffer;
    struct ggml_tensor *t[TENSORS];
    unsigned n_t;
    uint32_t next_slot;
    ggml_backend_t stream[2];
    ggml_backend_event_t event;
    uint8_t data[BIG];
};

/* Puts a tensor into the program's buffer. False if the host wants more room for it than it gets. */
static bool put(struct program *p, struct ggml_tensor *t, size_t room)
{
    uint8_t *base = ggml_backend_buffer_get_base(p->buffer);
    size_t at = (size_t)p->next_slot * SLOT;

    if (ggml_backend_buffer_get_alloc_size(p->buffer, t) > room ||
        at + room > ggml_backend_buffer_get_size(p->buffer))
        return false;
    p->next_slot += (uint32_t)((room + SLOT - 1) / SLOT);
    return ggml_backend_tensor_alloc(p->buffer, t, base + at) == GGML_STATUS_SUCCESS;
}

static void start(struct program *p)
{
    static uint8_t memory[256 << 10];
    struct ggml_init_params params = {sizeof(memory), memory, true};

    p->ctx = ggml_init(params);
    p->buffer =
        ggml_backend_buft_alloc_buffer(ggml_backend_dev_buffer_type(dev), SLOTS * SLOT + 2 * BIG);
    for (int i = 0; p->buffer && i < TENSORS; i++) {
        struct ggml_tensor *t = i < 6    ? ggml_new_tensor_2d(p->ctx, GGML_TYPE_F32, 32, 8)
                                : i == 6 ? ggml_new_tensor_1d(p->ctx, GGML_TYPE_F32, BIG / 4)
                                         : ggml_new_tensor_2d(p->ctx, GGML_TYPE_Q4_0, 96, 4);

        if (put(p, t, i == 6 ? BIG : SLOT))
            p->t[p->n_t++] = t;
    }
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
    ggml_backend_buffer_free(p->buffer);
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
            bool failed = vgr_conn_failed(vgr_tensor_buffer(t->buffer)->queue->conn);

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
    struct ggml_tensor *a = p->t[fuzz_below(&in, p->n_t)], *b = p->t[fuzz_below(&in, p->n_t)];

    if (a != b && a->type == b->type && ggml_are_same_shape(a, b))
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

static void graph(struct program *p, ggml_backend_t stream)
{
    struct ggml_cgraph *cg;
    struct ggml_tensor *x = p->t[fuzz_below(&in, p->n_t)];
    uint32_t n = 1 + fuzz_below(&in, 8), slot = p->next_slot;
    bool placed = true;

    if (x->type != GGML_TYPE_F32 || ggml_nelements(x) > 1024 || ggml_used_mem(p->ctx) > (128 << 10))
        return;
    cg = ggml_new_graph_custom(p->ctx, 16, false);
    for (uint32_t i = 0; i < n; i++) {
        switch (fuzz_below(&in, 5)) {
        case 0:
            x = ggml_add(p->ctx, x, p->t[0]->ne[0] == x->ne[0] ? p->t[0] : x);
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
        placed &= put(p, x, SLOT);
        if (fuzz_rarely(&in))
            ggml_backend_dev_supports_op(dev, x);
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
    ggml_backend_synchronize(stream);
    p->next_slot = slot;
}

static void events(struct program *p, ggml_backend_t stream)
{
    if (!p->event)
        p->event = ggml_backend_event_new(dev);
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
    size_t free_bytes, total;
    char text[256];

    switch (fuzz_below(&in, 12)) {
    case 0:
        if (stream)
            ggml_backend_free(stream);
        p->stream[which] = stream ? NULL : ggml_backend_dev_init(dev, NULL);
        break;
    case 1:
        if (stream)
            ggml_backend_synchronize(stream);
        break;
    case 2:
        ggml_backend_dev_memory(dev, &free_bytes, &total);
        break;
    case 3:
        buffers(p, &p->other, ggml_backend_dev_buffer_type(dev));
        break;
    case 4:
        buffers(p, &p->host_buffer, ggml_backend_dev_host_buffer_type(dev));
        break;
    case 5:
        if (stream)
            events(p, stream);
        break;
    case 6:
        ggml_backend_virtgpu_stats(text, fuzz_below(&in, sizeof(text)));
        break;
    case 7:
        if (p->n_t)
            copy(p);
        break;
    case 8:
    case 9:
        if (p->n_t)
            transfer(p, p->t[fuzz_below(&in, p->n_t)], fuzz_below(&in, 2) ? stream : NULL);
        break;
    default:
        if (stream && p->n_t)
            graph(p, stream);
    }
}

static void use(void)
{
    static struct program p;

    memset(&p, 0, sizeof(p));
    p.stream[0] = ggml_backend_dev_init(dev, NULL);
    start(&p);
    for (int i = 0; i < ACTIONS && in.left; i++)
        act(&p);
    finish(&p);
    vgr_conn_fail(vgr_host_at(0)->current, "the input ends");
}

static void handshake(void)
{
    struct vgr_conn *c;

    host.good = false;
    c = vgr_conn_open(vgr_host_at(0));
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
    dev = ggml_backend_reg_dev_get(reg, 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    in = (struct fuzz_in){data, size};
    if (fuzz_u8(&in) < 0x30)
        handshake();
    else
        use();
    return 0;
}
