/* SPDX-License-Identifier: MIT
 *
 * Sending into a full ring goes on where the host gives room back, and ends where it lies about it.
 */
#include "guest/queue.h"

#include "fake_host.h"

static struct vgr_host at;
static struct vgr_conn *conn;
static struct vgr_queue *queue;

static int setup(void **state)
{
    memset(&host, 0, sizeof(host));
    conn = vgr_conn_open(&at);
    assert_non_null(conn);
    queue = conn->queue[0];
    return 0;
}

static int teardown(void **state)
{
    vgr_conn_close(conn);
    return 0;
}

/* Pushes commands for two rings. Returns how many of them could be. */
static uint32_t push_much(void)
{
    uint32_t n, most = 2 * queue->ring.size / (uint32_t)sizeof(struct vgr_cmd);

    assert_true(vgr_queue_lock(queue));
    for (n = 0; n < most; n++) {
        struct vgr_cmd sync = {.op = VGR_CMD_SYNC};

        if (!vgr_queue_push(queue, &sync, sizeof(sync), NULL, 0))
            break;
    }
    vgr_queue_unlock(queue);
    return n;
}

static void more_than_the_ring_has_is_sent(void **state)
{
    uint32_t n = push_much();

    assert_int_equal(n, 2 * queue->ring.size / sizeof(struct vgr_cmd));
    assert_true(vgr_queue_wait(queue, n));
    assert_int_equal(host.ran[VGR_CMD_SYNC], n);
}

static void room_that_is_never_given_back_fails_the_connection(void **state)
{
    host.keeps_ring = true;
    assert_int_equal(push_much(), queue->ring.size / sizeof(struct vgr_cmd));
    assert_true(vgr_conn_failed(conn));
}

/* The ring's own words, behind the guest's back. */
static void say_too_much(void)
{
    vgr_ring_complete(&host.ring, host.ring.seq + 1);
}

static void a_number_that_was_never_sent_fails_the_connection(void **state)
{
    host.keeps_ring = true;
    host.worked = say_too_much;
    assert_int_equal(push_much(), queue->ring.size / sizeof(struct vgr_cmd));
    assert_true(vgr_conn_failed(conn));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(more_than_the_ring_has_is_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(a_number_that_was_never_sent_fails_the_connection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(room_that_is_never_given_back_fails_the_connection, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
