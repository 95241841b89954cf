/* SPDX-License-Identifier: MIT
 *
 * worker_pages.c - attempts with the pages that it shares: its counters, which the front reads, the account
 * of device memory, which all workers of a front write, and the arena, which it shares with its guest. It may
 * write them; nobody may come to harm by what they say. And what the kernel offers on shared memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/account.h"
#include "hostile/worker.h"
#include "protocol/wire.h"
#include "worker/counts.h"

#define PAGE ((size_t)4096)

/* Where a mapping with this in its name lies that has these rights ("rw-s"), by /proc/self/maps. */
static void *mapping(const char *name, const char *rights, size_t *size)
{
    unsigned long from, to;
    char line[512];
    void *found = NULL;
    FILE *f = fopen("/proc/self/maps", "re");

    while (f && !found && fgets(line, sizeof(line), f)) {
        if (strstr(line, name) && strstr(line, rights) &&
            sscanf(line, "%lx-%lx", &from, &to) == 2) {
            found = (void *)from;
            *size = to - from;
        }
    }
    if (f)
        fclose(f);
    return found;
}

static void *counts(size_t *size)
{
    return mapping("vgr-counts", "rw-s", size);
}

/* The page of its own slot. */
static void *account(size_t *size)
{
    return mapping("vgr-account", "rw-s", size);
}

/* All slots are there to be read. */
static int others_writable(void)
{
    size_t size = 0;
    void *p = mapping("vgr-account", "r--s", &size);

    if (!p)
        return ENOENT;
    if (mprotect(p, size, PROT_READ | PROT_WRITE))
        return errno;
    memset(p, 0xff, size);
    return 0;
}

static int own_writable(void)
{
    char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return mprotect(p, PAGE, PROT_READ | PROT_WRITE) ? errno : 0;
}

static int filled(void *p, size_t size, int byte)
{
    if (!p)
        return ENOENT;
    memset(p, byte, size);
    return attack_ask(ASK_FRONT);
}

static int counts_of(int byte)
{
    size_t size = 0;
    void *p = counts(&size);

    return filled(p, size, byte);
}

static int counts_ones(void)
{
    return counts_of(0xff);
}

static int counts_zero(void)
{
    return counts_of(0);
}

static int counts_text(void)
{
    return counts_of('\n');
}

static int counts_escapes(void)
{
    return counts_of(27);
}

static int counts_random(void)
{
    size_t size = 0;
    uint32_t *p = counts(&size), x = 1;

    for (size_t i = 0; p && i < size / sizeof(*p); i++)
        p[i] = x = x * 1664525u + 1013904223u;
    return p ? attack_ask(ASK_FRONT) : ENOENT;
}

static int account_of(int byte)
{
    size_t size = 0;
    void *p = account(&size);
    int answer;
    char *copy = p ? malloc(size) : NULL;

    if (!copy)
        return ENOENT;
    memcpy(copy, p, size);
    memset(p, byte, size);
    answer = attack_ask(ASK_OPEN);
    memcpy(p, copy, size);
    free(copy);
    return answer;
}

static int account_full(void)
{
    return account_of(0xff);
}

static int account_zero(void)
{
    return account_of(0);
}

static int account_half(void)
{
    return account_of(0x7f);
}

static int control_page(void)
{
    struct vgr_control *ctl = (struct vgr_control *)scene.arena;
    struct vgr_control before = *ctl;
    int answer;

    memset((char *)ctl + sizeof(ctl->hello), 0xff,
           offsetof(struct vgr_control, state) - sizeof(ctl->hello));
    answer = attack_ask(ASK_FRONT);
    *ctl = before;
    return answer;
}

static int error_text(void)
{
    struct vgr_control *ctl = (struct vgr_control *)scene.arena;
    int answer;

    memset(ctl->error_text, 27, sizeof(ctl->error_text)); /* without an end */
    answer = attack_ask(ASK_FRONT);
    memset(ctl->error_text, 0, sizeof(ctl->error_text));
    return answer;
}

/* ---- The kernel's means ---- */

static int read_word(void *at)
{
    return *(volatile uint64_t *)at == 0 ? HARMLESS : HARMLESS;
}

static int grown(void *(*which)(size_t *))
{
    size_t size = 0;
    void *p = which(&size);
    long more;

    if (!p)
        return ENOENT;
    more = attack_call(SYS_mremap, p, size, size + (1u << 20), (long)MREMAP_MAYMOVE, 0L);
    if (more == -1)
        return errno;
    return attack_touch(read_word, (char *)more + size); /* there is no more of the file */
}

static int counts_grown(void)
{
    return grown(counts);
}

static int account_grown(void)
{
    return grown(account);
}

static int grown_own(void)
{
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long more = attack_call(SYS_mremap, p, PAGE, 2 * PAGE, (long)MREMAP_MAYMOVE, 0L);

    return more == -1                                               ? errno
           : attack_touch(read_word, (char *)more + PAGE) == EFAULT ? 0
                                                                    : HARMLESS;
}

static int hole(void *(*which)(size_t *), enum attack_ask ask)
{
    size_t size = 0;
    void *p = which(&size);

    if (!p)
        return ENOENT;
    if (madvise(p, size, MADV_REMOVE))
        return errno;
    return attack_ask(ask);
}

static int counts_hole(void)
{
    return hole(counts, ASK_FRONT);
}

static int account_hole(void)
{
    return hole(account, ASK_OPEN);
}

static int advise(int advice)
{
    return madvise(scene.arena, ATTACK_ARENA, advice) ? errno : attack_ask(ASK_FRONT);
}

static int huge_pages(void)
{
    return advise(MADV_HUGEPAGE);
}

static int paged_out(void)
{
    return advise(MADV_PAGEOUT);
}

static int merged(void)
{
    return advise(MADV_MERGEABLE);
}

/* A page that the kernel is told is broken is taken from everybody who maps it. */
static int broken_page(void)
{
    return attack_errno(madvise(scene.arena + ATTACK_ARENA - PAGE, PAGE, 100 /* MADV_HWPOISON */));
}

static int offline_page(void)
{
    return attack_errno(
        madvise(scene.arena + ATTACK_ARENA - PAGE, PAGE, 101 /* MADV_SOFT_OFFLINE */));
}

static int broken_shown(void)
{
    return 0; /* it would cost this machine a page */
}

static int locked(void)
{
    return mlock(scene.arena, ATTACK_ARENA) ? errno : attack_ask(ASK_FRONT);
}

static int executable(void)
{
    return mprotect(scene.arena + ATTACK_ARENA - PAGE, PAGE, PROT_READ | PROT_EXEC) ? errno
                                                                                    : HARMLESS;
}

static int seals(void)
{
    for (int fd = 0; fd < 64; fd++) {
        char name[32], to[64] = "";

        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        (void)!readlink(name, to, sizeof(to) - 1);
        /* Mesa has some of its own. */
        if ((strstr(to, "memfd:vgr") || strstr(to, "memfd:ram")) &&
            !attack_call(SYS_fcntl, (long)fd, 1033L /* F_ADD_SEALS */, 8L))
            return 0;
    }
    return ENOENT; /* no memfd was left open */
}

static int seals_own(void)
{
    return memfd_create("vgr-own", MFD_ALLOW_SEALING) < 0 ? errno : seals();
}

static int policy_of_pages(void)
{
    unsigned long nodes = 1;

    /* It would be the policy of the VM's memory, and outlive the worker. */
    return attack_errno(
        attack_call(SYS_mbind, scene.arena, (long)ATTACK_ARENA, 2L /* BIND */, &nodes, 64L, 0L));
}

static int policy_set(void)
{
    int err = policy_of_pages();

    return err == ENOSYS ? 0 : err;
}

static int all_gone(void)
{
    munmap(scene.arena + ATTACK_ARENA / 2 + (1u << 20), ATTACK_ARENA / 2 - (1u << 20));
    return attack_ask(ASK_FRONT);
}

static const char reads[] = "the front reads it as what it is: anything";
static const char limits[] = "no more than an honest program could have taken is believed";
static const char pages[] = "the pages stay what they are for everybody else";

static const struct attempt list[] = {
    {"counters: all ones", counts_ones, MAY_HARMLESS, reads, grown_own, 0},
    {"counters: zero again", counts_zero, MAY_HARMLESS, reads, grown_own, 0},
    {"counters and names: new lines", counts_text, MAY_HARMLESS, reads, grown_own, 0},
    {"counters and names: escapes", counts_escapes, MAY_HARMLESS, reads, grown_own, 0},
    {"counters: random", counts_random, MAY_HARMLESS, reads, grown_own, 0},
    {"the account: all ones", account_full, MAY_HARMLESS, limits, grown_own, 0},
    {"the account: zero", account_zero, MAY_HARMLESS, limits, grown_own, 0},
    {"the account: nearly full", account_half, MAY_HARMLESS, limits, grown_own, 0},
    {"the account: the slots of others", others_writable, 0, NULL, own_writable, 0},
    {"the control page: all ones", control_page, MAY_HARMLESS, reads, grown_own, 0},
    {"the control page: a text without an end", error_text, MAY_HARMLESS, reads, grown_own, 0},
    {"mremap: more of the counters' file", counts_grown, 0, NULL, grown_own, 0},
    {"mremap: more of the account's file", account_grown, 0, NULL, grown_own, 0},
    {"MADV_REMOVE on the counters", counts_hole, MAY_HARMLESS, reads, grown_own, 0},
    {"MADV_REMOVE on the account", account_hole, MAY_HARMLESS, limits, grown_own, 0},
    {"MADV_HUGEPAGE on the arena", huge_pages, MAY_HARMLESS, pages, grown_own, 0},
    {"MADV_PAGEOUT on the arena", paged_out, MAY_HARMLESS, pages, grown_own, 0},
    {"MADV_MERGEABLE on the arena", merged, MAY_HARMLESS, pages, grown_own, 0},
    {"MADV_HWPOISON on the arena", broken_page, 0, NULL, broken_shown, 0},
    {"MADV_SOFT_OFFLINE on the arena", offline_page, 0, NULL, broken_shown, 0},
    {"mlock of the arena", locked, MAY_HARMLESS, pages, grown_own, 0},
    {"mbind of the arena's pages", policy_of_pages, 0, NULL, policy_set, 0},
    {"machine code in the arena", executable, MAY_HARMLESS, "it runs in this worker only",
     grown_own, 0},
    {"seals on a shared file that was left open", seals, 0, NULL, seals_own, 0},
    {"a part of the arena unmapped", all_gone, MAY_HARMLESS | ALONE, "its own mapping", grown_own,
     0},
};
ATTEMPTS(attack_pages, "shared pages", list);
