/* SPDX-License-Identifier: MIT */
#include "worker/sandbox_split.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What is written at once as long as it is as short as this: a line of a log in several pieces. */
#define LINE 512u

/* ---- Registers ---- */

bool vgr_sandbox_stopped_call(const ucontext_t *context, struct vgr_sandbox_call *call)
{
#if defined(__x86_64__)
    static const int place[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};

    for (int i = 0; i < 6; i++)
        call->arg[i] = (unsigned long)context->uc_mcontext.gregs[place[i]];
    return true;
#elif defined(__aarch64__)
    for (int i = 0; i < 6; i++)
        call->arg[i] = context->uc_mcontext.regs[i];
    return true;
#else
    return false;
#endif
}

static void set_result(ucontext_t *context, long result)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = result;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = (unsigned long)result;
#endif
}

/* ---- One buffer ---- */

struct transfer {
    bool writes, at; /* `at`: at an offset, which goes on */
    int fd;
    unsigned long offset;
};

/* Would the kernel have gone on? A read ends where it would wait, once it has something. */
static bool goes_on(const struct transfer *t, size_t done)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};

    return !done || t->writes || t->at || poll(&p, 1, 0) == 1;
}

/* As the call itself: what was transferred, or -errno if nothing was. `before`: by the buffers before. */
static long transfer(struct transfer *t, char *buf, size_t len, size_t before)
{
    size_t done = 0;

    while (done < len && goes_on(t, before + done)) {
        size_t part = len - done < VGR_SANDBOX_PART ? len - done : VGR_SANDBOX_PART;
        long n = t->at ? syscall(t->writes ? SYS_pwrite64 : SYS_pread64, t->fd, buf + done, part,
                                 t->offset)
                       : syscall(t->writes ? SYS_write : SYS_read, t->fd, buf + done, part);

        if (n < 0 && !done)
            return -errno;
        if (n <= 0)
            break;
        t->offset += (unsigned long)n;
        done += (size_t)n;
        if ((size_t)n < part)
            break;
    }
    return (long)done;
}

/* ---- Several ---- */

static bool is_line(const struct iovec *iov, unsigned long n)
{
    size_t sum = 0;

    for (unsigned long i = 0; i < n; i++) {
        if (iov[i].iov_len > LINE - sum)
            return false;
        sum += iov[i].iov_len;
    }
    return true;
}

static long transfer_line(struct transfer *t, const struct iovec *iov, unsigned long n)
{
    char line[LINE];
    size_t len = 0;

    for (unsigned long i = 0; i < n; i++) {
        memcpy(line + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    return transfer(t, line, len, 0);
}

static long transfer_all(struct transfer *t, const struct iovec *iov, unsigned long n)
{
    long sum = 0;

    if (n > IOV_MAX)
        return -EINVAL;
    if (t->writes && is_line(iov, n))
        return transfer_line(t, iov, n);
    for (unsigned long i = 0; i < n; i++) {
        long got = transfer(t, iov[i].iov_base, iov[i].iov_len, (size_t)sum);

        if (got < 0)
            return sum ? sum : got;
        sum += got;
        if ((size_t)got < iov[i].iov_len)
            break;
    }
    return sum;
}

bool vgr_sandbox_split(int nr, ucontext_t *context)
{
    const bool several =
        nr == SYS_readv || nr == SYS_writev || nr == SYS_preadv || nr == SYS_pwritev;
    struct transfer t = {
        .writes = nr == SYS_write || nr == SYS_pwrite64 || nr == SYS_writev || nr == SYS_pwritev,
        .at = nr == SYS_pread64 || nr == SYS_pwrite64 || nr == SYS_preadv || nr == SYS_pwritev,
    };
    struct vgr_sandbox_call call;
    int saved = errno;

    if ((!several && nr != SYS_read && nr != SYS_write && nr != SYS_pread64 &&
         nr != SYS_pwrite64) ||
        !vgr_sandbox_stopped_call(context, &call))
        return false;
    t.fd = (int)call.arg[0];
    t.offset = call.arg[3];
    set_result(context, several ? transfer_all(&t, (const struct iovec *)call.arg[1], call.arg[2])
                                : transfer(&t, (char *)call.arg[1], call.arg[2], 0));
    errno = saved;
    return true;
}
