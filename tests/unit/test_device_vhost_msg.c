/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/vhost_msg.h"
#include "send_fds.h"

struct fixture {
    int qemu, ours;
    struct vgr_vhost_rx rx;
    char why[96];
};

static int setup(void **state)
{
    static struct fixture f;
    int s[2];

    memset(&f, 0, sizeof(f));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s))
        return -1;
    f.qemu = s[0];
    f.ours = s[1];
    vgr_vhost_rx_init(&f.rx);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_vhost_rx_next(&f->rx);
    close(f->qemu);
    close(f->ours);
    return 0;
}

static void send_many(int sock, const void *buf, size_t len, unsigned n_fds)
{
    int fds[SEND_FDS_MAX];

    for (unsigned i = 0; i < n_fds; i++)
        fds[i] = sock;
    assert_int_equal(send_fds(sock, buf, len, fds, n_fds), len);
}

static void send_msg(struct fixture *f, uint32_t request, uint32_t flags, uint32_t size,
                     const void *payload, unsigned n_fds)
{
    uint8_t buf[12 + 1024] = {0};

    memcpy(buf, &request, 4);
    memcpy(buf + 4, &flags, 4);
    memcpy(buf + 8, &size, 4);
    if (payload)
        memcpy(buf + 12, payload, size);
    send_many(f->qemu, buf, 12 + (size <= 1024 ? size : 0), n_fds);
}

static int receive(struct fixture *f)
{
    return vgr_vhost_recv(f->ours, &f->rx, f->why, sizeof(f->why));
}

static void is_malformed(struct fixture *f)
{
    assert_int_equal(receive(f), -EPROTO);
    assert_true(strlen(f->why) > 0);
}

static void whole_message_is_received(void **state)
{
    struct fixture *f = *state;
    uint64_t features = 0x123456789abcdef0;

    assert_int_equal(receive(f), 0);
    send_msg(f, VGR_VHOST_SET_FEATURES, 1, 8, &features, 0);
    assert_int_equal(receive(f), 1);
    assert_int_equal(f->rx.msg.request, VGR_VHOST_SET_FEATURES);
    assert_true(f->rx.msg.p.u64 == features);
}

static void message_in_single_bytes_is_received(void **state)
{
    struct fixture *f = *state;
    uint32_t msg[5] = {VGR_VHOST_SET_VRING_NUM, 1, 8, 1, 256};

    for (size_t i = 0; i < sizeof(msg); i++) {
        assert_int_equal(receive(f), 0);
        assert_int_equal(send(f->qemu, (uint8_t *)msg + i, 1, 0), 1);
    }
    assert_int_equal(receive(f), 1);
    assert_int_equal(f->rx.msg.p.state.num, 256);
}

static void messages_do_not_run_together(void **state)
{
    struct fixture *f = *state;
    uint64_t kick = 0;

    send_msg(f, VGR_VHOST_SET_OWNER, 1, 0, NULL, 0);
    send_msg(f, VGR_VHOST_SET_VRING_KICK, 1, 8, &kick, 1);
    assert_int_equal(receive(f), 1);
    assert_int_equal(f->rx.msg.request, VGR_VHOST_SET_OWNER);
    assert_int_equal(f->rx.msg.n_fds, 0);
    vgr_vhost_rx_next(&f->rx);
    assert_int_equal(receive(f), 1);
    assert_int_equal(f->rx.msg.request, VGR_VHOST_SET_VRING_KICK);
    assert_int_equal(f->rx.msg.n_fds, 1);
}

static void descriptors_are_closed_unless_taken(void **state)
{
    struct fixture *f = *state;
    struct vgr_vhost_mem_table t = {.n = 2};
    int taken, dropped;

    send_msg(f, VGR_VHOST_SET_MEM_TABLE, 1, 8 + 64, &t, 2);
    assert_int_equal(receive(f), 1);
    taken = f->rx.msg.fds[0];
    dropped = f->rx.msg.fds[1];
    assert_true(fcntl(taken, F_GETFD) & FD_CLOEXEC);
    f->rx.msg.fds[0] = -1;
    vgr_vhost_rx_next(&f->rx);
    assert_true(fcntl(taken, F_GETFD) >= 0);
    assert_int_equal(fcntl(dropped, F_GETFD), -1);
    close(taken);
}

static void end_of_connection_is_reported(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f->qemu, "abc", 3, 0), 3);
    shutdown(f->qemu, SHUT_WR);
    assert_int_equal(receive(f), 0);
    assert_int_equal(receive(f), -ECONNRESET);
}

static void wrong_version_and_replies_are_malformed(void **state)
{
    struct fixture *f = *state;

    send_msg(f, VGR_VHOST_GET_FEATURES, 0, 0, NULL, 0);
    is_malformed(f);
    vgr_vhost_rx_next(&f->rx);
    send_msg(f, VGR_VHOST_GET_FEATURES, 5, 0, NULL, 0);
    is_malformed(f);
}

static void wrong_sizes_are_malformed(void **state)
{
    static const struct {
        uint32_t request, size;
    } bad[] = {
        {VGR_VHOST_GET_FEATURES, 8},          {VGR_VHOST_SET_FEATURES, 4},
        {VGR_VHOST_SET_FEATURES, 16},         {VGR_VHOST_SET_VRING_ADDR, 8},
        {VGR_VHOST_SET_MEM_TABLE, 4},         {VGR_VHOST_ADD_MEM_REG, 32},
        {VGR_VHOST_GET_CONFIG, 11},           {VGR_VHOST_GET_CONFIG, 12 + 257},
        {VGR_VHOST_RESET_DEVICE, 1},          {999, 513},
        {VGR_VHOST_SET_FEATURES, UINT32_MAX},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setup(state);
        send_msg(*state, bad[i].request, 1, bad[i].size, NULL, 0);
        is_malformed(*state);
        if (i + 1 < sizeof(bad) / sizeof(bad[0]))
            teardown(state);
    }
}

static void mem_table_must_fit_its_count(void **state)
{
    struct fixture *f = *state;
    struct vgr_vhost_mem_table t = {.n = UINT32_MAX};

    send_msg(f, VGR_VHOST_SET_MEM_TABLE, 1, 8 + 64, &t, 2);
    is_malformed(f);
    vgr_vhost_rx_next(&f->rx);
    t.n = 2;
    send_msg(f, VGR_VHOST_SET_MEM_TABLE, 1, 8 + 64, &t, 1);
    is_malformed(f);
    vgr_vhost_rx_next(&f->rx);
    t.n = 1;
    send_msg(f, VGR_VHOST_SET_MEM_TABLE, 1, 8 + 64, &t, 1);
    is_malformed(f);
}

static void config_must_fit_its_size(void **state)
{
    struct fixture *f = *state;
    struct vgr_vhost_config c = {.size = 20};

    send_msg(f, VGR_VHOST_GET_CONFIG, 1, 12 + 20, &c, 0);
    assert_int_equal(receive(f), 1);
    vgr_vhost_rx_next(&f->rx);
    c.size = 256;
    send_msg(f, VGR_VHOST_GET_CONFIG, 1, 12 + 20, &c, 0);
    is_malformed(f);
}

static void descriptors_must_be_as_many_as_needed(void **state)
{
    static const struct {
        uint32_t request, size;
        uint64_t u64;
        unsigned n_fds;
    } bad[] = {
        {VGR_VHOST_SET_VRING_KICK, 8, 0, 0},
        {VGR_VHOST_SET_VRING_KICK, 8, VGR_VHOST_NO_FD, 1},
        {VGR_VHOST_SET_VRING_CALL, 8, 0, 2},
        {VGR_VHOST_GPU_SET_SOCKET, 0, 0, 0},
        {VGR_VHOST_GET_FEATURES, 0, 0, 1},
        {VGR_VHOST_SET_MEM_TABLE, 8, 0, 9}, /* more than any message has */
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setup(state);
        send_msg(*state, bad[i].request, 1, bad[i].size, &bad[i].u64, bad[i].n_fds);
        is_malformed(*state);
        if (i + 1 < sizeof(bad) / sizeof(bad[0]))
            teardown(state);
    }
}

static void unknown_request_is_received(void **state)
{
    struct fixture *f = *state;
    uint8_t payload[512] = {0};

    send_msg(f, 77, 1, 512, payload, 3);
    assert_int_equal(receive(f), 1);
    assert_int_equal(f->rx.msg.request, 77);
}

static void reply_has_the_request_and_its_flags(void **state)
{
    struct fixture *f = *state;
    uint32_t got[5];

    send_msg(f, VGR_VHOST_GET_FEATURES, 1 | VGR_VHOST_NEED_REPLY, 0, NULL, 0);
    assert_int_equal(receive(f), 1);
    f->rx.msg.p.u64 = 42;
    assert_int_equal(vgr_vhost_reply(f->ours, &f->rx.msg, 8), 0);
    assert_int_equal(recv(f->qemu, got, sizeof(got), 0), 20);
    assert_int_equal(got[0], VGR_VHOST_GET_FEATURES);
    assert_int_equal(got[1], 5);
    assert_int_equal(got[2], 8);
    assert_int_equal(got[3], 42);
}

static void reply_to_nobody_is_an_error(void **state)
{
    struct fixture *f = *state;

    close(f->qemu);
    assert_int_equal(vgr_vhost_reply(f->ours, &f->rx.msg, 8), -EPIPE);
    f->qemu = dup(f->ours);
}

#define T(f)         cmocka_unit_test_setup_teardown(f, setup, teardown)
#define OWN_SETUP(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(whole_message_is_received),         T(message_in_single_bytes_is_received),
        T(messages_do_not_run_together),      T(descriptors_are_closed_unless_taken),
        T(end_of_connection_is_reported),     T(wrong_version_and_replies_are_malformed),
        OWN_SETUP(wrong_sizes_are_malformed), T(mem_table_must_fit_its_count),
        T(config_must_fit_its_size),          OWN_SETUP(descriptors_must_be_as_many_as_needed),
        T(unknown_request_is_received),       T(reply_has_the_request_and_its_flags),
        T(reply_to_nobody_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
