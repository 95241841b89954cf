/* SPDX-License-Identifier: MIT
 *
 * lingering.h - a descriptor that nobody wants to be the last to close.
 */
#ifndef VGR_TEST_LINGERING_H
#define VGR_TEST_LINGERING_H

#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* A TCP connection with data that nobody takes: its last close waits for an hour. */
static inline int lingering_socket(int *peer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger hour = {1, 3600};
    socklen_t len = sizeof(addr);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char bytes[4096] = {0};

    assert_int_equal(bind(l, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&addr, &len), 0);
    connect(s, (struct sockaddr *)&addr, len);
    *peer = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*peer >= 0);
    while (send(s, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0 || errno == ENOTCONN) {
    }
    assert_int_equal(fcntl(s, F_SETFL, 0), 0);
    assert_int_equal(setsockopt(s, SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)), 0);
    close(l);
    return s;
}

#endif
