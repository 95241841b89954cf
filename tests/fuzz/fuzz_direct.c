/* SPDX-License-Identifier: MIT
 *
 * fuzz_direct.c - the direct front's socket.
 *
 * Theory of operation
 * -------------------
 *
 * Up to three clients connect to a real listening socket, send what the input says, hang up. A message
 * is mostly an OPEN with a sealed memfd and a line; some have another size, other descriptors,
 * more or fewer of them, or a file that is too small, not sealed, or none. The client's eventfds can be
 * full, and its arena's control page can hold anything.
 *
 * The first byte of an input says if workers may be started (see fuzz_gpu.c). At the end nothing must
 * be left, and none of our descriptors be open.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/line.h"
#include "common/log.h"
#include "device/direct.h"
#include "device/listen.h"
#include "fake_worker.h"
#include "holdings.h"
#include "send_fds.h"
#include "test_loop.h"

#define ACTIONS 24
#define CLIENTS 3
#define ARENA   (64u << 10)

enum { FD_ARENA, FD_LINE, FD_EVENT, FD_SMALL, FD_UNSEALED, FD_NULL, N_FDS };

struct rig {
    struct fuzz_in in;
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_direct direct;
    int client[CLIENTS];
    int line; /* our end */
    int fds[N_FDS];
};

static char path[64];

static int make_memfd(uint64_t size, bool seal)
{
    int fd = memfd_create("arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    FUZZ_CHECK(fd >= 0 && !ftruncate(fd, (off_t)size));
    if (seal)
        FUZZ_CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    return fd;
}

static void setup(struct rig *r)
{
    bool workers = fuzz_u8(&r->in) < 0x10;
    struct vgr_capset cap = {
        .magic = VGR_MAGIC,
        .arena_min = ARENA,
        .arena_max = 4 * ARENA,
        .arena_default = ARENA,
    };
    char why[256];
    int fd;

    FUZZ_CHECK(!vgr_loop_init(&r->loop));
    r->pool = (struct vgr_worker_pool){
        .loop = &r->loop, .path = VGR_FAKE_WORKER, .limit = workers ? 2 : 0};
    fd = vgr_listen(path, SOCK_STREAM, 0700, why, sizeof(why));
    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(!vgr_direct_init(&r->direct, &r->loop, &r->pool, &cap, fd, path, false));
    for (int i = 0; i < CLIENTS; i++)
        r->client[i] = -1;
    r->fds[FD_ARENA] = make_memfd(ARENA, true);
    FUZZ_CHECK(!vgr_line_make(&r->line, &r->fds[FD_LINE]));
    r->fds[FD_EVENT] = eventfd(0, EFD_CLOEXEC);
    r->fds[FD_SMALL] = make_memfd(fuzz_below(&r->in, 3) * 4096, true);
    r->fds[FD_UNSEALED] = make_memfd(ARENA, false);
    r->fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void teardown(struct rig *r)
{
    vgr_worker_pool_finish(&r->pool, 5000);
    vgr_direct_finish(&r->direct);
    FUZZ_CHECK(!r->pool.alive && !r->direct.n_clients && !r->direct.first);
    FUZZ_CHECK(r->loop.record.most_units <= VGR_LOOP_MOST_UNITS);
    vgr_loop_finish(&r->loop);
    for (int i = 0; i < CLIENTS; i++) {
        if (r->client[i] >= 0)
            close(r->client[i]);
    }
    close(r->line);
    for (int i = 0; i < N_FDS; i++)
        close(r->fds[i]);
}

static void client_connects(struct rig *r, int *sock)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct vgr_capset cap;

    strcpy(addr.sun_path, path);
    *sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    FUZZ_CHECK(!connect(*sock, (struct sockaddr *)&addr, sizeof(addr)));
    vgr_loop_turn(&r->loop, 0);
    FUZZ_CHECK(recv(*sock, &cap, sizeof(cap), 0) == sizeof(cap) && cap.magic == VGR_MAGIC);
}

static void client_sends(struct rig *r, int sock)
{
    struct fuzz_in *in = &r->in;
    struct {
        struct vgr_submit s;
        uint8_t more[32];
    } m = {.s = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = ARENA}};
    unsigned n_fds = fuzz_rarely(in) ? fuzz_below(in, 9) : VGR_DIRECT_NFDS;
    size_t len = sizeof(m.s);
    int fds[8];

    if (fuzz_rarely(in))
        m.s.size = fuzz_below(in, 2) ? fuzz_size(in) : 4096ull * fuzz_u8(in);
    if (fuzz_rarely(in))
        fuzz_bytes(in, (uint8_t *)&m.s + fuzz_below(in, 16), 4);
    if (fuzz_rarely(in))
        len = fuzz_below(in, sizeof(m) + 1);
    for (unsigned i = 0; i < n_fds; i++)
        fds[i] = r->fds[fuzz_rarely(in) ? fuzz_below(in, N_FDS) : i % VGR_DIRECT_NFDS];
    if (send_fds(sock, &m, len, fds, n_fds) < 0)
        return; /* hung up, or nothing to say */
}

static void act(struct rig *r)
{
    int *sock = &r->client[fuzz_below(&r->in, CLIENTS)];
    uint32_t word = fuzz_u32(&r->in);

    switch (fuzz_below(&r->in, 8)) {
    case 0: /* the control page, as it is when something goes wrong */
        word %= 4;
        FUZZ_CHECK(pwrite(r->fds[FD_ARENA], &word, 4, offsetof(struct vgr_hello, features)) == 4);
        break;
    case 1:
        FUZZ_CHECK(pwrite(r->fds[FD_ARENA], &word, 4, offsetof(struct vgr_control, state)) == 4);
        break;
    case 2: /* rings, in any number */
        for (uint32_t i = 0; i < word % 512; i++)
            vgr_line_ring(r->line);
        vgr_line_take(r->line);
        break;
    case 3:
        if (*sock >= 0)
            close(*sock);
        *sock = -1;
        break;
    default:
        if (*sock < 0)
            client_connects(r, sock);
        client_sends(r, *sock);
    }
    vgr_loop_turn(&r->loop, r->pool.alive && fuzz_below(&r->in, 2) ? 20 : 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    signal(SIGPIPE, SIG_IGN);
    vgr_log_init("fuzz", VGR_LOG_ERROR);
    snprintf(path, sizeof(path), "/tmp/vgr-fuzz-%d", (int)getpid());
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;
    unsigned before = count_fds();

    memset(&r, 0, sizeof(r));
    r.in = (struct fuzz_in){data, size};
    setup(&r);
    for (int i = 0; i < ACTIONS && r.in.left; i++)
        act(&r);
    teardown(&r);
    FUZZ_CHECK(count_fds() == before);
    return 0;
}
