/* SPDX-License-Identifier: MIT
 *
 * worker_ram.c - attempts at the guest memory outside of the arena. The arena's runs are mappings of its
 * file, and the kernel has calls that make a mapping of a file reach further without a descriptor. All of
 * that memory holds ATTACK_SECRET.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile/worker.h"

#define PAGE ((size_t)4096)
#define HALF ((size_t)ATTACK_ARENA / 2) /* a run, see worker_fronts.c */
#define FAR  ((size_t)8 << 20)

/* Is the secret in these bytes? Those of the arena itself never hold it. */
static int look(void *arg)
{
    const uint64_t *at = arg;

    for (size_t i = 0; i < FAR / sizeof(*at); i += 8) {
        if (__atomic_load_n(&at[i], __ATOMIC_RELAXED) == ATTACK_SECRET)
            return 0;
    }
    return HARMLESS;
}

static int look_page(void *arg)
{
    const uint64_t *at = arg;

    return __atomic_load_n(at, __ATOMIC_RELAXED) == ATTACK_SECRET ? 0 : HARMLESS;
}

/* Writes what is there already: harm enough to show. */
static int overwrite(void *arg)
{
    uint64_t *at = arg;

    for (size_t i = 0; i < FAR / sizeof(*at); i += 8) {
        if (at[i] == ATTACK_SECRET) {
            __atomic_store_n(&at[i], ATTACK_SECRET, __ATOMIC_RELAXED);
            return 0;
        }
    }
    return HARMLESS;
}

/* Room for `size` bytes where nothing else lies. */
static void *room(size_t size)
{
    void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* One of the last pages of both runs, so that what is moved is not what the attack itself stands on. */
static int grow(size_t old, int flags, int (*use)(void *))
{
    static size_t used = 8 * PAGE;
    int err = ENOENT;

    used += PAGE;
    for (size_t run = 0; run < 2; run++) {
        uint8_t *last = scene.arena + (run + 1) * HALF - used;
        void *to = flags & MREMAP_FIXED ? room(FAR) : NULL;
        long p = attack_call(SYS_mremap, last, old, FAR, (long)flags, to);

        if (p == -1) {
            err = errno;
            continue;
        }
        err = attack_touch(use, (void *)p);
        if (!err)
            return 0;
    }
    return err;
}

static int grow_and_read(void)
{
    return grow(PAGE, MREMAP_MAYMOVE, look);
}

static int grow_and_write(void)
{
    return grow(PAGE, MREMAP_MAYMOVE, overwrite);
}

static int grow_to_a_place(void)
{
    return grow(PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, look);
}

static int double_and_grow(void)
{
    return grow(0, MREMAP_MAYMOVE, look);
}

/* In place, over the second run. That it grows is enough: what is there is the file's next bytes. */
static int grow_in_place(void)
{
    munmap(scene.arena + HALF, HALF);
    return attack_errno(
        attack_call(SYS_mremap, scene.arena + HALF - PAGE, PAGE, 64 * PAGE, 0L, 0L));
}

static int grow_quietly(void)
{
    long p = attack_call(SYS_mremap, scene.arena + HALF - 32 * PAGE, PAGE, PAGE,
                         (long)(MREMAP_MAYMOVE | MREMAP_DONTUNMAP), 0L);

    if (p == -1)
        return errno;
    p = attack_call(SYS_mremap, p, PAGE, FAR, (long)MREMAP_MAYMOVE, 0L);
    return p == -1 ? errno : attack_touch(look, (void *)p);
}

/* To whatever page of the file: each is tried in the place of the arena's last one. */
static int remap(int prot, int flags)
{
    uint8_t *last = scene.arena + ATTACK_ARENA - PAGE;
    int err = HARMLESS;

    for (long at = 0; at < (long)((16u << 20) / PAGE); at += 64) {
        if (attack_call(SYS_remap_file_pages, last, PAGE, (long)prot, at, (long)flags))
            return errno;
        err = attack_touch(look_page, last);
        if (!err)
            return 0;
    }
    return err;
}

static int remap_pages(void)
{
    return remap(0, 0);
}

static int remap_pages_nonblock(void)
{
    return remap(0, MAP_NONBLOCK);
}

/* Whatever else is open and is that file. */
static int look_for(dev_t dev, ino_t ino)
{
    for (int fd = 0; fd < 4096; fd++) {
        struct stat st;

        if (!fstat(fd, &st) && st.st_ino == ino && st.st_dev == dev)
            return 0;
    }
    return ENOENT;
}

static int find_descriptor(void)
{
    return look_for((dev_t)scene.page->ram_dev, (ino_t)scene.page->ram_ino);
}

static int find_own_descriptor(void)
{
    struct stat st;
    int fd = memfd_create("own", MFD_CLOEXEC);

    return fd < 0 || fstat(fd, &st) ? errno : look_for(st.st_dev, st.st_ino);
}

/* The kernel offers a link for each mapping of a file. */
static int open_mapping(void)
{
    unsigned long from = 0, to = 0, at = (unsigned long)scene.arena;
    char line[512], name[96];
    FILE *maps = fopen("/proc/self/maps", "re");
    uint64_t *p;
    int fd;

    while (maps && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= at && at < to)
            break;
    }
    if (maps)
        fclose(maps);
    snprintf(name, sizeof(name), "/proc/self/map_files/%lx-%lx", from, to);
    fd = open(name, O_RDWR);
    if (fd < 0)
        return errno;
    p = mmap(NULL, 16u << 20, PROT_READ, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? errno : attack_touch(look, (uint8_t *)p + FAR);
}

static int open_in_monitor(void)
{
    char name[64];
    int err = ENOENT;

    for (int fd = 3; fd < 64; fd++) {
        snprintf(name, sizeof(name), "/proc/%d/fd/%d", scene.page->monitor, fd);
        if (open(name, O_RDWR) >= 0)
            return 0;
        if (errno != ENOENT)
            err = errno;
    }
    return err;
}

static int open_in_front(void)
{
    char name[64];

    snprintf(name, sizeof(name), "/proc/%d/fd", scene.page->front);
    return attack_errno(open(name, O_RDONLY | O_DIRECTORY));
}

/* A hole where others have data. On its own pages it takes what is its own. */
static int punch(void)
{
    if (madvise(scene.arena + ATTACK_ARENA - PAGE, PAGE, MADV_REMOVE))
        return errno;
    return HARMLESS;
}

static int punch_beyond(void)
{
    /* Behind the last run there is no mapping of that file: the kernel must not follow the file. */
    return madvise(scene.arena + ATTACK_ARENA, PAGE, MADV_REMOVE) ? errno : HARMLESS;
}

static int punch_own(void)
{
    int fd = memfd_create("own", MFD_CLOEXEC);
    uint8_t *p;

    if (ftruncate(fd, (off_t)PAGE))
        return errno;
    p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    p[0] = 1;
    if (madvise(p, PAGE, MADV_REMOVE))
        return errno;
    return p[0] ? HARMLESS : 0;
}

static int populate_beyond(void)
{
    return madvise(scene.arena + ATTACK_ARENA, FAR, MADV_POPULATE_READ) ? errno : HARMLESS;
}

/* An exchange of a mapping for another place, by the kernel's own hand. */
static int fault_by_hand(void)
{
    return attack_errno(attack_call(SYS_userfaultfd, (long)O_CLOEXEC));
}

static int copy_by_pipe(void)
{
    struct {
        void *base;
        size_t len;
    } v = {scene.arena + ATTACK_ARENA, PAGE};
    int p[2];

    if (pipe(p))
        return errno;
    return attack_call(SYS_vmsplice, (long)p[1], &v, 1L, 0L) < 0 ? errno : HARMLESS;
}

static const char own[] = "only pages that are the context's own are touched";

static const struct attempt list[] = {
    {"mremap makes a run grow: read", grow_and_read, 0, NULL, NULL, 0},
    {"mremap makes a run grow: write", grow_and_write, 0, NULL, NULL, 0},
    {"mremap makes a run grow in a chosen place", grow_to_a_place, 0, NULL, NULL, 0},
    {"mremap doubles a run (old size 0) and grows", double_and_grow, 0, NULL, NULL, 0},
    {"mremap makes a run grow in place", grow_in_place, ALONE, NULL, NULL, 0},
    {"mremap copies a run (DONTUNMAP), then it grows", grow_quietly, 0, NULL, NULL, 0},
    {"remap_file_pages to another page of the file", remap_pages, 0, NULL, NULL, 0},
    {"remap_file_pages, without reading it in", remap_pages_nonblock, 0, NULL, NULL, 0},
    {"a descriptor of guest memory that was left open", find_descriptor, 0, NULL,
     find_own_descriptor, 0},
    {"/proc/self/map_files of the arena", open_mapping, 0, NULL, NULL, 0},
    {"guest memory through the monitor's /proc/PID/fd", open_in_monitor, 0, NULL, NULL, 1},
    {"the list of the front's descriptors", open_in_front, 0, NULL, NULL, 1},
    {"MADV_REMOVE on the arena", punch, MAY_HARMLESS, own, punch_own, 0},
    {"MADV_REMOVE behind the arena", punch_beyond, MAY_HARMLESS, own, punch_own, 0},
    {"MADV_POPULATE_READ behind the arena", populate_beyond, MAY_HARMLESS, own, punch_own, 0},
    {"userfaultfd", fault_by_hand, 0, NULL, NULL, 0},
    {"vmsplice of what lies behind the arena", copy_by_pipe, MAY_HARMLESS, own, punch_own, 0},
};
ATTEMPTS(attack_ram, "guest RAM", list);
