/* SPDX-License-Identifier: MIT
 *
 * A thread changes bytes of a command while the worker reads it.
 *
 * In the first case one field goes back and forth between its right value and one that must be
 * refused. So there are two outcomes: the worker saw the right one, then the result is right; or the
 * wrong one, then the context ends with that reason. A worker that checks one and uses the other would
 * read outside of its memory, or compute something else. Both outcomes must be seen, or the thread did
 * not meet the worker. In the second case bits flip anywhere, which may as well give another good
 * command: there the only demand is that the worker does not die of it.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "guest.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Commands in the order of addition_run(), which follow one another in the ring. */
enum { SET_A = 0, SET_B = 32, RUN = 64, GET = 80, LENGTH = 112 };

#define GRAPH(member)  offsetof(struct addition, member), sizeof(((struct addition *)0)->member)
#define CMD(t, member) offsetof(struct t, member), sizeof(((struct t *)0)->member)

/* `at` is an offset in the command at `command`, or in the payload of DEFINE if that is -1. */
static const struct field {
    int command;
    size_t at, len;
    uint64_t wrong;
} fields[] = {
    {SET_A, CMD(vgr_cmd_data, h.op), 999},
    {SET_A, CMD(vgr_cmd_data, h.size), 12},
    {SET_A, CMD(vgr_cmd_data, h.size), 0xfffffff8},
    {SET_A, CMD(vgr_cmd_data, buffer), 77},
    {SET_A, CMD(vgr_cmd_data, offset), ~0ull - 15},
    {SET_A, CMD(vgr_cmd_data, len), 0xffffffff},
    {SET_A, CMD(vgr_cmd_data, data_off), 0xfffffff0},
    {SET_B, CMD(vgr_cmd_data, stream), 500},
    {SET_B, CMD(vgr_cmd_data, data_off), 0},
    {RUN, CMD(vgr_cmd_run, graph), 5},
    {RUN, CMD(vgr_cmd_run, stream), 0xffffffff},
    {GET, CMD(vgr_cmd_data, offset), 4096},
    {GET, CMD(vgr_cmd_data, len), 0x10000},
    {GET, CMD(vgr_cmd_data, data_off), 64},
    {-1, GRAPH(g.device), 77},
    {-1, GRAPH(g.n_nodes), 0xffffffff},
    {-1, GRAPH(g.n_tensors), 0x40000000},
    {-1, GRAPH(t[0].op), 250},
    {-1, GRAPH(t[1].type), 200},
    {-1, GRAPH(t[0].buffer), 77},
    {-1, GRAPH(t[0].offset), 4096 - 16},
    {-1, GRAPH(t[1].ne[0]), 1ull << 60},
    {-1, GRAPH(t[2].nb[1]), 1ull << 60},
    {-1, GRAPH(t[0].src[0]), 99},
    {-1, GRAPH(t[0].src[1]), 1},
    {-1, GRAPH(t[1].view_src), 0xffffffff},
};

/* ---- The thread ---- */

struct flipper {
    pthread_t thread;
    bool stop;
    uint8_t *at; /* where the field is now */
    size_t len;
    uint64_t right, wrong;
    uint8_t *area; /* the second case: anywhere in here, if not NULL */
    size_t area_len;
};

static void put(uint8_t *at, size_t len, uint64_t value)
{
    if (len == 8)
        __atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELAXED);
    else if (len == 4)
        __atomic_store_n((uint32_t *)(void *)at, (uint32_t)value, __ATOMIC_RELAXED);
    else
        __atomic_store_n((uint16_t *)(void *)at, (uint16_t)value, __ATOMIC_RELAXED);
}

static void *flip(void *arg)
{
    struct flipper *f = arg;

    while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
        uint8_t *at = __atomic_load_n(&f->at, __ATOMIC_ACQUIRE);

        if (f->area) {
            f->area[random_number() % f->area_len] ^= (uint8_t)(1u << random_number() % 8);
            for (int i = 0; i < 500; i++)
                __asm__ volatile("");
        } else if (at) {
            /* More often right than wrong: a record is read once, and a few are to get through. */
            put(at, f->len, f->wrong);
            for (int i = 0; i < 3; i++)
                __asm__ volatile("");
            put(at, f->len, f->right);
            for (unsigned i = 0, n = random_number() % 256; i < n; i++)
                __asm__ volatile("");
        }
    }
    if (f->at && !f->area)
        put(f->at, f->len, f->right);
    return NULL;
}

static void start(struct flipper *f)
{
    CHECK(!pthread_create(&f->thread, NULL, flip, f), "no thread");
}

static void stop(struct flipper *f)
{
    __atomic_store_n(&f->stop, true, __ATOMIC_RELEASE);
    pthread_join(f->thread, NULL);
}

/* ---- One field ---- */

static void read_field(const uint8_t *at, size_t len, uint64_t *value)
{
    *value = 0;
    memcpy(value, at, len);
}

/* One context: additions until one is refused, sixteen at the most. Counts those that came out right,
 * and returns whether one was refused. */
static bool flip_field(const struct field *field, unsigned *right)
{
    struct flipper f = {.len = field->len, .wrong = field->wrong};
    bool refused = false;
    struct guest g;

    guest_open(&g);
    guest_buffer(&g, 4096);
    CHECK(guest_done(&g, (addition_define(&g), addition_run(&g))), "before any flip");
    if (field->command < 0) {
        f.at = g.arena + ADDITION_GRAPH + field->at;
        read_field(f.at, f.len, &f.right);
    } else {
        read_field(g.arena + VGR_CONTROL_SIZE + g.tail - LENGTH + field->command + field->at, f.len,
                   &f.right);
    }
    start(&f);
    for (int i = 0; i < 16 && !refused; i++) {
        struct vgr_cmd_graph define = {
            .graph = 1, .data_off = ADDITION_GRAPH, .data_len = sizeof(struct addition)};
        uint64_t seq;

        if (field->command < 0)
            guest_push(&g, &define, VGR_CMD_GRAPH_DEFINE, sizeof(define));
        else
            __atomic_store_n(&f.at,
                             g.arena + VGR_CONTROL_SIZE + g.tail + field->command + field->at,
                             __ATOMIC_RELEASE);
        seq = addition_run(&g);
        refused = !guest_done(&g, seq);
        if (!refused) {
            CHECK(addition_right(&g), "field %zu: a wrong result", (size_t)(field - fields));
            ++*right;
        }
    }
    stop(&f);
    if (refused) {
        uint32_t e = g.ctl->error;

        CHECK(e >= VGR_ERROR_RING && e <= VGR_ERROR_GRAPH && g.ctl->error_text[0],
              "field %zu: error %u '%.256s'", (size_t)(field - fields), e, g.ctl->error_text);
    }
    guest_close(&g);
    return refused;
}

static unsigned one_field(void)
{
    enum { ROUNDS = 6 };
    unsigned right = 0, refused = 0;

    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < N(fields); i++)
            refused += flip_field(&fields[i], &right);
    }
    printf("# flips: %u right results, %u of %zu contexts refused\n", right, refused,
           ROUNDS * N(fields));
    fflush(stdout);
    CHECK(right && refused, "%u right, %u refused: the thread never met the worker", right,
          refused);
    return right + refused;
}

/* ---- Anywhere ---- */

/* Until the context fails, the command is done, or the worker has read all and sleeps. */
static void settles(struct guest *g, uint64_t seq)
{
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; nap(1)) {
        if (g->ctl->done >= seq || g->ctl->state == VGR_STATE_FAILED)
            return;
        if (g->ctl->head == g->tail && __atomic_load_n(&g->ctl->asleep, __ATOMIC_SEQ_CST))
            return;
    }
    CHECK(false, "command %llu is neither done nor refused", (unsigned long long)seq);
}

static unsigned anywhere(void)
{
    enum { ROUNDS = 60 };
    unsigned failed = 0, runs = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct flipper f = {0};
        struct guest g;

        guest_open(&g);
        guest_buffer(&g, 4096);
        f.area = g.arena + (round % 2 ? VGR_CONTROL_SIZE : ADDITION_GRAPH);
        f.area_len = round % 2 ? 4096 : sizeof(struct addition);
        start(&f);
        for (int i = 0; i < 16 && g.ctl->state == VGR_STATE_READY; i++, runs++) {
            addition_define(&g);
            settles(&g, addition_run(&g));
        }
        stop(&f);
        nap(2);
        if (g.ctl->state == VGR_STATE_FAILED) {
            uint32_t e = g.ctl->error;

            failed++;
            CHECK(e >= VGR_ERROR_RING && e != VGR_ERROR_WORKER_DIED && g.ctl->error_text[0],
                  "error %u '%.256s'", e, g.ctl->error_text);
        }
        guest_close(&g);
    }
    CHECK(failed, "the thread never met the worker");
    printf("# flips anywhere: %u additions, %u of %u contexts refused\n", runs, failed, ROUNDS);
    fflush(stdout);
    return runs;
}

const struct hostile_case cases_flip[] = {
    {"flip-one-field", one_field},
    {"flip-anywhere", anywhere},
    {0},
};
