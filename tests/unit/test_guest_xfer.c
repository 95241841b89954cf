/* SPDX-License-Identifier: MIT
 *
 * A download is all there when its wait has returned, and nothing is written afterwards.
 */
#include "guest/xfer.h"

#include "fake_host.h"

#define ROWS  (VGR_QUEUE_PENDING + 1)
#define ROW   16u
#define LARGE (3u << 20) /* more than the heap has */
#define OURS  0x22       /* what the program writes when the data is its own again */
#define STALE 0x11

static struct vgr_host at;
static struct vgr_conn *conn;
static struct vgr_queue *queue;
static uint8_t out[LARGE];

static int setup(void **state)
{
    memset(&host, 0, sizeof(host));
    conn = vgr_conn_open(&at);
    assert_non_null(conn);
    queue = conn->queue[0];
    memset(out, STALE, sizeof(out));
    return 0;
}

static int teardown(void **state)
{
    vgr_conn_close(conn);
    return 0;
}

static struct vgr_rows rows_of(size_t n, size_t size)
{
    return (struct vgr_rows){
        .buffer = 1, .room = UINT64_MAX, .size = size, .n = n, .stride = 2 * size, .pitch = size};
}

static uint64_t download(size_t n, size_t size)
{
    return vgr_xfer_get(queue, rows_of(n, size), out);
}

static size_t count(size_t len, uint8_t value)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += out[i] == value;
    return n;
}

/* What is called next delivers what is still pending, if anything is. */
static void nothing_comes_late(size_t len)
{
    uint8_t other[64];

    memset(out, OURS, len);
    vgr_queue_wait(queue, vgr_xfer_get(queue, rows_of(1, sizeof(other)), other));
    if (vgr_conn_failed(conn)) {
        pthread_mutex_lock(&queue->lock);
        vgr_queue_drain(queue);
        pthread_mutex_unlock(&queue->lock);
    }
    assert_int_equal(count(len, OURS), len);
}

static void more_rows_than_may_be_pending_are_read(void **state)
{
    for (int round = 0; round < 3; round++) {
        uint64_t seq = download(ROWS, ROW);

        assert_true(seq != 0);
        assert_true(vgr_queue_wait(queue, seq));
        assert_int_equal(count(ROWS * ROW, FAKE_DATA), ROWS * ROW);
        nothing_comes_late(ROWS * ROW);
    }
}

static void data_or_zeros(uint64_t seq)
{
    assert_true(!seq || !vgr_queue_wait(queue, seq));
    assert_int_equal(count(LARGE, FAKE_DATA) + count(LARGE, 0), LARGE);
    assert_true(count(LARGE, 0) > 0);
    nothing_comes_late(LARGE);
}

static void a_host_that_ends_in_mid_download_leaves_zeros(void **state)
{
    host.last = 3;
    data_or_zeros(download(1, LARGE));
    assert_int_equal(host.ran[VGR_CMD_GET], 3);
}

static void a_host_that_ends_before_all_rows_are_sent_leaves_zeros(void **state)
{
    host.last = 3;
    data_or_zeros(download(LARGE / ROW, ROW));
}

static void a_host_that_has_ended_leaves_zeros(void **state)
{
    host.last = 3;
    assert_false(vgr_queue_wait(queue, download(1, LARGE)));
    memset(out, STALE, sizeof(out));
    assert_int_equal(download(1, LARGE), 0);
    assert_int_equal(count(LARGE, 0), LARGE);
}

/* As another thread would that finds the host dead meanwhile. */
static void fail_connection(void)
{
    vgr_conn_fail(conn, "for the test");
}

static void a_connection_that_another_thread_fails_leaves_zeros(void **state)
{
    host.worked = fail_connection;
    data_or_zeros(download(1, LARGE));
    assert_true(host.ran[VGR_CMD_GET] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(more_rows_than_may_be_pending_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_host_that_ends_in_mid_download_leaves_zeros, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_host_that_ends_before_all_rows_are_sent_leaves_zeros,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_host_that_has_ended_leaves_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_that_another_thread_fails_leaves_zeros, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
