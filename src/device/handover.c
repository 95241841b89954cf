/* SPDX-License-Identifier: MIT */
#include "device/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/fds.h"
#include "device/control.h"

#define PAGE 4096u

static_assert(VGR_BROKER_MAX_FDS <= VGR_FDS_MAX, "fits into a message");

/* ---- Descriptors ---- */

ssize_t vgr_handover_receive(struct vgr_handover *h, int conn, void *buf, size_t size, bool *cut)
{
    int flags = MSG_DONTWAIT;
    ssize_t n = vgr_fds_receive(conn, buf, size, h->fds, VGR_BROKER_MAX_FDS, &h->n_fds, &flags);

    if (n >= 0)
        *cut = flags & (MSG_TRUNC | MSG_CTRUNC);
    return n;
}

static bool is_eventfd(int fd)
{
    char link[48], target[32];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return !strcmp(target, "anon_inode:[eventfd]");
}

static bool has_events(const struct vgr_handover *h)
{
    return is_eventfd(h->fds[VGR_HANDOVER_DOORBELL]) && is_eventfd(h->fds[VGR_HANDOVER_WAKEUP]);
}

/* ---- Arenas ---- */

static bool make_runs(struct vgr_handover *h, unsigned n)
{
    h->runs = calloc(n, sizeof(*h->runs));
    h->arena.runs = h->runs;
    h->arena.n_runs = h->runs ? n : 0;
    return h->runs;
}

/* A memfd of plain pages: huge ones could not be mapped by 4 KiB runs. */
static const char *check_memfd(int fd, uint64_t size)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;
    struct stat st;

    if (seals < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
        return "the arena is not a memfd";
    if (!(seals & F_SEAL_SHRINK))
        return "the arena's memfd is not sealed against shrinking";
    if ((uint64_t)st.st_size < size)
        return "the arena's memfd is smaller than the arena";
    return NULL;
}

const char *vgr_handover_direct(struct vgr_handover *h, uint64_t size)
{
    const char *why;

    if (h->n_fds != VGR_DIRECT_NFDS)
        return "not three descriptors";
    if (!has_events(h))
        return "doorbell or wake-up is not an eventfd";
    why = check_memfd(h->fds[0], size < VGR_CONTROL_SIZE ? VGR_CONTROL_SIZE : size);
    if (why)
        return why;
    if (!make_runs(h, 1))
        return "no memory";
    h->runs[0] = (struct vgr_boot_run){.length = size};
    h->arena.files[0] = h->fds[0];
    h->arena.n_files = 1;
    h->arena.size = size;
    return NULL;
}

static int read_all(int fd, void *buf, size_t len)
{
    char *p = buf;
    off_t at = 0;

    while (len) {
        ssize_t n = pread(fd, p, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EIO;
        p += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static const char *check_runs(const struct vgr_handover *h, const uint64_t *file_sizes)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < h->arena.n_runs; i++) {
        const struct vgr_boot_run *r = &h->runs[i];
        uint64_t end;

        /* NOLINTNEXTLINE(clang-analyzer-security.ArrayBound): make_runs() made room for n_runs. */
        if (r->file >= h->arena.n_files || !r->length || r->offset % PAGE || r->length % PAGE ||
            __builtin_add_overflow(r->offset, r->length, &end) || end > file_sizes[r->file] ||
            __builtin_add_overflow(sum, r->length, &sum))
            return "a run is not in its file";
    }
    if (sum != h->arena.size || h->runs[0].length < VGR_CONTROL_SIZE)
        return "its runs do not make the arena";
    return NULL;
}

const char *vgr_handover_broker(struct vgr_handover *h, const struct vgr_broker_open *open)
{
    uint64_t sizes[VGR_BOOT_MAX_FILES];

    if (open->magic != VGR_BROKER_MAGIC || open->version != VGR_BROKER_VERSION)
        return "it speaks another version";
    if (!open->n_files || open->n_files > VGR_BOOT_MAX_FILES ||
        h->n_fds != VGR_BROKER_NFDS + open->n_files)
        return "its descriptors are not as many as it says";
    if (!open->n_runs || open->n_runs > VGR_BOOT_MAX_RUNS)
        return "its number of runs is impossible";
    if (!has_events(h))
        return "doorbell or wake-up is not an eventfd";
    h->arena.size = open->size;
    h->arena.n_files = open->n_files;
    for (unsigned i = 0; i < open->n_files; i++) {
        int fd = h->fds[VGR_BROKER_NFDS + i];
        struct statfs fs;
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fstatfs(fd, &fs) < 0 ||
            fs.f_type == HUGETLBFS_MAGIC || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
            return "a file of the arena's is not one of ordinary pages";
        sizes[i] = (uint64_t)st.st_size;
        h->arena.files[i] = fd;
    }
    if (!make_runs(h, open->n_runs))
        return "no memory";
    if (read_all(h->fds[0], h->runs, open->n_runs * sizeof(*h->runs)))
        return "the list of runs is too short";
    return check_runs(h, sizes);
}

/* ---- The control page ---- */

void vgr_handover_fail(const struct vgr_handover *h, enum vgr_error error, const char *text)
{
    const struct vgr_boot_run *first = &h->runs[0];
    int wakeup = h->fds[VGR_HANDOVER_WAKEUP];
    int flags = fcntl(wakeup, F_GETFL);

    vgr_control_fail_file(h->arena.files[first->file], first->offset, error, text);
    /* The client may have filled its eventfd's counter: never block on it. */
    if (flags >= 0 && !fcntl(wakeup, F_SETFL, flags | O_NONBLOCK))
        vgr_event_signal(wakeup);
}

void vgr_handover_free(struct vgr_handover *h)
{
    for (unsigned i = 0; i < h->n_fds; i++)
        close(h->fds[i]);
    free(h->runs);
    memset(h, 0, sizeof(*h));
}
