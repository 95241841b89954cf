/* SPDX-License-Identifier: MIT
 *
 * peer_hands.h - everything that somebody can do to a descriptor that he shares with a front: read, write,
 * send descriptors, change flags and options, shut down, cut, close.
 *
 * Nothing here waits: the fuzzer is the peer and the front in one process. Where a call takes no flag for
 * that, its non-blocking sibling is used, which does the same to the other end.
 */
#ifndef VGR_FUZZ_PEER_HANDS_H
#define VGR_FUZZ_PEER_HANDS_H

#include <errno.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/fds.h"
#include "fuzz.h"
#include "worker/counts.h"

#define HANDS_FILL 512 /* sends, at most */

/* What a descriptor is to the peer. */
enum hands_on {
    HANDS_LINE, /* bytes only: the kernel refuses descriptors */
    HANDS_CONN, /* of a client: it takes descriptors, which the front must not */
    HANDS_FILE, /* the worker's counters, the account */
};

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* ---- Descriptors to send ---- */

/* A TCP connection with data that nobody takes: its last close waits for an hour, or until *other, the far
 * end, is closed. */
static inline int lingering_socket(int *other)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const struct linger hour = {1, 3600};
    static const char bytes[4096];
    socklen_t len = sizeof(addr);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int small = 4096;

    FUZZ_CHECK(l >= 0 && s >= 0);
    setsockopt(s, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    setsockopt(l, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    FUZZ_CHECK(!bind(l, (struct sockaddr *)&addr, len) && !listen(l, 1));
    FUZZ_CHECK(!getsockname(l, (struct sockaddr *)&addr, &len));
    connect(s, (struct sockaddr *)&addr, len);
    *other = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    FUZZ_CHECK(*other >= 0);
    while (send(s, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0 || errno == ENOTCONN) {
    }
    fcntl(s, F_SETFL, 0);
    setsockopt(s, SOL_SOCKET, SO_LINGER, &hour, sizeof(hour));
    close(l);
    return s;
}

/* Linux 6.16: a line and a log take no descriptors. Before, the sandbox alone sees to that. */
static inline bool kernel_refuses(int fd)
{
    int on;
    socklen_t len = sizeof(on);

    return !getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &on, &len);
}

/* Sends a descriptor of some kind with `len` bytes. *other: as above, or -1. */
static inline void send_some_fd(struct fuzz_in *in, int fd, enum hands_on on, const void *bytes,
                                size_t len, int *other)
{
    static const struct linger none = {1, 0};
    int pair[2] = {-1, -1}, n = 1;

    *other = -1;
    switch (fuzz_below(in, 6)) {
    case 0:
        FUZZ_CHECK(!pipe2(pair, O_CLOEXEC));
        n = 2;
        break;
    case 1:
        pair[0] = eventfd(0, EFD_CLOEXEC);
        break;
    case 2:
        pair[0] = memfd_create("sent", MFD_CLOEXEC);
        break;
    case 3:
        FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
        n = 2;
        break;
    case 4:
        if (on == HANDS_CONN || kernel_refuses(fd))
            pair[0] = lingering_socket(other);
        break;
    default: /* itself: of a connection, a client that never hangs up */
        pair[0] = dup(fd);
    }
    if (pair[0] < 0)
        return;
    if (vgr_fds_send(fd, bytes, len, pair, (unsigned)n, MSG_DONTWAIT) < 0 && *other >= 0)
        setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &none, sizeof(none)); /* we are the last */
    close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
}

/* ---- Flags and options ---- */

static inline void change_flags(struct fuzz_in *in, int fd)
{
    static const int seals[] = {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE,
                                F_SEAL_FUTURE_WRITE};
    int on = (int)fuzz_below(in, 2);

    switch (fuzz_below(in, 6)) {
    case 0:
        fcntl(fd, F_SETFL, 0);
        break;
    case 1:
        fcntl(fd, F_SETFL,
              (int)fuzz_u32(in) & (O_NONBLOCK | O_APPEND | O_DIRECT | O_NOATIME | O_ASYNC));
        break;
    case 2:
        fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
        break;
    case 3:
        fcntl(fd, F_ADD_SEALS, seals[fuzz_below(in, 5)]);
        break;
    case 4:
        ioctl(fd, FIONBIO, &on);
        break;
    default: {
        struct flock lock = {.l_type = on ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

        fcntl(fd, F_OFD_SETLK, &lock);
    }
    }
}

static inline void change_option(struct fuzz_in *in, int fd)
{
    static const int names[] = {SO_SNDBUF,    SO_RCVBUF,   SO_PEEK_OFF,   SO_LINGER,
                                SO_PASSCRED,  SO_PASSSEC,  SO_PASSRIGHTS, SO_RCVLOWAT,
                                SO_SNDTIMEO,  SO_RCVTIMEO, SO_OOBINLINE,  SO_TIMESTAMP,
                                SO_KEEPALIVE, SO_DEBUG,    SO_BROADCAST,  SO_PRIORITY};
    int name = names[fuzz_below(in, sizeof(names) / sizeof(names[0]))];
    int value[4] = {fuzz_rarely(in) ? (int)fuzz_u32(in) : (int)fuzz_below(in, 4), 0, 0, 0};
    socklen_t len = name == SO_LINGER ? 8 : name == SO_SNDTIMEO || name == SO_RCVTIMEO ? 16 : 4;

    setsockopt(fd, SOL_SOCKET, name, value, len);
}

/* ---- Bytes ---- */

/* Text for a log, mostly: words that look like a log's, controls, pieces of UTF-8, ends of lines. */
static inline size_t make_bytes(struct fuzz_in *in, char *buf, size_t size)
{
    static const char *const words[] = {
        "\n",
        "vgr-worker[1]: honest 1\n",
        "fuzz: error: ",
        "\r\n",
        "\x1b[2J",
        "\xe2\x80\xa8",
        "\xc2\x85",
        "\xed\xa0\x80",
        "\"}],\\",
        "%s%n",
        "\xf0\x9f\x98",
        "\x7f",
        "vgr-worker[2]: ",
        "\\x0a",
        "a",
    };
    const size_t n_words = sizeof(words) / sizeof(words[0]);
    uint32_t n = fuzz_below(in, 24);
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++) {
        const char *w = words[fuzz_below(in, n_words)];
        uint32_t times = fuzz_rarely(in) ? fuzz_u8(in) * 8 : 1;

        for (uint32_t k = 0; k < times && len + 32 < size; k++) {
            memcpy(buf + len, w, strlen(w));
            len += strlen(w);
        }
    }
    if (!len) { /* any bytes */
        len = fuzz_below(in, 256);
        fuzz_bytes(in, buf, len);
    }
    return len;
}

static inline void peer_sends(struct fuzz_in *in, int fd, enum hands_on on, int *other)
{
    char buf[4096];
    size_t len = make_bytes(in, buf, sizeof(buf));

    switch (fuzz_below(in, 5)) {
    case 0: /* until it is full */
        for (int i = 0; i < HANDS_FILL && send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
             i++) {
        }
        break;
    case 1:
        send(fd, buf, len ? len : 1, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_OOB);
        break;
    case 2:
        send_some_fd(in, fd, on, buf, len ? len : 1, other);
        break;
    default:
        send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static inline void peer_receives(struct fuzz_in *in, int fd)
{
    int flags = MSG_DONTWAIT | (fuzz_below(in, 4) ? 0 : MSG_PEEK) | (fuzz_rarely(in) ? MSG_OOB : 0);
    size_t len = 1 + fuzz_below(in, 4096);
    char buf[4096];

    for (int i = 0; i < (flags & MSG_PEEK ? 1 : HANDS_FILL) && recv(fd, buf, len, flags) > 0; i++) {
    }
}

/* ---- Files ---- */

static inline void change_counts(struct fuzz_in *in, int fd)
{
    off_t page = (off_t)fuzz_below(in, VGR_COUNTS_QUEUES) * (off_t)VGR_COUNTS_PAGE;
    uint64_t number = fuzz_size(in);
    struct {
        size_t at, len;
    } field;
    char name[64];

    switch (fuzz_below(in, 6)) {
    case 0:
        field.at =
            offsetof(struct vgr_counts_page, counters) + 8 * fuzz_below(in, VGR_COUNTER_COUNT);
        field.len = 8;
        break;
    case 1:
        field.at = offsetof(struct vgr_counts_page, since) + 8 * fuzz_below(in, VGR_COUNTER_COUNT);
        field.len = 8;
        break;
    case 2: /* computes since the beginning of time */
        field.at = offsetof(struct vgr_counts_page, since[VGR_COUNTER_COMPUTING]);
        field.len = 8;
        break;
    case 3:
        field.at = offsetof(struct vgr_counts_page, in_flight);
        field.len = 4;
        break;
    case 4:
        page = 0;
        field.at = offsetof(struct vgr_counts_page, queues);
        field.len = 4;
        break;
    default:
        page = 0;
        number = fuzz_mostly(in, 17);
        field.at = offsetof(struct vgr_counts_page, n_devices);
        field.len = 4;
        fuzz_bytes(in, name, sizeof(name));
        if (pwrite(fd, name, sizeof(name),
                   (off_t)(offsetof(struct vgr_counts_page, devices) + 64 * fuzz_below(in, 16))) <
            0)
            return; /* it has sealed it */
    }
    if (pwrite(fd, &number, field.len, page + (off_t)field.at) < 0)
        return;
}

static inline void peer_changes_file(struct fuzz_in *in, int fd)
{
    off_t at = (off_t)fuzz_size(in), len = 1 + (off_t)fuzz_u16(in);
    char buf[256];

    switch (fuzz_below(in, 8)) {
    case 0: /* the files are sealed: these fail, or do nothing */
        if (!ftruncate(fd, at))
            FUZZ_CHECK(lseek(fd, 0, SEEK_END) == at);
        break;
    case 1:
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE | (fuzz_below(in, 2) ? FALLOC_FL_PUNCH_HOLE : 0),
                      (off_t)fuzz_u16(in), len))
            return;
        break;
    case 2:
        if (fallocate(fd, 0, (off_t)fuzz_u16(in), len))
            return;
        break;
    case 3:
        lseek(fd, at, SEEK_SET);
        break;
    case 4:
        fuzz_bytes(in, buf, sizeof(buf));
        if (pwrite(fd, buf, sizeof(buf), (off_t)fuzz_u16(in)) < 0)
            return;
        break;
    default:
        change_counts(in, fd);
    }
}

/* ---- All of it ---- */

/* Does something to *fd, which it may close and set to -1. *other: see lingering_socket(), or -1. */
static inline void peer_acts(struct fuzz_in *in, int *fd, enum hands_on on, int *other)
{
    uint8_t what = fuzz_u8(in);
    int copy;

    *other = -1;
    if (*fd < 0)
        return;
    if (on == HANDS_FILE && what < 0xb0) {
        peer_changes_file(in, *fd);
    } else if (what < 0x70) {
        peer_sends(in, *fd, on, other);
    } else if (what < 0x98) {
        peer_receives(in, *fd);
    } else if (what < 0xb0) {
        change_option(in, *fd);
    } else if (what < 0xd8) {
        change_flags(in, *fd);
    } else if (what < 0xe8) {
        shutdown(*fd, (int)fuzz_below(in, 3));
    } else if (what < 0xf4) {
        copy = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
        close(*fd);
        *fd = copy;
    } else {
        close(*fd);
        *fd = -1;
    }
}

#endif
