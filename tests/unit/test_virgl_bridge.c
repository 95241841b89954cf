/* SPDX-License-Identifier: MIT
 *
 * The bridge as a monitor calls it, through the functions that the library exports: whose a context is,
 * what a guest can ask for, and how fences come back.
 */
#include "virgl_rig.h"

/* ---- GLib's main loop, if the monitor has one ---- */

static int (*idle_function)(void *);

__attribute__((visibility("default"))) unsigned g_idle_add_full(int priority, int (*f)(void *),
                                                                void *data, void *notify);

unsigned g_idle_add_full(int priority, int (*f)(void *), void *data, void *notify)
{
    __atomic_store_n(&idle_function, f, __ATOMIC_SEQ_CST);
    return 1;
}

/* ---- QEMU's list of what to call when the machine is reset ---- */

static void (*reset_function)(void *);

__attribute__((visibility("default"))) void qemu_register_reset(void (*f)(void *), void *opaque);

void qemu_register_reset(void (*f)(void *), void *opaque)
{
    assert_null(reset_function);
    assert_null(opaque);
    reset_function = f;
}

static int setup_sync(void **state)
{
    setup(state);
    return mon_power_on(false);
}

/* The first capset, and not the second: a guest's Mesa may ask for more of that than the host has. */
static void capset_has_a_trailer(void **state)
{
    struct vgr_bridge_trailer t;
    uint8_t caps[512];
    uint32_t ver, size;

    memset(caps, 0xaa, sizeof(caps));
    virgl_renderer_get_cap_set(1, &ver, &size);
    assert_int_equal(ver, 1);
    assert_int_equal(size, 104 + sizeof(t));
    virgl_renderer_fill_caps(1, 1, caps);
    memcpy(&t, caps + 104, sizeof(t));
    assert_memory_equal(t.signature, VGR_BRIDGE_SIGNATURE, 16);
    assert_int_equal(t.capset.magic, VGR_MAGIC);
    assert_int_equal(t.capset.arena_max, 4 * ARENA);
    assert_int_equal(caps[MON_CAPSET - 1], 0x55);
    assert_int_equal(caps[size], 0xaa); /* not beyond its size */

    memset(caps, 0xaa, sizeof(caps));
    virgl_renderer_get_cap_set(2, &ver, &size);
    assert_int_equal(size, MON_CAPSET);
    virgl_renderer_fill_caps(2, 1, caps);
    assert_int_equal(caps[MON_CAPSET], 0xaa);
    virgl_renderer_get_cap_set(4, &ver, &size);
    assert_int_equal(size, 0);
}

static void graphics_pass_through(void **state)
{
    uint32_t nop[3] = {2u << 16};
    struct iovec *iov;
    int n;

    assert_int_equal(virgl_renderer_context_create(1, 2, "gl"), 0);
    assert_int_equal(mon_resource(1, 1, 0, ARENA), 0);
    assert_int_equal(virgl_renderer_submit_cmd(nop, 1, 3), 0);
    /* Ours is a no-operation there, in a context that nobody has claimed. */
    assert_int_equal(mon_submit(1, VGR_SUBMIT_OPEN, 1, ARENA), 0);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_WAIT, 0, 0), 0);
    assert_int_equal(mon.submits, 3);
    assert_int_equal(virgl_renderer_context_create_fence(1, 0, 1, 5), 0);
    assert_int_equal(mon.real_fences, 1);
    virgl_renderer_transfer_read_iov(1, 1, 0, 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(mon.transfers, 1);
    virgl_renderer_resource_detach_iov(1, &iov, &n);
    assert_ptr_equal(iov, mon.pages[1]);
    assert_int_equal(n, 2);
    virgl_renderer_resource_unref(1);
    virgl_renderer_context_destroy(1);
    assert_false(mon.context[1]);
    assert_int_equal(workers(NULL), 0);
}

static void claimed_context_is_ours(void **state)
{
    uint32_t nop[3] = {2u << 16};

    assert_int_equal(mon_claimed(1), 0);
    assert_false(mon.context[1]); /* the real one is gone */
    assert_int_equal(virgl_renderer_submit_cmd(nop, 1, 3), EINVAL);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_CLAIM, 0, 0), EINVAL);
    assert_int_equal(virgl_renderer_context_create(1, 2, "gl"), EINVAL);
    virgl_renderer_transfer_write_iov(1, 1, 0, 0, 0, NULL, 0, NULL, 0);
    /* Every fence comes back, on whichever ring. */
    for (uint32_t ring = 0; ring < 70; ring++)
        assert_int_equal(virgl_renderer_context_create_fence(1, 0, ring, 10 + ring), 0);
    for (uint32_t ring = 0; ring < 70; ring++)
        UNTIL_TRUE(mon_done(10 + ring));
    assert_int_equal(mon.submits + mon.real_fences + mon.transfers, 0);

    /* No context of Vulkan's, and none that does not exist. */
    assert_int_equal(virgl_renderer_context_create_with_flags(2, 4, 2, "vk"), 0);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_CLAIM, 0, 0), EINVAL);
    assert_true(mon.context[2]);
    assert_int_equal(mon_submit(9, VGR_SUBMIT_CLAIM, 0, 0), 0);
    assert_int_equal(mon.submits, 1);
}

static void worker_gets_the_guests_pages(void **state)
{
    struct vgr_control *ctl = open_pages(1);

    /* The arena's second half is the memory's first. */
    assert_memory_equal(mon.ram + ARENA / 2 - 8, "the end", 8);
    hold_fence(1, 50);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(50));
    assert_int_equal(ctl->done, 1);
    assert_false(mon_done(1001)); /* it lives */
    virgl_renderer_context_destroy(1);
    UNTIL_TRUE(mon_done(1001));
    assert_int_equal(workers(NULL), 0); /* that is what this fence says */
}

static void worker_gets_a_blob(void **state)
{
    struct vgr_virgl_info info;
    struct vgr_virgl_info_ext ext = {0};
    struct vgr_control *ctl;
    uint32_t type, map_info;
    uint64_t size;
    uint8_t *place = mmap(NULL, 2 * ARENA, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *map;
    int fd;

    assert_int_equal(mon_claimed(1), 0);
    assert_int_equal(mon_blob(7, 1, 2 * ARENA), 0);
    virgl_renderer_ctx_attach_resource(1, 7);
    assert_int_equal(virgl_renderer_resource_get_info(7, &info), 0);
    assert_int_equal(info.fd, -1);
    assert_int_equal(virgl_renderer_resource_get_info_ext(7, &ext), 0);
    assert_int_equal(virgl_renderer_resource_get_map_info(7, &map_info), 0);
    assert_int_equal(map_info, VGR_VIRGL_MAP_CACHED);
    assert_int_equal(virgl_renderer_resource_map(7, &map, &size), 0);
    assert_int_equal(size, 2 * ARENA);
    assert_int_equal(virgl_renderer_resource_map(7, &map, &size), -EINVAL);
    assert_int_equal(virgl_renderer_resource_map_fixed(7, place), 0);
    assert_int_equal(virgl_renderer_resource_export_blob(7, &type, &fd), 0);
    assert_int_equal(type, VGR_VIRGL_FD_TYPE_SHM);
    close(fd);

    ctl = map;
    assert_int_equal(mon_submit(1, VGR_SUBMIT_OPEN, 7, 2 * ARENA), 0);
    UNTIL_TRUE(__atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_READY);
    assert_memory_equal(place + 2 * ARENA - 8, "the end", 8);

    assert_int_equal(virgl_renderer_resource_unmap(7), 0);
    assert_int_equal(virgl_renderer_resource_unmap(7), -EINVAL);
    virgl_renderer_resource_unref(7);
    assert_int_equal(virgl_renderer_resource_get_info(7, &info), EINVAL);
    UNTIL_TRUE(!workers(NULL));
    munmap(place, 2 * ARENA);
}

static void synchronous_monitor_is_called_on_its_thread(void **state)
{
    open_pages(1);
    hold_fence(1, 50);
    if (idle_function)
        idle_function(NULL); /* GLib's loop has nothing left to do */
    __atomic_store_n(&idle_function, NULL, __ATOMIC_SEQ_CST);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    for (int i = 0; i < 2500 && !__atomic_load_n(&idle_function, __ATOMIC_SEQ_CST); i++)
        usleep(2000);
    assert_non_null(idle_function);
    assert_false(mon_done(50)); /* by nobody else */
    assert_int_equal(idle_function(NULL), 0);
    assert_true(mon_done(50));

    hold_fence(1, 51);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(51));
    for (unsigned i = 0; i < mon.n_fences; i++)
        assert_true(mon.fences[i].own_thread);
}

static void fences_are_held_for_a_second(void **state)
{
    double start;

    open_pages(1);
    hold_fence(1, 50);
    start = now_ms();
    UNTIL_TRUE(mon_done(50));
    assert_true(now_ms() - start > 500);
}

static void guest_may_ask_for_anything(void **state)
{
    uint64_t sizes[] = {0, 1, 4096, ARENA - 4096, ARENA + 1, 64 * ARENA, UINT64_MAX, 1ull << 63};
    struct vgr_virgl_blob_args args = {
        .res_handle = 20, .ctx_id = 1, .blob_mem = 2, .blob_id = 77, .size = ARENA};
    unsigned n = 0;

    open_pages(1);
    assert_int_equal(mon_claimed(2), 0);
    /* Another context's arena, attached or not; one that does not exist; its own twice. */
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 1, ARENA), EINVAL);
    virgl_renderer_ctx_attach_resource(2, 1);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 1, ARENA), EINVAL);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 19, ARENA), EINVAL);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_OPEN, 1, ARENA), EINVAL);
    /* More than may be attached. */
    for (int res = 0; res < 1000; res++)
        virgl_renderer_ctx_attach_resource(2, res - 500);
    for (int res = 0; res < 1000; res++)
        virgl_renderer_ctx_detach_resource(2, res - 500);
    for (int i = -4; i < 1; i++) {
        virgl_renderer_context_destroy((uint32_t)(1000 + i));
        virgl_renderer_ctx_attach_resource(i, i);
        virgl_renderer_resource_detach_iov(i, &(struct iovec *){NULL}, &(int){0});
        n++;
    }
    assert_int_equal(mon_resource(3, 2, 2 * ARENA, ARENA), 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct vgr_control *ctl = control_at(3);

        memset(ctl, 0, sizeof(*ctl));
        assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 3, sizes[i]), EINVAL);
        assert_int_equal(ctl->error, VGR_ERROR_ARENA);
        assert_true(mon_blob(21, 2, sizes[i]) == -EINVAL);
        n++;
    }
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -EINVAL);
    args.blob_id = VGR_BRIDGE_BLOB_ID;
    args.res_handle = 1; /* a number that is taken */
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -ENOMEM);
    args.res_handle = 0;
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -ENOMEM);
    args.ctx_id = 8; /* a context that is none of ours */
    assert_int_equal(virgl_renderer_resource_create_blob(&args), -EINVAL);
    assert_int_equal(mon_blob(22, 2, ARENA), 0);
    assert_int_equal(mon_blob(22, 2, ARENA), -EINVAL);
    assert_int_equal(mon_resource(22, 2, 0, ARENA), EINVAL);
    /* Larger than the blob. */
    virgl_renderer_ctx_attach_resource(2, 22);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 22, 2 * ARENA), EINVAL);
    virgl_renderer_resource_unref(22);

    /* None of this has hurt anybody. */
    hold_fence(1, 50);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    UNTIL_TRUE(mon_done(50));
    assert_int_equal(n, 13);
}

#define SYNC_TEST(name) cmocka_unit_test_setup_teardown(name, setup_sync, teardown)

/* The machine is reset, and the renderer hears of it only when the next guest's driver begins. */
static void machine_reset_frees_the_memory(void **state)
{
    double start, taken;

    open_pages(1);
    hold_fence(1, 50);
    assert_int_equal(mon_claimed(2), 0);
    assert_int_equal(mon_blob(9, 2, ARENA), 0);
    virgl_renderer_ctx_attach_resource(2, 9);
    assert_int_equal(mon_submit(2, VGR_SUBMIT_OPEN, 9, ARENA), 0);
    UNTIL_TRUE(workers(NULL) == 2);
    mon.n_fences = 0;
    assert_non_null(reset_function);
    start = now_ms();
    reset_function(NULL);
    taken = now_ms() - start;
    /* No more than the one with the blob, which may write to that as it likes. */
    assert_true(workers(NULL) <= 1 || taken >= VGR_BRIDGE_PATIENCE_MS);
    UNTIL_TRUE(!workers(NULL));
    assert_int_equal(mon.n_fences, 0);

    /* What the monitor may still do with what it had. */
    wait_fence(1, 51);
    assert_int_equal(mon_submit(1, VGR_SUBMIT_DOORBELL, 0, 0), 0);
    virgl_renderer_resource_unref(1);
    virgl_renderer_resource_unref(9);
    virgl_renderer_context_destroy(1);
    virgl_renderer_reset();
    assert_int_equal(mon_power_on(true), 0);
    memset(mon.ram, 0, MON_RAM);
    open_pages(1);
    assert_false(mon_done(50));
}

/* A blob that is mapped when the renderer is reset may stay in the guest's address space: another one of
 * its number is not mapped, and the addresses become nothing else. */
static void mapped_blob_is_lost_by_a_reset(void **state)
{
    uint64_t size;
    char *map, *next, *between;

    assert_int_equal(mon_claimed(1), 0);
    assert_int_equal(mon_blob(20, 1, ARENA), 0);
    assert_int_equal(mon_blob(21, 1, ARENA), 0);
    assert_int_equal(virgl_renderer_resource_map(20, (void **)&map, &size), 0);
    assert_int_equal(virgl_renderer_resource_map(21, (void **)&next, &size), 0);
    assert_int_equal(virgl_renderer_resource_unmap(21), 0);
    memset(map, 7, ARENA);
    virgl_renderer_reset();

    assert_int_equal(map[0] | map[ARENA - 1], 0);
    map[0] = 1; /* as a guest may */
    between = mmap(map, ARENA, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_true(between == MAP_FAILED); /* the place is taken */
    assert_int_equal(mon_power_on(true), 0);
    assert_int_equal(mon_claimed(1), 0);
    assert_int_equal(mon_blob(20, 1, ARENA), 0);
    assert_int_equal(virgl_renderer_resource_map(20, (void **)&next, &size), -EBUSY);
    assert_int_equal(mon_blob(21, 1, ARENA), 0);
    assert_int_equal(virgl_renderer_resource_map(21, (void **)&next, &size), 0);
    assert_int_equal(virgl_renderer_resource_unmap(21), 0);
    munmap(map, ARENA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(capset_has_a_trailer),
        TEST(machine_reset_frees_the_memory),
        TEST(mapped_blob_is_lost_by_a_reset),
        TEST(graphics_pass_through),
        TEST(claimed_context_is_ours),
        TEST(worker_gets_the_guests_pages),
        SYNC_TEST(worker_gets_the_guests_pages),
        TEST(worker_gets_a_blob),
        SYNC_TEST(synchronous_monitor_is_called_on_its_thread),
        TEST(fences_are_held_for_a_second),
        TEST(guest_may_ask_for_anything),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
