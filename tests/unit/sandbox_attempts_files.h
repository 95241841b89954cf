/* SPDX-License-Identifier: MIT
 *
 * sandbox_attempts_files.h - attempts on files. Part of sandbox_attempts.h.
 */
#ifndef VGR_SANDBOX_ATTEMPTS_FILES_H
#define VGR_SANDBOX_ATTEMPTS_FILES_H

#include <sys/file.h>

#include "sandbox_attempts.h"

static int read_shadow(void)
{
    return try_open("/etc/shadow", O_RDONLY);
}

static int read_tmp(void)
{
    return try_open(f.file, O_RDONLY);
}

static int write_tmp(void)
{
    return try_open(f.file, O_WRONLY);
}

static int truncate_tmp(void)
{
    return to_errno(truncate(f.file, 0));
}

static int create_tmp(void)
{
    return try_open(f.new_file, O_WRONLY | O_CREAT | O_EXCL);
}

static int remove_tmp(void)
{
    return to_errno(unlink(f.new_file));
}

static int make_folder(void)
{
    return to_errno(mkdir(f.new_file, 0700));
}

/* What lies beside a PCI device's `resource0`, by which its memory can be mapped. A machine without PCI has
 * other devices. */
static int read_pci_device(void)
{
    glob_t found = {0};
    int ret = -1;

    glob("/sys/devices/pci*/*/resource", 0, NULL, &found);
    glob("/sys/devices/platform/*/uevent", GLOB_APPEND, NULL, &found);
    if (found.gl_pathc)
        ret = try_open(found.gl_pathv[0], O_RDONLY);
    globfree(&found);
    return ret;
}

static int list_root(void)
{
    return try_open("/", O_RDONLY | O_DIRECTORY);
}

static int read_checkout(void)
{
    return try_open(VGR_SOURCE_FILE, O_RDONLY);
}

static int write_checkout(void)
{
    return try_open(VGR_SOURCE_FILE, O_WRONLY);
}

static int other_process(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)f.parent, name);
    return try_open(path, O_RDONLY);
}

static int read_front_memory(void)
{
    return other_process("mem");
}

static int read_front_environment(void)
{
    return other_process("environ");
}

static int read_init_memory(void)
{
    return try_open("/proc/1/mem", O_RDONLY);
}

static int map_guest_ram(void)
{
    char name[32];

    close(f.guest_ram); /* as the worker did */
    snprintf(name, sizeof(name), "fd/%d", f.guest_ram);
    return other_process(name);
}

static int fetch_guest_ram(void)
{
    return to_errno(syscall(SYS_pidfd_getfd, f.front, f.guest_ram, 0));
}

static int change_owner(void)
{
    return to_errno(chmod(f.file, 0644));
}

static int type_on_terminal(void)
{
    return to_errno(ioctl(f.tty, TIOCSTI, "x"));
}

static int type_on_terminal_wide(void)
{
    return to_errno(syscall(SYS_ioctl, f.tty, TIOCSTI | 1ul << 32, "x"));
}

static int use_handle(void)
{
    return to_errno(syscall(SYS_open_by_handle_at, -1, NULL, 0)) == EFAULT ? 0 : errno;
}

static int mount_something(void)
{
    return to_errno(mount("none", f.folder, "tmpfs", 0, NULL));
}

static int link_tmp(void)
{
    return to_errno(link(f.file, f.new_file));
}

static int symlink_tmp(void)
{
    return to_errno(symlink("file", f.new_file));
}

static int node_in_tmp(void)
{
    return to_errno(mknod(f.new_file, S_IFIFO | 0600, 0));
}

static int change_time(void)
{
    return to_errno(utimensat(AT_FDCWD, f.file, NULL, 0));
}

static int change_attribute(void)
{
    int err = to_errno(syscall(SYS_setxattr, f.file, "user.vgr", "x", 1, 0));

    return err == EOPNOTSUPP ? 0 : err; /* the file system's answer */
}

static int watch_files(void)
{
    return to_errno(inotify_init1(0));
}

static int write_to(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    return fd < 0 ? errno : to_errno(write(fd, text, strlen(text)));
}

static int lower_oom(void)
{
    return write_to("/proc/self/oom_score_adj", "0");
}

static int lower_oom_by_thread(void)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/task/%d/oom_score_adj", (int)getpid());
    return write_to(path, "0");
}

static int change_core_filter(void)
{
    return write_to("/proc/self/coredump_filter", "0x7f");
}

static int write_own_memory(void)
{
    return try_open("/proc/self/mem", O_RDWR);
}

/* Access 3 reads and writes nothing, but a device notices, and takes calls. */
static int open_for_calls(void)
{
    return try_open(f.file, 3);
}

static int open_for_calls_wide(void)
{
    return to_errno(syscall(SYS_openat, AT_FDCWD, f.file, 3 | 1ul << 32, 0));
}

/* Terminals are limited for the machine. The first open takes one. */
static int take_terminal(void)
{
    return try_open("/dev/ptmx", 3 | O_NOCTTY);
}

/* The mapping keeps the lock when the descriptor is closed. */
static int lock_library(void)
{
    int fd = open("/usr/lib/os-release", O_RDONLY);
    int err = to_errno(flock(fd, LOCK_SH));

    if (!err && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
        err = errno;
    close(fd);
    return err;
}

/* A file that may be read. Old versions of landlock ask whether it is read, not whether it is cut. */
static int cut_readable(void)
{
    return try_open("/dev/null", O_RDONLY | O_TRUNC);
}

#ifdef SYS_open
static int cut_readable_by_open(void)
{
    return to_errno(syscall(SYS_open, "/dev/null", O_RDONLY | O_TRUNC, 0));
}

static int open_for_calls_by_open(void)
{
    return to_errno(syscall(SYS_open, f.file, 3, 0));
}
#else
#define cut_readable_by_open   cut_readable
#define open_for_calls_by_open open_for_calls
#endif

static int open_by_openat2(void)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {3, 0, 0};

    return to_errno(syscall(SYS_openat2, AT_FDCWD, f.file, &how, sizeof(how)));
}

/* The file behind a shared mapping, whose descriptor is gone. */
static int reopen_mapping(void)
{
    char *page = map_page();
    char path[96];

    snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)page, (long)page + 4096);
    return try_open(path, O_RDWR);
}

#endif
