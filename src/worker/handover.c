/* SPDX-License-Identifier: MIT */
#include "worker/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/fds.h"
#include "protocol/sys.h"

#define PAGE 4096u

static_assert(VGR_BROKER_MAX_FDS <= VGR_FDS_MAX, "fits into a message");

/* ---- Kinds of descriptors. None of these asks a file system, before it is known to be tmpfs. ---- */

/* A stream socket of this machine, whose other end is the client's: connected to a service of the host's, the
 * bytes there would come from us, with our credentials. */
static bool is_line(int fd, int conn)
{
    struct ucred client, other;
    int domain, type;
    socklen_t len = sizeof(int), cred = sizeof(client);

    return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX &&
           !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM &&
           !getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &client, &cred) &&
           !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &cred) && client.pid == other.pid &&
           client.uid == other.uid;
}

/* A file of tmpfs, of plain pages: huge ones could not be mapped by 4 KiB runs. Only tmpfs and hugetlbfs
 * know seals, so the first question tells a file of another kind without asking it anything. Returns the
 * seals, or -1. */
static int memory_file(int fd, uint64_t *size)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;
    struct stat st;

    if (seals < 0 || fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC || fstat(fd, &st) ||
        !S_ISREG(st.st_mode))
        return -1;
    *size = (uint64_t)st.st_size;
    return seals;
}

/* ---- Arenas ---- */

static bool make_runs(struct vgr_handover *h, uint32_t n)
{
    h->runs = calloc(n, sizeof(*h->runs));
    h->n_runs = h->runs ? n : 0;
    return h->runs;
}

/* A sealed memfd, and the line. */
static const char *check_direct(struct vgr_handover *h, int conn, uint64_t size)
{
    uint64_t file_size;
    int seals;

    if (h->n_fds != VGR_DIRECT_NFDS)
        return "not two descriptors";
    h->line = h->fds[1];
    if (!is_line(h->line, conn))
        return "the line is not a stream socket of the client's own";
    seals = memory_file(h->fds[0], &file_size);
    if (seals < 0)
        return "the arena is not a memfd";
    if (!(seals & F_SEAL_SHRINK))
        return "the arena's memfd is not sealed against shrinking";
    if (file_size < size)
        return "the arena's memfd is smaller than the arena";
    if (!make_runs(h, 1))
        return "no memory";
    h->runs[0].length = size;
    h->files = h->fds;
    h->n_files = 1;
    return NULL;
}

static const char *check_runs(const struct vgr_handover *h, const uint64_t *file_sizes,
                              uint64_t size)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < h->n_runs; i++) {
        const struct vgr_boot_run *r = &h->runs[i];
        uint64_t end;

        /* NOLINTNEXTLINE(clang-analyzer-security.ArrayBound): make_runs() made room for n_runs. */
        if (r->file >= h->n_files || !r->length || r->offset % PAGE || r->length % PAGE ||
            __builtin_add_overflow(r->offset, r->length, &end) || end > file_sizes[r->file] ||
            __builtin_add_overflow(sum, r->length, &sum))
            return "a run is not in its file";
    }
    if (sum != size || h->runs[0].length < VGR_CONTROL_SIZE)
        return "its runs do not make the arena";
    return NULL;
}

/* The list of runs, and the files of the arena. The monitor goes on using these files: they
 * cannot be sealed, and whether they shrink is up to it, as for its guest. */
static const char *check_broker(struct vgr_handover *h, const struct vgr_broker_open *open)
{
    uint64_t sizes[VGR_BOOT_MAX_FILES], list_size;

    if (!open->n_files || open->n_files > VGR_BOOT_MAX_FILES ||
        h->n_fds != VGR_BROKER_NFDS + open->n_files)
        return "its descriptors are not as many as it says";
    if (!open->n_runs || open->n_runs > VGR_BOOT_MAX_RUNS)
        return "its number of runs is impossible";
    h->n_files = open->n_files;
    h->files = &h->fds[VGR_BROKER_NFDS];
    for (uint32_t i = 0; i < h->n_files; i++) {
        if (memory_file(h->files[i], &sizes[i]) < 0 ||
            (fcntl(h->files[i], F_GETFL) & O_ACCMODE) != O_RDWR)
            return "a file of the arena's is not one of tmpfs that can be written";
    }
    if (memory_file(h->fds[0], &list_size) < 0)
        return "the list of runs is not a memfd";
    if (!make_runs(h, open->n_runs))
        return "no memory";
    if (vgr_sys_pread(h->fds[0], h->runs, open->n_runs * sizeof(*h->runs), 0))
        return "the list of runs is too short";
    return check_runs(h, sizes, open->size);
}

/* ---- The message ---- */

const char *vgr_handover_receive(struct vgr_handover *h, int conn, const struct vgr_boot *boot)
{
    union {
        struct vgr_submit direct;
        struct vgr_broker_open broker;
    } m;
    size_t want = boot->client == VGR_BOOT_BROKER ? sizeof(m.broker) : sizeof(m.direct);
    int flags = MSG_DONTWAIT;
    ssize_t n = vgr_fds_receive(conn, &m, want, h->fds, VGR_BROKER_MAX_FDS, &h->n_fds, &flags);

    h->line = -1;
    /* The front has seen the same bytes and said what is wrong with them. */
    if (n != (ssize_t)want)
        return "its message is malformed";
    if (flags & MSG_CTRUNC)
        return "too many descriptors, or no room for them";
    if (boot->client == VGR_BOOT_BROKER)
        return m.broker.size != boot->arena_size ? "its message is malformed"
                                                 : check_broker(h, &m.broker);
    return check_direct(h, conn, boot->arena_size);
}

void vgr_handover_refuse(int conn, const char *why)
{
    struct vgr_notice notice = {.magic = VGR_MAGIC, .error = VGR_ERROR_ARENA};

    snprintf(notice.text, sizeof(notice.text), "the host does not take the arena: %s", why);
    if (VGR_SYS_AGAIN(send(conn, &notice, sizeof(notice), MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
        /* The client has gone, or does not read. */
    }
}

void vgr_handover_free(struct vgr_handover *h)
{
    for (unsigned i = 0; i < h->n_fds; i++)
        close(h->fds[i]);
    free(h->runs);
    memset(h, 0, sizeof(*h));
}
