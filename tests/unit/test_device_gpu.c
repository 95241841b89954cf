/* SPDX-License-Identifier: MIT
 *
 * The control queue's commands, as far as no worker is needed.
 */
#include "test_gpu.h"

#include "common/log.h"

/* ---- Questions ---- */

static void capset_is_found_and_read(void **state)
{
    struct fixture *f = *state;
    const struct vgr_gpu_capset_info *info = (const void *)(response(f, 0) + 1);
    const struct vgr_capset *cap = (const void *)(response(f, 0) + 1);
    struct vgr_gpu_get_capset cmd = {VGR_CAPSET_ID, 1};

    assert_int_equal(ask_id(f, VGR_GPU_GET_CAPSET_INFO, 0, 0), VGR_GPU_OK_CAPSET_INFO);
    assert_int_equal(info->id, VGR_CAPSET_ID);
    assert_int_equal(info->max_size, sizeof(*cap));
    assert_int_equal(ask(f, VGR_GPU_GET_CAPSET, 0, &cmd, sizeof(cmd)), VGR_GPU_OK_CAPSET);
    assert_int_equal(cap->magic, VGR_MAGIC);
    assert_int_equal(ask_id(f, VGR_GPU_GET_CAPSET_INFO, 0, 1), VGR_GPU_ERR_PARAMETER);
    cmd.id = 2;
    assert_int_equal(ask(f, VGR_GPU_GET_CAPSET, 0, &cmd, sizeof(cmd)), VGR_GPU_ERR_PARAMETER);
}

static void there_is_no_display(void **state)
{
    struct fixture *f = *state;
    const struct vgr_gpu_display *d = (const void *)(response(f, 0) + 1);

    send_cmd(f, 0, VGR_GPU_GET_DISPLAY_INFO, 0, 0, NULL, 0);
    uint32_t len;
    assert_int_equal(guest_used(&f->g, &len), 0);
    assert_int_equal(len, 24 + 16 * 24);
    assert_int_equal(response(f, 0)->type, VGR_GPU_OK_DISPLAY_INFO);
    assert_int_equal(d->enabled, 0);
}

static void unknown_and_short_commands_are_answered(void **state)
{
    struct fixture *f = *state;
    struct vgr_chain c;

    assert_int_equal(ask(f, 0x10a, 0, NULL, 0), VGR_GPU_ERR_UNSPEC);
    assert_int_equal(ask(f, 0xffffffff, 0, NULL, 0), VGR_GPU_ERR_UNSPEC);
    assert_int_equal(ask(f, VGR_GPU_RESOURCE_CREATE_3D, 0, NULL, 0), VGR_GPU_ERR_PARAMETER);
    assert_int_equal(ask(f, VGR_GPU_SUBMIT_3D, 1, NULL, 0), VGR_GPU_ERR_PARAMETER);
    guest_desc(&f->g, 0, REQ, 10, VGR_DESC_NEXT, 1); /* not even a header */
    guest_desc(&f->g, 1, RESP, 10, VGR_DESC_WRITE, 0);
    guest_offer(&f->g, 0);
    assert_int_equal(vgr_vq_pop(&f->g.vq, &c), 1);
    vgr_gpu_command(&f->gpu, &c);
    assert_int_equal(guest_used(&f->g, NULL), 0);
    assert_int_equal(response(f, 0)->type, VGR_GPU_ERR_UNSPEC);
}

static void fence_is_echoed(void **state)
{
    struct fixture *f = *state;

    send_cmd(f, 3, VGR_GPU_CTX_CREATE, 9, 0x1122334455667788, NULL, 0);
    assert_int_equal(guest_used(&f->g, NULL), 6);
    assert_int_equal(response(f, 3)->flags, VGR_GPU_FLAG_FENCE);
    assert_int_equal(response(f, 3)->fence_id, 0x1122334455667788);
    assert_int_equal(response(f, 3)->ctx_id, 9);
}

/* ---- Tables ---- */

static void numbers_are_checked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 0, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 1, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask(f, VGR_GPU_CTX_DESTROY, 2, NULL, 0), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 0), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, 2), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 2, 1), VGR_GPU_ERR_CONTEXT_ID);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_DETACH_RESOURCE, 1, 1), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 2), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_DETACH_BACKING, 0, 2), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(attach_backing(f, 2, 0, 4096), VGR_GPU_ERR_RESOURCE_ID);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_UNREF, 0, 1), VGR_GPU_ERR_RESOURCE_ID);
}

static void resources_and_contexts_are_limited(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 1; i <= VGR_GPU_MAX_RESOURCES; i++)
        assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, i), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 99999), VGR_GPU_ERR_OUT_OF_MEMORY);
    for (uint32_t i = 1; i <= VGR_GPU_MAX_CONTEXTS; i++)
        assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, i, NULL, 0), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_CTX_CREATE, 99999, NULL, 0), VGR_GPU_ERR_OUT_OF_MEMORY);
    for (uint32_t i = 1; i <= VGR_GPU_MAX_ATTACHED; i++)
        assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, i), VGR_GPU_OK);
    assert_int_equal(ask_id(f, VGR_GPU_CTX_ATTACH_RESOURCE, 1, VGR_GPU_MAX_ATTACHED + 1),
                     VGR_GPU_ERR_OUT_OF_MEMORY);
}

static void page_list_must_fit_its_count(void **state)
{
    struct fixture *f = *state;
    struct {
        struct vgr_gpu_attach_backing cmd;
        struct vgr_gpu_mem_entry entry;
    } body = {{1, UINT32_MAX}, {0, 4096, 0}};

    assert_int_equal(ask_id(f, VGR_GPU_RESOURCE_CREATE_3D, 0, 1), VGR_GPU_OK);
    assert_int_equal(ask(f, VGR_GPU_ATTACH_BACKING, 0, &body, sizeof(body)), VGR_GPU_ERR_PARAMETER);
    assert_int_equal(attach_backing(f, 1, 0, 0), VGR_GPU_ERR_PARAMETER);
    assert_int_equal(attach_backing(f, 1, 0, 4096), VGR_GPU_OK);
    assert_int_equal(attach_backing(f, 1, 0, 4096), VGR_GPU_ERR_UNSPEC);
    assert_int_equal(f->gpu.n_page_runs, 1);
    assert_int_equal(ask_id(f, VGR_GPU_DETACH_BACKING, 0, 1), VGR_GPU_OK);
    assert_int_equal(f->gpu.n_page_runs, 0);
    assert_int_equal(attach_backing(f, 1, 0, 4096), VGR_GPU_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(capset_is_found_and_read),
        T(there_is_no_display),
        T(unknown_and_short_commands_are_answered),
        T(fence_is_echoed),
        T(numbers_are_checked),
        T(resources_and_contexts_are_limited),
        T(page_list_must_fit_its_count),
    };

    vgr_log_init("test", VGR_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
