/* SPDX-License-Identifier: MIT
 *
 * fuzz_keep.c - a front that takes over a VM from one that died, by what vgr-keeper kept.
 *
 * Theory of operation
 * -------------------
 *
 * QEMU and a guest are played for two fronts, one after the other. The first one has a keeper, which is
 * the end of a socket here, and serves the guest for a while. Then it dies: guest memory and the record
 * are put back to what they were before its clean-up. The second one takes over and goes on.
 *
 * The first byte of an input chooses. Either the guest and everybody else are honest; then each chain
 * that the guest has offered must be answered, and once, whichever front took it. Or what was kept is
 * changed, the message, its descriptors, the record, and guest memory too: little or a lot, as a front
 * may die between two stores, and as nobody would. Then the second front must not die of it, and give
 * every descriptor back.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "common/fds.h"
#include "qemu_end.h"

#define ACTIONS 24
#define FDS     256 /* more are never open */

/* So many bytes of an input are about what was kept, the rest about what happens before and after. */
#define CHANGE 24u

#define GUEST_MEMORY ((size_t)(3 * MIB))

struct takeover {
    struct rig r;
    struct front front[2];
    struct vgr_keep keep;
    int keeper; /* its end */
    struct vgr_kept kept;
    struct fuzz_in change; /* decisions about what was kept */
    bool honest;
    bool offered[FUZZ_RING]; /* by head; of an honest guest */
};

/* ---- The keeper ---- */

static void forget(struct vgr_kept *k)
{
    for (unsigned i = 0; i < k->n_fds; i++)
        close(k->fds[i]);
    k->n_fds = 0;
    k->len = 0;
}

/* Keeps the last message, as keeper/main.c does. */
static void keeper_works(struct takeover *t)
{
    static struct vgr_kept k;
    ssize_t n;
    int flags;

    do {
        k.n_fds = 0;
        flags = MSG_DONTWAIT;
        n = vgr_fds_receive(t->keeper, k.bytes, sizeof(k.bytes), k.fds, VGR_KEEPER_MAX_FDS,
                            &k.n_fds, &flags);
        if (n > 0) {
            FUZZ_CHECK(n >= (ssize_t)sizeof(k.head) && !(flags & (MSG_TRUNC | MSG_CTRUNC)));
            FUZZ_CHECK(k.head.n_watched && k.head.n_watched <= k.n_fds);
            forget(&t->kept);
            k.len = (size_t)n;
            t->kept = k;
        }
    } while (n > 0);
}

static void nothing_renewed(struct vgr_keep *k)
{
}

/* The front's end of a keeper. */
static void open_keeper(struct takeover *t, struct front *f)
{
    int s[2];

    FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
    t->keeper = s[0];
    t->keep = (struct vgr_keep){.watch.fd = s[1], .loop = &f->loop, .renewed = nothing_renewed};
}

static void close_keeper(struct takeover *t)
{
    close(t->keep.watch.fd);
    close(t->keeper);
}

/* ---- The honest guest ---- */

/* Takes the answers. */
static void honest_looks(struct takeover *t)
{
    int head;

    while ((head = guest_used(&t->r.g, NULL)) >= 0) {
        FUZZ_CHECK((unsigned)head < FUZZ_RING && t->offered[head]);
        t->offered[head] = false;
    }
}

/* Offers a request, if the slot's last one is answered. */
static void offer_when_free(struct takeover *t, uint32_t slot, uint32_t type, uint32_t id,
                            uint32_t submit_op, bool fence)
{
    honest_looks(t);
    if (t->offered[SLOT_HEAD(slot)])
        return;
    t->offered[SLOT_HEAD(slot)] = true;
    honest_offer(&t->r.g, slot, type, id, submit_op, fence);
}

/* Of the commands that a guest's kernel sends for a program, in any order but mostly waits. */
static void honest_command(struct takeover *t)
{
    static const uint32_t types[] = {
        VGR_GPU_CTX_CREATE,  VGR_GPU_RESOURCE_CREATE_3D, VGR_GPU_ATTACH_BACKING,
        VGR_GPU_SUBMIT_3D,   VGR_GPU_SUBMIT_3D,          VGR_GPU_CTX_ATTACH_RESOURCE,
        VGR_GPU_CTX_DESTROY, VGR_GPU_RESOURCE_UNREF,
    };
    uint8_t what = fuzz_u8(&t->r.in);
    uint32_t slot = fuzz_below(&t->r.in, SLOTS), id = 1 + (what >> 6 == 3);

    if (what & 0x30)
        offer_when_free(t, slot, VGR_GPU_SUBMIT_3D, id, VGR_SUBMIT_WAIT, true);
    else
        offer_when_free(t, slot, types[what % 8], id, VGR_SUBMIT_OPEN + (what >> 3 & 1), what >> 7);
}

/* A program begins. */
static void start_program(struct takeover *t)
{
    program_starts(&t->r.g);
    for (uint32_t i = 0; i < START_SLOTS; i++)
        t->offered[SLOT_HEAD(i)] = true;
    vgr_event_signal(t->r.kick);
    settle(&t->r);
    FUZZ_CHECK(t->r.front->pool.alive == 1);
}

/* ---- What happens ---- */

static void act(struct takeover *t)
{
    struct rig *r = &t->r;
    uint8_t what = fuzz_u8(&r->in);

    if (t->honest) {
        honest_command(t);
        if (what < 0xc0) { /* else the front does not know yet */
            vgr_event_signal(r->kick);
            settle(r);
        }
        if (what < 0x10)
            vgr_loop_turn(&r->front->loop, 2);
        return;
    }
    if (what < 0x30) {
        message(r);
    } else if (what < 0xb0) {
        guest_command(&r->in, &r->g);
        vgr_event_signal(r->kick);
        settle(r);
    } else if (what < 0xd0) {
        guest_scribbles(&r->in, &r->g);
    } else {
        vgr_loop_turn(&r->front->loop, r->front->pool.alive ? 5 : 0);
        settle(r);
    }
}

/* Something else than what a front leaves behind. */
static void change_record(struct fuzz_in *in, struct vgr_vhost_record *rec)
{
    struct vgr_vq_record *q = &rec->queues[fuzz_rarely(in)];

    switch (fuzz_below(in, 6)) {
    case 0: /* died between two stores */
        q->used_idx--;
        q->held[q->last % FUZZ_RING] = 1;
        break;
    case 1:
        q->used_idx = fuzz_u16(in);
        break;
    case 2:
        q->last = fuzz_below(in, 2) ? fuzz_u8(in) : fuzz_u16(in);
        break;
    case 3:
        q->held[fuzz_rarely(in) ? fuzz_u16(in) % VGR_VQ_MAX_SIZE : fuzz_below(in, FUZZ_RING)] ^= 1;
        break;
    case 4:
        rec->gpu.pages[fuzz_below(in, VGR_GPU_MAX_CONTEXTS)] =
            fuzz_rarely(in) ? fuzz_u64(in) : some_page(in) + 1;
        break;
    default:
        rec->busy = fuzz_rarely(in);
    }
}

static void change_kept(struct takeover *t)
{
    struct fuzz_in *in = &t->change;
    struct vgr_kept *k = &t->kept;
    uint32_t value, at;

    switch (fuzz_below(in, 6)) {
    case 0: /* a word of the message */
        at = 4 * (fuzz_u16(in) % ((uint32_t)k->len / 4 + 1));
        value = fuzz_below(in, 2) ? fuzz_below(in, 4) : (uint32_t)fuzz_size(in);
        memcpy(k->bytes + at, &value, sizeof(value));
        break;
    case 1: /* a byte */
        k->bytes[fuzz_u16(in) % k->len] = fuzz_u8(in);
        break;
    case 2:
        k->len = 1 + fuzz_u16(in) % (sizeof(k->bytes) - 4);
        break;
    case 3: /* one descriptor less */
        if (k->n_fds)
            close(k->fds[--k->n_fds]);
        break;
    case 4: /* another kind */
        if (k->n_fds) {
            int other[] = {null_fd, t->r.kick, t->r.g.fd, t->r.sock, t->keeper};

            t->r.stranger = true;
            dup3(other[fuzz_below(in, 5)], k->fds[fuzz_below(in, k->n_fds)], O_CLOEXEC);
        }
        break;
    default: /* a shorter file, where files may become so */
        at = k->n_fds ? fuzz_below(in, k->n_fds) : 0;
        value = fuzz_u16(in);
        if (k->n_fds) {
            int fd = memfd_create("short", MFD_CLOEXEC);

            t->r.stranger = true;
            FUZZ_CHECK(fd >= 0 && !ftruncate(fd, value));
            dup3(fd, k->fds[at], O_CLOEXEC);
            close(fd);
        }
    }
}

/* ---- Death and succession ---- */

/* The part of guest memory that is there at `*at` or behind, as a length; 0: none. */
static size_t next_part(const struct takeover *t, size_t *at)
{
    off_t begin = lseek(t->r.g.fd, (off_t)*at, SEEK_DATA);

    if (begin < 0)
        return 0;
    *at = (size_t)begin;
    return (size_t)(lseek(t->r.g.fd, begin, SEEK_HOLE) - begin);
}

/* Copies what there is of guest memory, which is little. */
static void copy_memory(const struct takeover *t, uint8_t *saved, bool back)
{
    for (size_t at = 0, n; (n = next_part(t, &at)); at += n) {
        if (back)
            memcpy(t->r.g.file + at, saved + at, n);
        else
            memcpy(saved + at, t->r.g.file + at, n);
    }
}

/* The first front dies where it stands. */
static void die(struct takeover *t)
{
    static struct vgr_vhost_record saved_record;
    static uint8_t saved[GUEST_MEMORY]; /* zeros where there is nothing */
    struct vgr_vhost *v = &t->r.front->v;
    bool recorded = v->record;
    void *p;

    keeper_works(t);
    copy_memory(t, saved, false);
    if (recorded)
        saved_record = *v->record;
    front_finish(t->r.front);
    close_keeper(t);
    copy_memory(t, saved, true);
    for (size_t at = 0, n; (n = next_part(t, &at)); at += n)
        memset(saved + at, 0, n);
    if (!recorded || !t->kept.len)
        return;
    if (!t->honest) {
        for (uint32_t n = fuzz_below(&t->change, 4); n; n--)
            change_record(&t->change, &saved_record);
    }
    p = mmap(NULL, sizeof(saved_record), PROT_READ | PROT_WRITE, MAP_SHARED,
             t->kept.fds[t->kept.head.n_watched], 0);
    FUZZ_CHECK(p != MAP_FAILED);
    memcpy(p, &saved_record, sizeof(saved_record));
    munmap(p, sizeof(saved_record));
}

/* The second one begins. */
static void succeed(struct takeover *t, unsigned workers)
{
    struct rig *r = &t->r;
    int ret;

    r->front = &t->front[1];
    front_init(r->front, workers);
    open_keeper(t, r->front);
    if (!t->honest && t->kept.len) {
        for (uint32_t n = fuzz_below(&t->change, 4); n; n--)
            change_kept(t);
    }
    if (!t->honest && fuzz_below(&t->change, 2))
        guest_scribbles(&t->change, &r->g);
    ret = vgr_vhost_set_keeper(&r->front->v, &t->keep, t->kept.len ? &t->kept : NULL);
    t->kept.n_fds = 0; /* closed, or the front's */
    t->kept.len = 0;
    FUZZ_CHECK(!t->honest || (!ret && r->front->v.fd >= 0 && r->front->v.queues[0].vq.running));
    if (r->front->v.fd < 0) {
        FUZZ_CHECK(!r->front->v.mem.n && !r->front->v.gpu.contexts.n);
        connect_qemu(r);
    }
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < FDS; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct takeover t;
    unsigned fds = open_fds(), workers;
    struct rig *r = &t.r;
    uint8_t how;

    memset(&t, 0, sizeof(t));
    r->in = (struct fuzz_in){data, size};
    how = fuzz_u8(&r->in);
    t.change = r->in;
    if (r->in.left > CHANGE) {
        t.change.left = CHANGE;
        r->in.p += CHANGE;
        r->in.left -= CHANGE;
    }
    t.honest = how >= 0xe0;
    workers = t.honest || how < 0x10 ? 2 : 0;
    rig_init(r, &t.front[0], workers);
    open_keeper(&t, r->front);
    FUZZ_CHECK(!vgr_vhost_set_keeper(&r->front->v, &t.keep, NULL));
    connect_qemu(r);
    introduce(r);
    if (workers)
        start_program(&t);
    for (int i = 1 + (int)fuzz_below(&r->in, ACTIONS); i && r->in.left; i--) {
        act(&t);
        keeper_works(&t);
    }
    die(&t);
    succeed(&t, workers);
    for (int i = 0; i < ACTIONS && r->in.left; i++) {
        act(&t);
        keeper_works(&t);
    }
    if (t.honest) {
        vgr_event_signal(r->kick);
        settle(r);
    }
    front_finish(r->front);
    if (t.honest) {
        honest_looks(&t);
        for (unsigned i = 0; i < FUZZ_RING; i++)
            FUZZ_CHECK(!t.offered[i]);
    }
    close_keeper(&t);
    forget(&t.kept);
    rig_finish(r);
    FUZZ_CHECK(open_fds() == fds);
    return 0;
}
