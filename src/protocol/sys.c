/* SPDX-License-Identifier: MIT */
#include "protocol/sys.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

int64_t vgr_sys_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* ---- Waiting ---- */

int vgr_sys_poll(struct pollfd *p, nfds_t n, int64_t ns)
{
    int64_t end = ns > 0 ? vgr_sys_now() + ns : 0;

    for (;;) {
        struct timespec ts = {ns / NS_PER_S, ns % NS_PER_S};
        int ret = ppoll(p, n, ns < 0 ? NULL : &ts, NULL);

        if (ret >= 0 || errno != EINTR)
            return ret;
        if (ns > 0) {
            ns = end - vgr_sys_now();
            ns = ns > 0 ? ns : 0;
        }
    }
}

void vgr_sys_nap_until(int64_t when)
{
    struct timespec end = {when / NS_PER_S, when % NS_PER_S};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {
    }
}

void vgr_sys_nap(int64_t ns)
{
    vgr_sys_nap_until(vgr_sys_now() + ns);
}

/* ---- Descriptors ---- */

int vgr_sys_high(int fd)
{
    int high, err;

    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    err = errno;
    close(fd);
    errno = err;
    return high;
}

void vgr_sys_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int vgr_sys_memfd(const char *name, unsigned flags, uint64_t size, int seals)
{
    int low = memfd_create(name, flags | (seals ? MFD_ALLOW_SEALING : 0));
    int fd = vgr_sys_high(low), err;
    struct vgr_sys_hush h;
    bool ok;

    if (fd < 0)
        return -errno;
    vgr_sys_hush(&h);
    /* As long as it was a standard stream, another thread may have printed into it. */
    ok = (fd == low || !VGR_SYS_AGAIN(ftruncate(fd, 0))) &&
         !VGR_SYS_AGAIN(ftruncate(fd, (off_t)size)) && (!seals || !fcntl(fd, F_ADD_SEALS, seals));
    err = ok ? 0 : -errno;
    vgr_sys_unhush(&h, err);
    if (ok)
        return fd;
    close(fd);
    return err;
}

/* ---- Files ---- */

int vgr_sys_pread(int fd, void *buf, size_t len, uint64_t at)
{
    char *p = buf;

    while (len) {
        ssize_t n = VGR_SYS_AGAIN(pread(fd, p, len, (off_t)at));

        if (n <= 0)
            return n ? -errno : -EIO;
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* `at` NULL: at the file's position. */
static int write_all(int fd, const char *p, size_t len, const uint64_t *at)
{
    struct vgr_sys_hush h;
    size_t done = 0;
    int err = 0;

    vgr_sys_hush(&h);
    while (done < len && !err) {
        ssize_t n = at ? VGR_SYS_AGAIN(pwrite(fd, p + done, len - done, (off_t)(*at + done)))
                       : VGR_SYS_AGAIN(write(fd, p + done, len - done));

        if (n <= 0)
            err = n ? -errno : -EIO;
        else
            done += (size_t)n;
    }
    vgr_sys_unhush(&h, err);
    return err;
}

int vgr_sys_write(int fd, const void *buf, size_t len)
{
    return write_all(fd, buf, len, NULL);
}

int vgr_sys_pwrite(int fd, const void *buf, size_t len, uint64_t at)
{
    return write_all(fd, buf, len, &at);
}

/* ---- Signals ---- */

/* The kernel raises both for the thread that writes: where it is blocked, it waits to be taken. */
void vgr_sys_hush(struct vgr_sys_hush *h)
{
    int err = errno;
    bool pipe, size;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigaddset(&set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set, &h->mask);
    pipe = sigismember(&h->mask, SIGPIPE);
    size = sigismember(&h->mask, SIGXFSZ);
    sigemptyset(&h->kept);
    if (pipe && size)
        h->kept = set; /* a thread that wants to hear of nothing may as well keep ours */
    else if (pipe || size)
        sigpending(&h->kept);
    errno = err;
}

void vgr_sys_unhush(const struct vgr_sys_hush *h, int err)
{
    const int raised = err == -EPIPE ? SIGPIPE : err == -EFBIG ? SIGXFSZ : 0;
    const struct timespec none = {0};
    int saved = errno;
    sigset_t one;

    if (raised && !sigismember(&h->kept, raised)) {
        sigemptyset(&one);
        sigaddset(&one, raised);
        VGR_SYS_AGAIN(sigtimedwait(&one, NULL, &none));
    }
    pthread_sigmask(SIG_SETMASK, &h->mask, NULL);
    errno = saved;
}
