/* SPDX-License-Identifier: MIT */
#include "device/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/sys.h"

/* Is the open file still what the path names? */
static bool is_at(int fd, const char *path)
{
    struct stat open_file, named;

    return !fstat(fd, &open_file) && !lstat(path, &named) && open_file.st_dev == named.st_dev &&
           open_file.st_ino == named.st_ino;
}

/* NULL, or why the file is not one to write to. */
static const char *check(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "it is not a plain file";
    if (st.st_uid != geteuid())
        return "it is somebody else's file";
    if (st.st_nlink != 1)
        return "it has another name, too";
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? "it is another process's, which runs" : strerror(errno);
    return NULL;
}

static const char *fill(int fd)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (VGR_SYS_AGAIN(ftruncate(fd, 0)) < 0)
        return strerror(errno);
    if (vgr_sys_write(fd, text, (size_t)n))
        return "it cannot be written";
    return NULL;
}

int vgr_pidfile_write(struct vgr_pidfile *p, const char *path, char *why, size_t why_size)
{
    const char *wrong;
    int fd;

    p->path = path;
    p->fd = -1;
    /* Not blocking: it could be a FIFO. The user's alone: whoever can read it could lock it. */
    fd = VGR_SYS_AGAIN(open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
    if (fd < 0) {
        int err = errno;

        snprintf(why, why_size, "%s: %s", path, err == ELOOP ? "it is a link" : strerror(err));
        return -err;
    }
    wrong = check(fd);
    if (!wrong && !is_at(fd, path))
        wrong = "it was removed meanwhile";
    if (!wrong)
        wrong = fill(fd);
    if (wrong) {
        snprintf(why, why_size, "%s: %s", path, wrong);
        close(fd);
        return -EPERM;
    }
    p->fd = fd;
    return 0;
}

void vgr_pidfile_remove(struct vgr_pidfile *p)
{
    if (p->fd < 0)
        return;
    if (is_at(p->fd, p->path))
        unlink(p->path);
    close(p->fd);
    p->fd = -1;
}
