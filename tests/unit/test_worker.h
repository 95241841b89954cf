/* SPDX-License-Identifier: MIT
 *
 * test_worker.h - a worker's context in this process, with the real CPU backend, to which tests give
 * commands.
 */
#ifndef VGR_TEST_WORKER_H
#define VGR_TEST_WORKER_H

#include "vgr_test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/line.h"
#include "common/log.h"
#include "protocol/ggml_names.h"
#include "worker/context.h"
#include "worker/graph.h"

#define ARENA (1u << 20)
#define RING  (64u << 10)
#define HEAP  (4096u + RING)
#define DATA  (HEAP + (256u << 10)) /* free for tests */

struct rig {
    struct vgr_ctx *c;
    struct vgr_shared shared;
    struct vgr_control *ctl;
    int line; /* the guest's end */
};

static struct vgr_backends backends;

static inline int load(void **state)
{
    static const char names[1][64] = {"CPU"};

    (void)state;
    vgr_log_init("test", VGR_LOG_ERROR);
    return vgr_backends_load(&backends, names, 1);
}

static inline int setup(void **state)
{
    static struct vgr_names names;
    struct rig *r = calloc(1, sizeof(*r));
    struct vgr_ctx *c = calloc(1, sizeof(*c));

    c->arena.base = aligned_alloc(4096, ARENA);
    c->arena.size = ARENA;
    memset(c->arena.base, 0, ARENA);
    c->backends = backends;
    assert_int_equal(vgr_line_make(&r->line, &r->shared.line_fd), 0);
    r->shared.nudge_fd = eventfd(0, EFD_NONBLOCK);
    vgr_ctx_init(c, &r->shared, calloc(VGR_COUNTS_QUEUES, sizeof(*c->counts)));
    r->c = c;
    r->ctl = (struct vgr_control *)c->arena.base;
    vgr_ggml_names(&names);
    r->ctl->hello = (struct vgr_hello){
        .magic = VGR_MAGIC,
        .version = VGR_PROTOCOL_VERSION,
        .arena_size = ARENA,
        .ring_off = 4096,
        .ring_size = RING,
        .heap_off = HEAP,
        .dict_off = HEAP,
        .dict_len = (uint32_t)vgr_names_size(&names),
        .reply_off = HEAP + 65536,
        .reply_cap = 65536,
    };
    vgr_names_write(&names, c->arena.base + HEAP, 65536);
    *state = r;
    return 0;
}

static inline int setup_ready(void **state)
{
    struct rig *r;

    setup(state);
    r = *state;
    return vgr_ctx_handshake(r->c);
}

static inline int teardown(void **state)
{
    struct rig *r = *state;

    for (uint32_t i = 1; i <= VGR_CTX_MAX_GRAPHS; i++) {
        if (r->c->graphs[i])
            vgr_graph_free(r->c, i);
    }
    for (uint32_t i = 1; i <= VGR_CTX_MAX_STREAMS; i++) {
        if (r->c->streams[i].backend)
            ggml_backend_free(r->c->streams[i].backend);
    }
    if (r->c->query)
        ggml_free(r->c->query);
    for (uint32_t i = 1; i <= VGR_CTX_MAX_BUFFERS; i++) {
        if (r->c->buffers[i].buffer)
            ggml_backend_buffer_free(r->c->buffers[i].buffer);
    }
    close(r->line);
    close(r->shared.line_fd);
    close(r->shared.nudge_fd);
    free(r->c->arena.base);
    free(r->c->record);
    free(r->c->payload);
    free(r->c->counts);
    free(r->c);
    free(r);
    return 0;
}

static inline int run(struct rig *r, void *cmd, uint16_t op, uint32_t size)
{
    struct vgr_cmd *h = cmd;

    h->op = op;
    h->flags = 0;
    h->size = size;
    return vgr_ctx_dispatch(r->c, h);
}

#define RUN(r, cmd, op) run(r, &(cmd), op, sizeof(cmd))

static inline void assert_failed(struct rig *r, int ret, enum vgr_error code)
{
    assert_int_equal(ret, -1);
    assert_int_equal(r->ctl->state, VGR_STATE_FAILED);
    assert_int_equal(r->ctl->error, code);
    assert_string_not_equal(r->ctl->error_text, "");
}

static inline void alloc(struct rig *r, uint32_t handle, uint64_t size)
{
    struct vgr_cmd_alloc a = {.buffer = handle, .size = size, .reply_off = DATA};
    struct vgr_alloc_reply reply;

    assert_int_equal(RUN(r, a, VGR_CMD_BUFFER_ALLOC), 0);
    memcpy(&reply, r->c->arena.base + DATA, sizeof(reply));
    assert_int_equal(reply.ok, 1);
}

#endif
