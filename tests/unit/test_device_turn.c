/* SPDX-License-Identifier: MIT
 *
 * What a guest can make the front do in one turn of its event loop: the largest commands, floods of each
 * kind, and both queues at once. The work of a turn is bounded, and somebody else, here a neighbour with an
 * event, is served once in each. How long the turns took is printed, not judged.
 */
#include "vgr_test.h"

#include <stdlib.h>

#include "common/log.h"
#include "device/context.h"
#include "device/gpu.h"
#include "device/gpu_cmd.h"
#include "device/vhost_queue.h"
#include "fake_guest.h"

#define RING      4096u
#define LIST_GPA  GPA_C /* a page list as large as its region */
#define LIST_N    (uint32_t)(MIB / sizeof(struct vgr_gpu_mem_entry))
#define TABLE_GPA (DATA_GPA + 0x80000) /* an indirect one, of 1 MiB at most */
#define REQ_GPA   DATA_GPA             /* of chain i: REQ_SIZE * i behind */
#define REQ_SIZE  64u
#define RESP_GPA  (DATA_GPA + 0x40000)
#define RESP_SIZE 32u

static struct fixture {
    struct fake_guest g;
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_gpu gpu;
    struct vgr_vhost_queue q;
    struct vgr_watch neighbour;
    unsigned served;  /* chains */
    unsigned greeted; /* times that the neighbour was served */
    unsigned endless; /* so many chains come anew as soon as they are served */
} f;

static void serve(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    f.served++;
    vgr_gpu_command(&f.gpu, c);
    if (f.endless) {
        f.endless--;
        guest_offer(&f.g, c->head);
    }
}

static void greet(struct vgr_watch *w, uint32_t events)
{
    f.greeted++; /* it stays ready */
}

static void nobody_left(struct vgr_gpu *gpu)
{
}

static int setup(void **state)
{
    static const struct vgr_capset cap = {.arena_min = 4096, .arena_max = 4096 * MIB};

    memset(&f, 0, sizeof(f));
    guest_init(&f.g, RING, 0, false);
    vgr_vq_stop(&f.g.vq);
    if (vgr_loop_init(&f.loop))
        return -1;
    f.pool = (struct vgr_worker_pool){.loop = &f.loop, .path = "/dev/null", .max_runs = 1u << 20};
    vgr_vhost_queue_init(&f.q, &f.loop, &f.g.mem, 0);
    f.q.serve = serve;
    vgr_gpu_init(&f.gpu, &f.loop, &f.pool, &cap, &f.g.mem, &f.q.vq, nobody_left);
    vgr_vhost_queue_set_call(&f.q, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    f.q.size = RING;
    f.q.addr = (struct vgr_vhost_vring_addr){
        .desc = UADDR + DESC_GPA, .avail = UADDR + AVAIL_GPA, .used = UADDR + USED_GPA};
    f.q.has_addr = f.q.enabled = true;
    vgr_vhost_queue_set_kick(&f.q, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    return vgr_loop_add(&f.loop, &f.neighbour, eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), EPOLLIN,
                        greet);
}

static int teardown(void **state)
{
    vgr_gpu_finish(&f.gpu);
    vgr_vhost_queue_finish(&f.q);
    vgr_loop_close(&f.loop, &f.neighbour);
    vgr_loop_finish(&f.loop);
    guest_finish(&f.g);
    return f.gpu.contexts.n || f.gpu.resources.n || f.gpu.n_page_runs;
}

/* ---- The guest ---- */

/* Offers a command in chain `i`, of the ring's descriptors 2 * i and 2 * i + 1. */
static void offer(unsigned i, uint32_t type, uint32_t ctx, const void *body, size_t len)
{
    struct vgr_gpu_hdr h = {.type = type, .ctx_id = ctx};
    uint64_t req = REQ_GPA + i * REQ_SIZE, resp = RESP_GPA + i * RESP_SIZE;

    assert_true(sizeof(h) + len <= REQ_SIZE && 2 * i + 1 < RING);
    memcpy(guest_ptr(&f.g, req), &h, sizeof(h));
    if (len)
        memcpy((uint8_t *)guest_ptr(&f.g, req) + sizeof(h), body, len);
    memset(guest_ptr(&f.g, resp), 0, RESP_SIZE);
    guest_desc(&f.g, 2 * i, req, (uint32_t)(sizeof(h) + len), VGR_DESC_NEXT, (uint16_t)(2 * i + 1));
    guest_desc(&f.g, 2 * i + 1, resp, RESP_SIZE, VGR_DESC_WRITE, 0);
    guest_offer(&f.g, (uint16_t)(2 * i));
}

static void offer_id(unsigned i, uint32_t type, uint32_t ctx, uint32_t id)
{
    struct vgr_gpu_resource_id body = {id, 0};

    offer(i, type, ctx, &body, sizeof(body));
}

static uint32_t answer_to(unsigned i)
{
    return ((const struct vgr_gpu_hdr *)guest_ptr(&f.g, RESP_GPA + i * RESP_SIZE))->type;
}

/* Turns until the device has `n` chains more done. In each turn the neighbour is served, once the first two
 * were used up by the kick and by what it left. Returns how many turns it took. */
static unsigned serve_all(unsigned n)
{
    unsigned turns = 0;

    vgr_event_signal(f.q.kick_fd);
    f.greeted = 0;
    for (; n; turns++) {
        assert_true(turns < 100000);
        assert_int_equal(vgr_loop_turn(&f.loop, 0), 0);
        while (n && guest_used(&f.g, NULL) >= 0)
            n--;
    }
    assert_uint_in_range(f.greeted, turns - (turns > 1 ? 2 : 1), turns + 1);
    /* A turn may have begun with what an earlier command left, and have served this one, too. */
    assert_int_equal(vgr_loop_turn(&f.loop, 0), 0);
    assert_int_equal(vgr_event_read(f.q.kick_fd), 0); /* it is QEMU's, too: nobody writes there */
    return turns;
}

static uint32_t ask_id(uint32_t type, uint32_t ctx, uint32_t id)
{
    offer_id(0, type, ctx, id);
    serve_all(1);
    return answer_to(0);
}

static void measured(const char *what)
{
    const struct vgr_loop_record *r = &f.loop.record;

    print_message("%s: the longest of %llu turns took %llu us; the most work %llu units\n", what,
                  (unsigned long long)r->turns, (unsigned long long)r->longest_ns / 1000,
                  (unsigned long long)r->most_units);
    assert_true(r->most_units <= VGR_LOOP_MOST_UNITS);
}

/* A page list of LIST_N pages, `stride` apart in the guest's memory. */
static void write_list(uint64_t stride)
{
    struct vgr_gpu_mem_entry *e = guest_ptr(&f.g, LIST_GPA);

    for (uint64_t i = 0; i < LIST_N; i++)
        e[i] = (struct vgr_gpu_mem_entry){GPA_C + i * stride % MIB, 4096, 0};
}

/* Offers an ATTACH_BACKING whose indirect table names the list `times`, as so many entries. */
static void offer_list(uint32_t times, uint32_t n_entries)
{
    struct {
        struct vgr_gpu_hdr h;
        struct vgr_gpu_attach_backing cmd;
    } req = {{.type = VGR_GPU_ATTACH_BACKING}, {1, n_entries}};
    struct vgr_vq_desc d = {REQ_GPA, sizeof(req), VGR_DESC_NEXT, 1};
    uint32_t n = times + 2;

    memcpy(guest_ptr(&f.g, REQ_GPA), &req, sizeof(req));
    memset(guest_ptr(&f.g, RESP_GPA), 0, RESP_SIZE);
    for (uint32_t i = 0; i < n; i++) {
        if (i == n - 1)
            d = (struct vgr_vq_desc){RESP_GPA, RESP_SIZE, VGR_DESC_WRITE, 0};
        else if (i)
            d = (struct vgr_vq_desc){LIST_GPA, MIB, VGR_DESC_NEXT, (uint16_t)(i + 1)};
        assert_int_equal(vgr_guestmem_write(&f.g.mem, TABLE_GPA + i * sizeof(d), &d, sizeof(d)), 0);
    }
    guest_desc(&f.g, 0, TABLE_GPA, n * 16, VGR_DESC_INDIRECT, 0);
    guest_offer(&f.g, 0);
}

static uint32_t attach_list(uint32_t times, uint32_t n_entries)
{
    offer_list(times, n_entries);
    serve_all(1);
    return answer_to(0);
}

/* ---- One command ---- */

/* 2^32 entries, which merge: the number of runs stays small. */
static void page_list_named_65000_times(void **state)
{
    write_list(4096);
    assert_int_equal(ask_id(VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(attach_list(65000, 65000u * LIST_N), 0); /* a malformed chain */
    assert_int_equal(attach_list(17, 17 * LIST_N), VGR_GPU_ERR_OUT_OF_MEMORY);
    assert_int_equal(f.gpu.n_page_runs, 0);
    measured("page list of 2^32 entries");
}

static void largest_page_lists(void **state)
{
    write_list(4096);
    assert_int_equal(ask_id(VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(attach_list(16, 16 * LIST_N), VGR_GPU_OK);
    measured("page list of 2^20 entries in one piece");
    assert_int_equal(f.loop.record.most[VGR_WORK_BYTES], 16 * MIB);
    assert_int_equal(ask_id(VGR_GPU_DETACH_BACKING, 0, 1), VGR_GPU_OK);
    write_list(8192);
    assert_int_equal(attach_list(16, 16 * LIST_N), VGR_GPU_OK);
    assert_int_equal(f.gpu.n_page_runs, VGR_GPU_MAX_PAGE_RUNS);
    measured("page list of 2^20 entries in 2^20 runs");
    assert_int_equal(ask_id(VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_OK);
    measured("its end");
}

/* Chains as long as they can be, which lead nowhere. */
static void longest_chains(void **state)
{
    struct vgr_vq_desc d = {0, 1, VGR_DESC_NEXT, 0};

    for (uint32_t i = 0; i < 65535; i++) {
        d.next = (uint16_t)(i + 1);
        d.addr = i % 2 * 64 + DATA_GPA; /* not in one piece */
        vgr_guestmem_write(&f.g.mem, TABLE_GPA + i * sizeof(d), &d, sizeof(d));
    }
    d.next = 0; /* a loop */
    vgr_guestmem_write(&f.g.mem, TABLE_GPA + 65535 * sizeof(d), &d, sizeof(d));
    for (uint16_t i = 0; i < RING - 1; i++) /* each chain goes through the rest of the ring */
        guest_desc(&f.g, i, DATA_GPA + i % 2 * 64, 1, VGR_DESC_NEXT, (uint16_t)(i + 1));
    guest_desc(&f.g, RING - 1, TABLE_GPA, 16 * 65536, VGR_DESC_INDIRECT, 0);
    for (uint16_t i = 0; i < 100; i++)
        guest_offer(&f.g, i);
    assert_true(serve_all(100) >= 10);
    measured("chains of 70000 descriptors");
}

/* ---- Floods ---- */

static void refused_opens_of_a_long_list(void **state)
{
    struct {
        struct vgr_gpu_submit cmd;
        struct vgr_submit s;
    } open = {{sizeof(struct vgr_submit), 0},
              {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .resource = 1, .size = 4096 * MIB}};

    vgr_log_init("test", VGR_LOG_ERROR);
    write_list(8192);
    assert_int_equal(ask_id(VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask_id(VGR_GPU_CTX_CREATE, 1, 0), VGR_GPU_OK);
    assert_int_equal(ask_id(VGR_GPU_CTX_ATTACH_RESOURCE, 1, 1), VGR_GPU_OK);
    assert_int_equal(attach_list(16, 16 * LIST_N), VGR_GPU_OK);
    /* The guest's own list lies in these pages, too, and its control page is where that begins. */
    for (unsigned i = 0; i < 50; i++)
        offer(i, VGR_GPU_SUBMIT_3D, 1, &open, sizeof(open));
    assert_true(serve_all(50) >= 50);
    assert_int_equal(f.pool.refused, 50);
    measured("refused OPENs of a list of 2^20 runs");
}

static void what_is_attached_square(void **state)
{
    uint64_t before, begin, by_clock;

    for (uint32_t i = 0; i < 1024; i++)
        offer(i, VGR_GPU_CTX_CREATE, i + 1, NULL, 0);
    serve_all(1024);
    for (uint32_t i = 0; i < 1024; i++)
        offer_id(i, VGR_GPU_RESOURCE_CREATE_3D, 0, i + 1);
    serve_all(1024);
    for (uint32_t ctx = 1; ctx <= 1024; ctx++) {
        for (uint32_t i = 0; i < 1024; i++)
            offer_id(i, VGR_GPU_CTX_ATTACH_RESOURCE, ctx, i + 1);
        serve_all(1024);
        assert_int_equal(answer_to(1023), VGR_GPU_OK);
    }
    before = f.loop.record.turns;
    begin = vgr_now_ms();
    f.loop.record.longest_ns = 0;
    for (uint32_t i = 0; i < 1024; i++)
        offer_id(i, VGR_GPU_RESOURCE_UNREF, 0, i + 1);
    serve_all(1024);
    assert_int_equal(answer_to(1023), VGR_GPU_OK);
    /* Each attachment is looked at once. A slow machine ends more turns, by the clock. */
    by_clock = (vgr_now_ms() - begin) / VGR_LOOP_TURN_MS + 1;
    assert_true(f.loop.record.turns - before <= 4 + by_clock);
    measured("UNREF of 1024 resources that 1024 contexts have");
    for (uint32_t i = 0; i < 1024; i++)
        assert_int_equal(
            vgr_container_of(vgr_table_find(&f.gpu.contexts, i + 1), struct vgr_context, node)
                ->n_attached,
            0);
}

static void contexts_that_end_look_at_all_resources(void **state)
{
    const unsigned rounds = RING / 8;

    for (uint32_t i = 0; i < RING / 2; i++)
        offer_id(i, VGR_GPU_RESOURCE_CREATE_3D, 0, i + 1);
    serve_all(RING / 2);
    for (unsigned i = 0; i < rounds; i++) {
        offer(3 * i, VGR_GPU_CTX_CREATE, 1, NULL, 0);
        offer_id(3 * i + 1, VGR_GPU_CTX_ATTACH_RESOURCE, 1, i + 1);
        offer(3 * i + 2, VGR_GPU_CTX_DESTROY, 1, NULL, 0);
    }
    assert_true(serve_all(3 * rounds) >= rounds * (RING / 2) / VGR_LOOP_TURN_UNITS);
    assert_int_equal(answer_to(3 * rounds - 1), VGR_GPU_OK);
    measured("contexts that begin and end");
}

/* A guest that gives a command back to the device as soon as it has the answer: there is always one. */
static void flood_of_everything(void **state)
{
    static const uint32_t types[] = {
        VGR_GPU_CTX_CREATE,          VGR_GPU_RESOURCE_CREATE_3D,  VGR_GPU_CTX_ATTACH_RESOURCE,
        VGR_GPU_CTX_DETACH_RESOURCE, VGR_GPU_CTX_ATTACH_RESOURCE, VGR_GPU_SUBMIT_3D,
        VGR_GPU_GET_CAPSET_INFO,     VGR_GPU_RESOURCE_UNREF,      VGR_GPU_CTX_DESTROY,
        VGR_GPU_UPDATE_CURSOR,       VGR_GPU_DETACH_BACKING,      0xffffffff,
    };
    const unsigned n = sizeof(types) / sizeof(types[0]);

    f.endless = 200000;
    for (unsigned i = 0; i < n; i++)
        offer_id(i, types[i], 1, 1);
    serve_all(f.endless + n);
    assert_int_equal(f.served, 200000 + n);
    assert_true(f.loop.record.turns >= 200000 * VGR_VHOST_CHAIN / VGR_LOOP_TURN_UNITS);
    measured("a queue that never is empty");
}

/* As much as there can be, and then the guest resets the device. */
static void reset_of_everything(void **state)
{
    uint64_t begin;

    for (uint32_t id = 1; id <= VGR_GPU_MAX_RESOURCES; id += 1024) {
        for (uint32_t i = 0; i < 1024; i++)
            offer_id(i, VGR_GPU_RESOURCE_CREATE_3D, 0, id + i);
        serve_all(1024);
    }
    for (uint32_t i = 0; i < VGR_GPU_MAX_CONTEXTS; i++)
        offer(i, VGR_GPU_CTX_CREATE, i + 1, NULL, 0);
    serve_all(VGR_GPU_MAX_CONTEXTS);
    for (uint32_t i = 0; i < VGR_GPU_MAX_CONTEXTS; i++)
        offer_id(i, VGR_GPU_CTX_ATTACH_RESOURCE, i + 1, 1);
    serve_all(VGR_GPU_MAX_CONTEXTS);
    write_list(8192);
    assert_int_equal(attach_list(16, 16 * LIST_N), VGR_GPU_OK);
    assert_int_equal(f.gpu.contexts.n, VGR_GPU_MAX_CONTEXTS);
    assert_int_equal(f.gpu.resources.n, VGR_GPU_MAX_RESOURCES);
    memset(f.loop.work, 0, sizeof(f.loop.work));
    begin = vgr_unix_ns();
    vgr_gpu_reset(&f.gpu, "tested");
    print_message("a reset took %llu us and %llu units\n",
                  (unsigned long long)(vgr_unix_ns() - begin) / 1000,
                  (unsigned long long)vgr_loop_units(&f.loop));
    assert_true(vgr_loop_units(&f.loop) <= VGR_LOOP_TURN_UNITS);
    assert_int_equal(f.gpu.contexts.n + f.gpu.resources.n + f.gpu.n_page_runs, 0);
    assert_int_equal(ask_id(VGR_GPU_CTX_CREATE, 1, 0), VGR_GPU_OK); /* there is room again */
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(page_list_named_65000_times),
        T(largest_page_lists),
        T(longest_chains),
        T(refused_opens_of_a_long_list),
        T(what_is_attached_square),
        T(contexts_that_end_look_at_all_resources),
        T(flood_of_everything),
        T(reset_of_everything),
    };

    vgr_log_init("test", VGR_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
