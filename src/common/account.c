/* SPDX-License-Identifier: MIT */
#include "common/account.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/sys.h"

/* A wish stands for a microsecond, or as long as the front takes to reap whose it was. */
#define NAP_NS 1000000
#define NAPS   1000

static int open_to_read(int fd)
{
    char path[32];
    int read_fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_fd = VGR_SYS_AGAIN(open(path, O_RDONLY | O_CLOEXEC));
    return read_fd < 0 ? -errno : read_fd;
}

int vgr_account_create(struct vgr_account *a)
{
    size_t size = sizeof(*a->pages);
    void *p = MAP_FAILED;
    int err;

    *a = (struct vgr_account){.fd = -1, .read_fd = -1};
    a->fd = vgr_sys_memfd("vgr-account", MFD_CLOEXEC | MFD_ALLOW_SEALING, size, 0);
    if (a->fd < 0)
        return a->fd;
    /* By its mode, who has read_fd cannot open it once more to write. */
    if (fchmod(a->fd, S_IRUSR) ||
        fcntl(a->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        err = -errno;
        goto fail;
    }
    err = a->read_fd = open_to_read(a->fd);
    if (err < 0)
        goto fail;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
    if (p == MAP_FAILED) {
        err = -errno;
        goto fail;
    }
    a->pages = p;
    return 0;
fail:
    if (a->read_fd >= 0)
        close(a->read_fd);
    close(a->fd);
    return err;
}

void vgr_account_destroy(struct vgr_account *a)
{
    if (!a->pages)
        return;
    munmap(a->pages, sizeof(*a->pages));
    close(a->read_fd);
    close(a->fd);
    a->pages = NULL;
}

/* All of one order, or two that take at the same time could miss each other's wishes. */
static void set(uint64_t *p, uint64_t value)
{
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}

static uint64_t get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

void vgr_account_use(struct vgr_account *a, uint32_t slot)
{
    if (slot >= a->pages->used)
        __atomic_store_n(&a->pages->used, slot + 1, __ATOMIC_SEQ_CST);
}

void vgr_account_clear(struct vgr_account *a, uint32_t slot)
{
    set(&a->pages->slot[slot].wish, 0);
    set(&a->pages->slot[slot].held, 0);
}

/* From now on the mapping can neither be made writable, nor grow or move. An older kernel does not know
 * the call; what holds there is said in the header. */
static void seal(void *p, size_t size)
{
#ifdef SYS_mseal
    syscall(SYS_mseal, p, size, 0UL);
#else
    (void)p;
    (void)size;
#endif
}

int vgr_account_join(struct vgr_account_share *s, int read_fd, int fd, uint32_t slot,
                     uint64_t limit, uint64_t each)
{
    size_t at = offsetof(struct vgr_account_pages, slot) + slot * sizeof(*s->own);
    void *all, *own;
    int err;

    *s = (struct vgr_account_share){
        .slot = slot,
        .limit = limit,
        .most = each && each < limit ? each : limit,
    };
    if (slot >= VGR_ACCOUNT_SLOTS)
        return -EINVAL;
    all = mmap(NULL, sizeof(*s->all), PROT_READ, MAP_SHARED, read_fd, 0);
    if (all == MAP_FAILED)
        return -errno;
    own = mmap(NULL, sizeof(*s->own), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
    if (own == MAP_FAILED) {
        err = -errno;
        munmap(all, sizeof(*s->all));
        return err;
    }
    seal(all, sizeof(*s->all));
    seal(own, sizeof(*s->own));
    s->all = all;
    s->own = own;
    return 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return __builtin_add_overflow(a, b, &a) ? UINT64_MAX : a;
}

/* What slot `i` is believed to have, if it says `bytes`. */
static uint64_t believed(const struct vgr_account_share *s, uint32_t i, uint64_t bytes)
{
    return s->limit && i != s->slot && bytes > s->most ? s->most : bytes;
}

struct view {
    uint64_t held;
    uint64_t claimed; /* held or wished for */
    bool earlier;     /* a slot below ours has a wish */
};

static struct view look(const struct vgr_account_share *s)
{
    uint32_t used = __atomic_load_n(&s->all->used, __ATOMIC_SEQ_CST);
    struct view v = {0};

    for (uint32_t i = 0; i < used && i < VGR_ACCOUNT_SLOTS; i++) {
        /* In this order: what a wish has become is missed by nobody. */
        uint64_t wish = get(&s->all->slot[i].wish);
        uint64_t held = get(&s->all->slot[i].held);

        v.held = add(v.held, believed(s, i, held));
        v.claimed = add(v.claimed, believed(s, i, add(held, wish)));
        v.earlier |= wish && i < s->slot;
    }
    return v;
}

uint64_t vgr_account_sum(const struct vgr_account_share *s)
{
    return look(s).held;
}

static bool fits(const struct vgr_account_share *s, uint64_t held, uint64_t bytes)
{
    return held <= s->limit && bytes <= s->limit - held;
}

enum answer { YES, NO, LATER };

/* Our wish stands before this and, unless it says LATER, after it. */
static enum answer ask(const struct vgr_account_share *s, uint64_t bytes, bool *withdraw)
{
    struct view v = look(s);
    uint64_t before = v.held;

    if (v.claimed <= s->limit)
        return YES;
    if (!fits(s, v.held, bytes)) {
        /* One look may count what one gave back and another took since. */
        v = look(s);
        if (v.held == before)
            return NO;
    }
    *withdraw = v.earlier;
    return LATER;
}

bool vgr_account_take(struct vgr_account_share *s, uint64_t bytes)
{
    uint64_t held = get(&s->own->held);
    enum answer answer = LATER;

    if (s->limit && bytes > s->limit)
        return false;
    for (int i = 0; s->limit && i < NAPS; i++) {
        bool withdraw = false;

        set(&s->own->wish, bytes);
        answer = ask(s, bytes, &withdraw);
        if (answer != LATER)
            break;
        if (withdraw)
            set(&s->own->wish, 0);
        vgr_sys_nap(NAP_NS);
    }
    if (!s->limit || answer == YES)
        set(&s->own->held, held + bytes);
    set(&s->own->wish, 0);
    return !s->limit || answer == YES;
}

void vgr_account_give(struct vgr_account_share *s, uint64_t bytes)
{
    set(&s->own->held, get(&s->own->held) - bytes);
}
