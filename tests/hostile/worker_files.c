/* SPDX-License-Identifier: MIT
 *
 * worker_files.c - attempts at other people's files: `file` is of mode 0666 and `socket` 0777 in a folder of
 * mode 0777, so that nothing but the sandbox keeps a worker from them, and `own` is its user's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hostile/worker.h"

#ifndef F_SETLEASE
#define F_SETLEASE 1024
#endif

static char at[96], other[96];

static const char *file(void)
{
    attack_path(at, sizeof(at), "file");
    return at;
}

static const char *fresh(void)
{
    attack_path(other, sizeof(other), "new");
    return other;
}

static int opened(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int err = attack_errno(fd);

    if (fd >= 0)
        close(fd);
    return err;
}

static int read_shadow(void)
{
    return opened("/etc/shadow", O_RDONLY);
}

static int read_passwd(void)
{
    return opened("/etc/passwd", O_RDONLY);
}

static int read_it(void)
{
    return opened(file(), O_RDONLY);
}

static int write_it(void)
{
    return opened(file(), O_WRONLY);
}

static int truncate_it(void)
{
    return attack_errno(truncate(file(), 0));
}

static int truncate_by_open(void)
{
    return opened(file(), O_RDONLY | O_TRUNC);
}

static int create(void)
{
    int err = opened(fresh(), O_WRONLY | O_CREAT | O_EXCL);

    unlink(other);
    return err;
}

static int create_nameless(void)
{
    return opened(scene.page->folder, O_RDWR | O_TMPFILE);
}

static int create_in_dev(void)
{
    int err = opened("/dev/shm/vgr-attack", O_RDWR | O_CREAT);

    unlink("/dev/shm/vgr-attack");
    return err;
}

static int make_folder(void)
{
    int err = attack_errno(mkdir(fresh(), 0700));

    rmdir(other);
    return err;
}

static int make_fifo(void)
{
    int err = attack_errno(mknod(fresh(), S_IFIFO | 0600, 0));

    unlink(other);
    return err;
}

static int make_symlink(void)
{
    int err = attack_errno(symlink("/etc/shadow", fresh()));

    unlink(other);
    return err;
}

static int make_link(void)
{
    int err = attack_errno(link(file(), fresh()));

    unlink(other);
    return err;
}

static int rename_it(void)
{
    int err = attack_errno(rename(file(), fresh()));

    if (!err)
        rename(other, at);
    return err;
}

static int remove_it(void)
{
    char third[96];

    attack_path(third, sizeof(third), "third");
    if (unlink(third))
        return errno;
    close(open(third, O_CREAT | O_WRONLY, 0666));
    return 0;
}

static int list_folder(void)
{
    return opened(scene.page->folder, O_RDONLY | O_DIRECTORY);
}

static int list_root(void)
{
    return opened("/", O_RDONLY | O_DIRECTORY);
}

static int around_by_root(void)
{
    char path[128];

    snprintf(path, sizeof(path), "/proc/self/root%s", file());
    return opened(path, O_RDONLY);
}

static int around_by_folder(void)
{
    char path[128];

    snprintf(path, sizeof(path), "/usr/lib/../..%s", file());
    return opened(path, O_RDONLY);
}

static int around_by_path(void)
{
    char path[64];
    int fd = open(file(), O_PATH | O_CLOEXEC);

    if (fd < 0)
        return errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return opened(path, O_RDWR);
}

static int mode_of_it(void)
{
    return attack_errno(chmod(file(), 0666));
}

static int mode_by_descriptor(void)
{
    int fd = open("/usr/lib/os-release", O_RDONLY);

    return fd < 0 ? errno : attack_errno(fchmod(fd, 0644));
}

static int owner_of_it(void)
{
    return attack_errno(chown(file(), (uid_t)-1, (gid_t)-1));
}

static int attribute_of_it(void)
{
    char path[96];

    attack_path(path, sizeof(path), "own");
    return attack_errno(setxattr(path, "user.vgr", "x", 1, 0));
}

static int remove_attribute(void)
{
    char path[96];
    int err;

    attack_path(path, sizeof(path), "own");
    err = attack_errno(removexattr(path, "user.vgr"));
    return err == ENODATA ? 0 : err;
}

static int flags_of_it(void)
{
    int fd = open("/usr/lib/os-release", O_RDONLY), flags = 0;

    if (fd < 0 || attack_call(SYS_ioctl, (long)fd, 0x80086601UL /* FS_IOC_GETFLAGS */, &flags))
        return errno;
    return attack_errno(attack_call(SYS_ioctl, (long)fd, 0x40086602UL /* SETFLAGS */, &flags));
}

static int times_of_it(void)
{
    return attack_errno(utimensat(AT_FDCWD, file(), NULL, 0));
}

static int times_of_program(void)
{
    char path[96];

    attack_path(path, sizeof(path), "own");
    return attack_errno(utimensat(AT_FDCWD, path, NULL, 0));
}

static int lease(void)
{
    /* Whoever opens it next waits for 45 s. */
    int fd = open("/usr/share/doc/vgr-attack", O_RDONLY), err;

    if (fd < 0)
        fd = open("/usr/lib/os-release", O_RDONLY);
    if (fd < 0)
        return errno;
    err = attack_errno(attack_call(SYS_fcntl, (long)fd, (long)F_SETLEASE, (long)F_RDLCK));
    if (!err)
        attack_call(SYS_fcntl, (long)fd, (long)F_SETLEASE, (long)F_UNLCK);
    return err;
}

static int watch(void)
{
    int fd = (int)attack_call(SYS_inotify_init1, 0L);

    return fd < 0 ? errno
                  : attack_errno(attack_call(SYS_inotify_add_watch, (long)fd, scene.page->folder,
                                             (long)(IN_OPEN | IN_ACCESS)));
}

static int watch_all(void)
{
    return attack_errno(attack_call(SYS_fanotify_init, 0x200L /* a plain reader's */, 0L));
}

static int by_handle(void)
{
    struct {
        unsigned bytes;
        int type;
        unsigned char handle[64];
    } h = {.bytes = 64};
    int mount;

    if (attack_call(SYS_name_to_handle_at, (long)AT_FDCWD, file(), &h, &mount, 0L))
        return errno;
    return attack_errno(attack_call(SYS_open_by_handle_at, (long)open(".", O_RDONLY | O_DIRECTORY),
                                    &h, (long)O_RDONLY));
}

static int lock_log(void)
{
    if (flock(STDERR_FILENO, LOCK_EX | LOCK_NB))
        return errno;
    flock(STDERR_FILENO, LOCK_UN);
    return HARMLESS;
}

static int lock_library(void)
{
    int fd = open("/usr/lib/os-release", O_RDONLY);
    int err = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) ? errno : HARMLESS;

    if (fd >= 0)
        close(fd);
    return err;
}

static int lock_library_shown(void)
{
    return lock_library() == HARMLESS ? 0 : errno;
}

/* A mapping keeps the lock of a descriptor that is closed. Everybody who closes the file, in whatever process,
 * looks at all of its locks. */
static int locks_kept_by_mappings(int operation)
{
    unsigned n = 0;
    int fd;

    for (; n < 1000; n++) {
        fd = open("/usr/lib/os-release", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || flock(fd, operation) ||
            mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
            break;
        close(fd);
    }
    return n == 1000 ? 0 : errno;
}

static int mapped_locks(void)
{
    return locks_kept_by_mappings(LOCK_SH);
}

/* Of exclusive ones there is one, also in the same process. */
static int mapped_exclusive_locks(void)
{
    return locks_kept_by_mappings(LOCK_EX | LOCK_NB);
}

static int mask(void)
{
    umask(0);
    return HARMLESS;
}

static int mask_shown(void)
{
    return 0;
}

static int root_elsewhere(void)
{
    return attack_errno(chroot("/"));
}

static int write_program(void)
{
    return opened("/proc/self/exe", O_WRONLY);
}

static int write_library(void)
{
    return opened("/usr/lib/os-release", O_RDWR);
}

static int write_setting(void)
{
    return opened("/proc/sys/kernel/core_pattern", O_WRONLY);
}

static int write_trigger(void)
{
    return opened("/proc/sysrq-trigger", O_WRONLY);
}

static int write_cgroup(void)
{
    return opened("/sys/fs/cgroup/unified/cgroup.procs", O_WRONLY);
}

static int write_sys(void)
{
    return opened("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY);
}

static const struct attempt list[] = {
    {"read /etc/shadow", read_shadow, 0, NULL, NULL, 0},
    {"read /etc/passwd", read_passwd, 0, NULL, NULL, 1},
    {"read somebody's file", read_it, 0, NULL, NULL, 1},
    {"write somebody's file", write_it, 0, NULL, NULL, 1},
    {"truncate somebody's file", truncate_it, 0, NULL, NULL, 3},
    {"truncate it by opening it", truncate_by_open, 0, NULL, NULL, 1},
    {"create a file", create, 0, NULL, NULL, 1},
    {"create a file without a name", create_nameless, 0, NULL, NULL, 1},
    {"create a file in /dev/shm", create_in_dev, 0, NULL, NULL, 1},
    {"create a folder", make_folder, 0, NULL, NULL, 1},
    {"create a fifo", make_fifo, 0, NULL, NULL, 0},
    {"create a symbolic link", make_symlink, 0, NULL, NULL, 1},
    {"create a link", make_link, 0, NULL, NULL, 1},
    {"rename somebody's file", rename_it, 0, NULL, NULL, 1},
    {"remove somebody's file", remove_it, 0, NULL, NULL, 1},
    {"list somebody's folder", list_folder, 0, NULL, NULL, 1},
    {"list /", list_root, 0, NULL, NULL, 1},
    {"a file around /proc/self/root", around_by_root, 0, NULL, NULL, 1},
    {"a file around a folder that it may read", around_by_folder, 0, NULL, NULL, 1},
    {"a file opened for its path, then by /proc", around_by_path, 0, NULL, NULL, 1},
    {"chmod", mode_of_it, 0, NULL, NULL, 0},
    {"fchmod of a library", mode_by_descriptor, 0, NULL, NULL, 0},
    {"chown", owner_of_it, 0, NULL, NULL, 0},
    {"setxattr", attribute_of_it, 0, NULL, NULL, 0},
    {"removexattr", remove_attribute, 0, NULL, NULL, 0},
    {"attributes of a library, by ioctl", flags_of_it, 0, NULL, NULL, 0},
    {"times of somebody's file", times_of_it, STRICT_ONLY, NULL, NULL, 0},
    {"times of a file of its user", times_of_program, STRICT_ONLY, NULL, NULL, 0},
    {"a lease on a library: others wait to open it", lease, 0, NULL, NULL, 0},
    {"inotify: watch somebody's folder", watch, STRICT_ONLY, NULL, NULL, 0},
    {"fanotify", watch_all, 0, NULL, NULL, 0},
    {"open by handle", by_handle, 0, NULL, NULL, 0},
    {"flock of the log", lock_log, MAY_HARMLESS, "nobody asks for that lock", lock_library_shown,
     0},
    {"flock of a library", lock_library, MAY_HARMLESS, "nobody asks for that lock",
     lock_library_shown, 0},
    {"1,000 locks of a library, kept by mappings", mapped_locks, 0, NULL, NULL, 0},
    {"1,000 exclusive locks of a library", mapped_exclusive_locks, 0, NULL, mapped_locks, 0},
    {"umask", mask, MAY_HARMLESS, "it makes no files", mask_shown, 0},
    {"chroot", root_elsewhere, 0, NULL, NULL, 0},
    {"write its own program", write_program, 0, NULL, write_library, 0},
    {"write a library", write_library, 0, NULL, NULL, 1},
    {"write /proc/sys/kernel/core_pattern", write_setting, 0, NULL, NULL, 1},
    {"write /proc/sysrq-trigger", write_trigger, 0, NULL, write_setting, 1},
    {"move into another control group", write_cgroup, 0, NULL, NULL, 1},
    {"write to /sys", write_sys, 0, NULL, NULL, 1},
};
ATTEMPTS(attack_files, "files", list);
