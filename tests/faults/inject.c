/* SPDX-License-Identifier: MIT
 *
 * inject.c - preloaded: the Nth call of a kind, made by one of our binaries, fails (inject.h).
 *
 * Calls of others, GGML's and libc's own among them, are none of its business: they pass. It makes no system
 * call once its process runs, since a worker's sandbox allows few.
 */
#include "faults/inject.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

static struct inject_page *page;
static bool probing; /* this is a worker that meets no guest */

/* Of glibc: malloc() as it is when nobody stands before it. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static const char *const names[] = {
#define NAME(name, file) file,
    INJECT_WHO(NAME)
#undef NAME
};

/* Whose call returns to `address`; INJECT_N_WHO: nobody's of ours. */
static unsigned whose(void *address)
{
    struct dl_find_object found;
    const char *name, *slash;

    if (!page || _dl_find_object(address, &found))
        return INJECT_N_WHO;
    name = found.dlfo_link_map->l_name;
    if (!*name)
        name = program_invocation_short_name;
    slash = strrchr(name, '/');
    name = slash ? slash + 1 : name;
    for (unsigned who = 0; who < INJECT_N_WHO; who++) {
        if (!strncmp(name, names[who], strlen(names[who])))
            return who == INJECT_WORKER && probing ? INJECT_PROBE : who;
    }
    return INJECT_N_WHO;
}

/* Counts the call. Is it the one? */
static bool is_the_one(enum inject_kind kind, void *address)
{
    int error = errno;
    unsigned who = whose(address);
    uint32_t nth;

    errno = error;
    if (who == INJECT_N_WHO)
        return false;
    nth = __atomic_add_fetch(&page->calls[who][kind], 1, __ATOMIC_SEQ_CST);
    if (nth <= INJECT_SITES)
        page->sites[who][kind][nth - 1] = (uint32_t)(uintptr_t)address;
    return nth == page->nth && page->who == who && page->kind == kind;
}

/* What is wrong with it: 0, INJECT_SHORT, or an errno, which is set. */
static int spoil(void)
{
    uint32_t none = 0;

    if (!__atomic_compare_exchange_n(&page->injected, &none, 1, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return 0;
    if (page->error != INJECT_SHORT)
        errno = (int)page->error;
    return (int)page->error;
}

/* A call that has no bytes. */
static int fault(enum inject_kind kind, void *address)
{
    return is_the_one(kind, address) && page->error != INJECT_SHORT ? spoil() : 0;
}

#define HERE __builtin_return_address(0)

#define REAL(name, ...)                                                                            \
    ({                                                                                             \
        static __typeof__(&name) real_;                                                            \
        if (!real_)                                                                                \
            real_ = (__typeof__(real_))dlsym(RTLD_NEXT, #name);                                    \
        real_(__VA_ARGS__);                                                                        \
    })

/* A call that fails with -1. */
#define PLAIN(kind, ret, name, params, ...)                                                        \
    API ret name params                                                                            \
    {                                                                                              \
        return fault(INJECT_##kind, HERE) ? (ret) - 1 : REAL(name, __VA_ARGS__);                   \
    }

/* ---- Waiting ---- */

PLAIN(POLL, int, poll, (struct pollfd * p, nfds_t n, int ms), p, n, ms)
PLAIN(POLL, int, ppoll,
      (struct pollfd * p, nfds_t n, const struct timespec *t, const sigset_t *mask), p, n, t, mask)
PLAIN(WAIT, int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), fd, e, n, ms)

/* ---- Bytes ---- */

static bool is_stream(int fd)
{
    int type;
    socklen_t len = sizeof(type);
    struct stat st;

    if (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
        return type == SOCK_STREAM;
    return !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode));
}

/* Only a stream gives or takes a part; only what need not wait says so. */
static bool can_be(int fd, size_t len, int flags)
{
    if (page->error == INJECT_SHORT)
        return len > 1 && is_stream(fd);
    return page->error != EAGAIN || flags & MSG_DONTWAIT || fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static int fault_in_bytes(enum inject_kind kind, void *address, int fd, size_t len, int flags)
{
    int error = errno;

    if (!is_the_one(kind, address) || !can_be(fd, len, flags)) {
        errno = error;
        return 0;
    }
    return spoil();
}

/* A line that is full has bytes for whoever sleeps at its other end: that a doorbell finds no room is only true
 * if there is one. */
static bool must_arrive(int fd, size_t len, int found)
{
    return found == EAGAIN && len == 1 && is_stream(fd);
}

#define BYTES(kind, name, params, fd, len, flags, ...)                                             \
    API ssize_t name params                                                                        \
    {                                                                                              \
        int error = errno, found = fault_in_bytes(INJECT_##kind, HERE, fd, len, flags);            \
                                                                                                   \
        if (found && found != INJECT_SHORT) {                                                      \
            if (INJECT_##kind == INJECT_SEND && must_arrive(fd, len, found))                       \
                (void)!REAL(name, __VA_ARGS__);                                                    \
            errno = found;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        if (found)                                                                                 \
            len = 1;                                                                               \
        errno = error;                                                                             \
        return REAL(name, __VA_ARGS__);                                                            \
    }

BYTES(RECEIVE, read, (int fd, void *buf, size_t len), fd, len, 0, fd, buf, len)
BYTES(RECEIVE, pread, (int fd, void *buf, size_t len, off_t at), fd, len, 0, fd, buf, len, at)
BYTES(RECEIVE, recv, (int fd, void *buf, size_t len, int flags), fd, len, flags, fd, buf, len,
      flags)
BYTES(SEND, write, (int fd, const void *buf, size_t len), fd, len, 0, fd, buf, len)
BYTES(SEND, pwrite, (int fd, const void *buf, size_t len, off_t at), fd, len, 0, fd, buf, len, at)
BYTES(SEND, send, (int fd, const void *buf, size_t len, int flags), fd, len, flags, fd, buf, len,
      flags)

/* One byte of the first part, with all of the descriptors. */
#define MESSAGE(kind, name, constant)                                                              \
    API ssize_t name(int fd, constant struct msghdr *m, int flags)                                 \
    {                                                                                              \
        struct iovec *first = m->msg_iovlen ? m->msg_iov : NULL, all, *parts = m->msg_iov;         \
        int found = fault_in_bytes(INJECT_##kind, HERE, fd, first ? first->iov_len : 0, flags);    \
        ssize_t ret;                                                                               \
                                                                                                   \
        if (found && found != INJECT_SHORT)                                                        \
            return -1;                                                                             \
        if (found) {                                                                               \
            all = *first;                                                                          \
            first->iov_len = 1;                                                                    \
        }                                                                                          \
        ret = REAL(name, fd, m, flags);                                                            \
        if (found)                                                                                 \
            *parts = all;                                                                          \
        return ret;                                                                                \
    }

MESSAGE(RECEIVE, recvmsg, )
MESSAGE(SEND, sendmsg, const)

/* ---- Descriptors ---- */

PLAIN(CONNECT, int, connect, (int fd, const struct sockaddr *a, socklen_t len), fd, a, len)
PLAIN(ACCEPT, int, accept4, (int fd, struct sockaddr *a, socklen_t *len, int flags), fd, a, len,
      flags)
PLAIN(SOCKET, int, socket, (int domain, int type, int protocol), domain, type, protocol)
PLAIN(SOCKET, int, socketpair, (int domain, int type, int protocol, int pair[2]), domain, type,
      protocol, pair)
PLAIN(MEMFD, int, memfd_create, (const char *name, unsigned flags), name, flags)
PLAIN(FTRUNCATE, int, ftruncate, (int fd, off_t size), fd, size)
PLAIN(EVENTFD, int, eventfd, (unsigned value, int flags), value, flags)
PLAIN(EVENTFD, int, signalfd, (int fd, const sigset_t *set, int flags), fd, set, flags)
PLAIN(EPOLL, int, epoll_create1, (int flags), flags)
PLAIN(DUP, int, dup2, (int from, int to), from, to)
PLAIN(PIDFD, int, pidfd_open, (pid_t pid, unsigned flags), pid, flags)

/* What is taken out or changed needs no memory. */
API int epoll_ctl(int fd, int op, int other, struct epoll_event *e)
{
    return op == EPOLL_CTL_ADD && fault(INJECT_EPOLL, HERE) ? -1
                                                            : REAL(epoll_ctl, fd, op, other, e);
}

static unsigned long last_argument(va_list *args)
{
    return va_arg(*args, unsigned long);
}

#define VARIADIC(kind, when, name, params, last, ...)                                              \
    API int name params                                                                            \
    {                                                                                              \
        unsigned long argument;                                                                    \
        va_list args;                                                                              \
                                                                                                   \
        va_start(args, last);                                                                      \
        argument = last_argument(&args);                                                           \
        va_end(args);                                                                              \
        return (when) && fault(INJECT_##kind, HERE) ? -1 : REAL(name, __VA_ARGS__, argument);      \
    }

VARIADIC(IOCTL, true, ioctl, (int fd, unsigned long nr, ...), nr, fd, nr)
VARIADIC(DUP, command == F_DUPFD_CLOEXEC || command == F_DUPFD, fcntl, (int fd, int command, ...),
         command, fd, command)
VARIADIC(OPEN, true, open, (const char *path, int flags, ...), flags, path, flags)

/* ---- Memory ---- */

API void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    return fault(INJECT_MMAP, HERE) ? MAP_FAILED : REAL(mmap, at, size, prot, flags, fd, offset);
}

API void *malloc(size_t size)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : __libc_malloc(size);
}

API void *calloc(size_t n, size_t size)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : __libc_calloc(n, size);
}

API void *realloc(void *p, size_t size)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : __libc_realloc(p, size);
}

API void *aligned_alloc(size_t alignment, size_t size)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : __libc_memalign(alignment, size);
}

API FILE *open_memstream(char **text, size_t *size)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : REAL(open_memstream, text, size);
}

API FILE *fdopen(int fd, const char *mode)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : REAL(fdopen, fd, mode);
}

API DIR *fdopendir(int fd)
{
    return fault(INJECT_MALLOC, HERE) ? NULL : REAL(fdopendir, fd);
}

PLAIN(MALLOC, int, scandir,
      (const char *path, struct dirent ***list, int (*wanted)(const struct dirent *),
       int (*order)(const struct dirent **, const struct dirent **)),
      path, list, wanted, order)

API char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fault(INJECT_MALLOC, HERE) ? NULL : __libc_malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

/* ---- Threads and processes ---- */

API int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                       void *arg)
{
    int found = fault(INJECT_THREAD, HERE);

    return found ? found : REAL(pthread_create, thread, attr, start, arg);
}

PLAIN(FORK, pid_t, fork, (void), )

/* A keeper is started with no environment at all. */
API int execve(const char *path, char *const *argv, char *const *env)
{
    static char preload[1024], inject[1024];
    char *with[] = {preload, inject, NULL};

    if (page && !*env) {
        snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", getenv("LD_PRELOAD"));
        snprintf(inject, sizeof(inject), "INJECT=%s", getenv("INJECT"));
        env = with;
    }
    return REAL(execve, path, argv, env);
}

API long syscall(long nr, ...)
{
    long a[6];
    va_list args;

    va_start(args, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (nr == SYS_clone && fault(INJECT_FORK, HERE))
        return -1;
    return REAL(syscall, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- The page ---- */

/* A worker's calls begin anew with each of them. */
static void __attribute__((constructor)) begin(int argc, char **argv)
{
    const char *path = getenv("INJECT");
    int fd = path ? REAL(open, path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED
                     : REAL(mmap, NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    if (p == MAP_FAILED)
        return;
    probing = argc > 1 && !strcmp(argv[1], "--probe");
    if (!probing &&
        !strncmp(program_invocation_short_name, names[INJECT_WORKER], strlen(names[INJECT_WORKER])))
        memset(((struct inject_page *)p)->calls[INJECT_WORKER], 0,
               sizeof(((struct inject_page *)p)->calls[INJECT_WORKER]));
    page = p;
}
