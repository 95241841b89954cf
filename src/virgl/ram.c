/* SPDX-License-Identifier: MIT */
#include "virgl/ram.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "protocol/sys.h"

#define PAGE 4096u

/* A shared, writable mapping of a file. */
struct region {
    uint64_t start, end, offset;
    dev_t dev;
    ino_t ino;
};

struct regions {
    struct region *list; /* by rising address, as the kernel tells them */
    size_t n, cap;
};

static bool parse_region(const char *line, struct region *r)
{
    unsigned major, minor;
    uint64_t ino;
    char perms[5];

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &r->start, &r->end,
               perms, &r->offset, &major, &minor, &ino) != 7 ||
        strcmp(perms, "rw-s") || !ino)
        return false;
    r->dev = makedev(major, minor);
    r->ino = (ino_t)ino;
    return true;
}

static int read_regions(struct regions *all)
{
    int fd = vgr_sys_high(VGR_SYS_AGAIN(open("/proc/self/maps", O_RDONLY | O_CLOEXEC)));
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    struct region r;
    char *line = NULL;
    size_t size = 0;
    int err = 0;

    if (!f) {
        err = -errno;
        if (fd >= 0)
            close(fd);
        return err;
    }
    while (!err && getline(&line, &size, f) >= 0) {
        if (!parse_region(line, &r))
            continue;
        if (all->n == all->cap) {
            size_t cap = all->cap ? 2 * all->cap : 64;
            struct region *list = realloc(all->list, cap * sizeof(*list));

            if (!list) {
                err = -ENOMEM;
                break;
            }
            all->list = list;
            all->cap = cap;
        }
        all->list[all->n++] = r;
    }
    free(line);
    fclose(f);
    return err;
}

static const struct region *find_region(const struct regions *all, uint64_t address)
{
    size_t low = 0, high = all->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct region *r = &all->list[mid];

        if (address < r->start)
            high = mid;
        else if (address >= r->end)
            low = mid + 1;
        else
            return r;
    }
    return NULL;
}

/* Can pieces of 4 KiB of this file be mapped by another process, and is it the one? */
static bool is_file(int fd, dev_t dev, ino_t ino)
{
    struct statfs fs;
    struct stat st;

    return !fstat(fd, &st) && st.st_dev == dev && st.st_ino == ino && S_ISREG(st.st_mode) &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR && !fstatfs(fd, &fs) &&
           fs.f_type != HUGETLBFS_MAGIC;
}

/* A duplicate of this process's descriptor of a file. */
static int open_file(dev_t dev, ino_t ino)
{
    int list =
        vgr_sys_high(VGR_SYS_AGAIN(open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    DIR *dir = list < 0 ? NULL : fdopendir(list);
    struct dirent *d;
    int fd = -ENODEV;

    if (!dir) {
        fd = -errno;
        if (list >= 0)
            close(list);
        return fd;
    }
    while (fd < 0 && (d = readdir(dir))) {
        int n = atoi(d->d_name);

        if (d->d_name[0] == '.' || n == dirfd(dir) || !is_file(n, dev, ino))
            continue;
        fd = fcntl(n, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            fd = -errno;
        else if (!is_file(fd, dev, ino)) { /* another thread was quicker */
            close(fd);
            fd = -ENODEV;
        }
    }
    closedir(dir);
    return fd;
}

/* The files found so far, beside ram->files. */
struct known {
    dev_t dev;
    ino_t ino;
};

static int file_index(struct vgr_ram *ram, struct known *known, const struct region *r)
{
    int fd;

    for (unsigned i = 0; i < ram->n_files; i++) {
        if (known[i].dev == r->dev && known[i].ino == r->ino)
            return (int)i;
    }
    if (ram->n_files == VGR_BOOT_MAX_FILES)
        return -E2BIG;
    fd = open_file(r->dev, r->ino);
    if (fd < 0)
        return fd;
    known[ram->n_files] = (struct known){r->dev, r->ino};
    ram->files[ram->n_files] = fd;
    return (int)ram->n_files++;
}

static int append(struct vgr_ram *ram, unsigned *cap, int file, uint64_t offset, uint64_t length)
{
    if (ram->n_runs) {
        struct vgr_boot_run *last = &ram->runs[ram->n_runs - 1];

        if (last->file == (uint32_t)file && last->offset + last->length == offset) {
            last->length += length;
            return 0;
        }
    }
    if (ram->n_runs == *cap) {
        unsigned more = *cap ? 2 * *cap : 64;
        struct vgr_boot_run *runs = realloc(ram->runs, more * sizeof(*runs));

        if (!runs)
            return -ENOMEM;
        ram->runs = runs;
        *cap = more;
    }
    ram->runs[ram->n_runs++] =
        (struct vgr_boot_run){.file = (uint32_t)file, .offset = offset, .length = length};
    return 0;
}

static int find_runs(struct vgr_ram *ram, const struct regions *all, const struct iovec *iov,
                     unsigned n, uint64_t size)
{
    struct known known[VGR_BOOT_MAX_FILES] = {0};
    unsigned cap = 0;

    for (unsigned i = 0; i < n && ram->size < size; i++) {
        uint64_t at = (uintptr_t)iov[i].iov_base, len = iov[i].iov_len, end;

        if (len > size - ram->size)
            len = size - ram->size;
        if (at % PAGE || len % PAGE || __builtin_add_overflow(at, len, &end))
            return -EINVAL;
        while (at < end) {
            const struct region *r = find_region(all, at);
            uint64_t part;
            int file, err;

            if (!r)
                return -ENODEV;
            file = file_index(ram, known, r);
            if (file < 0)
                return file;
            part = (end < r->end ? end : r->end) - at;
            err = append(ram, &cap, file, r->offset + (at - r->start), part);
            if (err)
                return err;
            at += part;
        }
        ram->size += len;
    }
    return ram->size == size ? 0 : -EINVAL;
}

int vgr_ram_find(struct vgr_ram *ram, const struct iovec *iov, unsigned n, uint64_t size)
{
    struct regions all = {0};
    int err;

    memset(ram, 0, sizeof(*ram));
    if (!size || size % PAGE)
        return -EINVAL;
    err = read_regions(&all);
    if (!err)
        err = find_runs(ram, &all, iov, n, size);
    free(all.list);
    if (err)
        vgr_ram_free(ram);
    return err;
}

int vgr_ram_of_file(struct vgr_ram *ram, int fd, uint64_t size)
{
    int err;

    memset(ram, 0, sizeof(*ram));
    ram->runs = malloc(sizeof(*ram->runs));
    if (!ram->runs)
        return -ENOMEM;
    ram->files[0] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (ram->files[0] < 0) {
        err = -errno;
        vgr_ram_free(ram);
        return err;
    }
    ram->runs[0] = (struct vgr_boot_run){.length = size};
    ram->n_files = ram->n_runs = 1;
    ram->size = size;
    return 0;
}

void vgr_ram_free(struct vgr_ram *ram)
{
    for (unsigned i = 0; i < ram->n_files; i++)
        close(ram->files[i]);
    free(ram->runs);
    memset(ram, 0, sizeof(*ram));
}
