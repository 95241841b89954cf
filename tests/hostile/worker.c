/* SPDX-License-Identifier: MIT
 *
 * worker.c - a worker in the hands of its guest (worker.h). Built from the real vgr-worker's main.c and
 * modules; the linker puts the functions of this file in the place of two others:
 *
 *   vgr_ctx_handshake  where the guest's first bytes would be read: the attempts run from here
 *   syscall            lies about landlock if ATTACK_LANDLOCK is set: an older kernel, 0: without it
 */
#include "hostile/worker.h"

#include <errno.h>
#include <linux/landlock.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "worker/context.h"

struct scene scene;

static const struct attempts *const all[] = {
    &attack_ram,   &attack_memory,  &attack_signals,   &attack_scheduling, &attack_processes,
    &attack_files, &attack_devices, &attack_sockets,   &attack_kernel,     &attack_events,
    &attack_pages, &attack_log,     &attack_resources,
};

/* ---- Calls that the sandbox stops, memory that is not there ---- */

static sigjmp_buf stopped_at, faulted_at;
static volatile sig_atomic_t may_stop, may_fault;

static void on_signal(int sig)
{
    if (sig == SIGSYS && may_stop)
        siglongjmp(stopped_at, 1);
    if (sig != SIGSYS && may_fault)
        siglongjmp(faulted_at, 1);
    _exit(77);
}

int attack_touch(int (*f)(void *), void *arg)
{
    int ret;

    if (sigsetjmp(faulted_at, 1)) {
        may_fault = 0;
        return EFAULT;
    }
    may_fault = 1;
    ret = f(arg);
    may_fault = 0;
    return ret;
}

/* ---- Helpers ---- */

int attack_errno(long ret)
{
    return ret < 0 ? errno : 0;
}

/* Not by syscall(), which is exchanged below. */
long attack_call(long nr, ...)
{
    register long r10 __asm__("r10"), r8 __asm__("r8"), r9 __asm__("r9");
    long ret, a, b, c;
    va_list ap;

    va_start(ap, nr);
    a = va_arg(ap, long);
    b = va_arg(ap, long);
    c = va_arg(ap, long);
    r10 = va_arg(ap, long);
    r8 = va_arg(ap, long);
    r9 = va_arg(ap, long);
    va_end(ap);
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (ret < 0 && ret > -4096) {
        errno = (int)-ret;
        return -1;
    }
    return ret;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

int attack_ask(enum attack_ask what)
{
    struct attack_page *p = scene.page;
    uint32_t answer;

    p->answer = 0;
    __atomic_store_n(&p->ask, what, __ATOMIC_SEQ_CST);
    while (!(answer = __atomic_load_n(&p->answer, __ATOMIC_SEQ_CST)))
        nap();
    return answer == ANSWER_WELL ? HARMLESS : 0;
}

int attack_hit(uint32_t before)
{
    for (int ms = 0; ms < 40; ms++) {
        if (__atomic_load_n(&scene.page->hits, __ATOMIC_SEQ_CST) != before)
            return 0;
        nap();
    }
    return HARMLESS;
}

int attack_path(char *buf, size_t size, const char *name)
{
    return snprintf(buf, size, "%s/%s", scene.page->folder, name);
}

/* ---- One after the other ---- */

static int outcome(int (*run)(void))
{
    int ret;

    if (sigsetjmp(stopped_at, 1)) {
        may_stop = 0;
        return STOPPED;
    }
    may_stop = 1;
    ret = run();
    may_stop = 0;
    return ret;
}

static bool left_out(const struct attempt *a)
{
    const struct attack_page *p = scene.page;

    if (p->control)
        return false;
    return (a->flags & STRICT_ONLY && p->relaxed) || a->landlock > p->landlock;
}

static void list(void)
{
    struct attack_page *p = scene.page;
    uint32_t n = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (size_t j = 0; j < all[i]->n && n < ATTACK_MAX; j++) {
            const struct attempt *a = &all[i]->list[j];
            struct attack_result *r = &p->result[n++];

            snprintf(r->name, sizeof(r->name), "%s", a->name);
            snprintf(r->asset, sizeof(r->asset), "%s", all[i]->asset);
            snprintf(r->why, sizeof(r->why), "%s", a->why ? a->why : "");
            r->flags = a->flags;
            r->landlock = a->landlock;
        }
    }
    p->n = n;
}

static void __attribute__((noreturn)) attack(void)
{
    static const int caught[] = {SIGSYS, SIGSEGV, SIGBUS};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    struct attack_page *p = scene.page;
    uint32_t n = 0;

    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        sigaction(caught[i], &action, NULL);
    list();
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (size_t j = 0; j < all[i]->n && n < ATTACK_MAX; j++, n++) {
            const struct attempt *a = &all[i]->list[j];
            struct attack_result *r = &p->result[n];

            if (n < p->first || left_out(a))
                continue;
            __atomic_store_n(&r->begun, 1, __ATOMIC_SEQ_CST);
            r->outcome = outcome(p->control && a->control ? a->control : a->run);
            __atomic_store_n(&r->ended, 1, __ATOMIC_SEQ_CST);
            if (a->flags & ALONE)
                _exit(0);
        }
    }
    __atomic_store_n(&p->done, 1, __ATOMIC_SEQ_CST);
    _exit(0);
}

/* ---- What the linker exchanges ---- */

int __real_vgr_ctx_handshake(struct vgr_ctx *c);
int __wrap_vgr_ctx_handshake(struct vgr_ctx *c);

int __wrap_vgr_ctx_handshake(struct vgr_ctx *c)
{
    struct attack_page *p = (struct attack_page *)(c->arena.base + ATTACK_OFFSET);

    if (c->arena.size < ATTACK_ARENA || p->magic != ATTACK_MAGIC)
        return __real_vgr_ctx_handshake(c);
    scene = (struct scene){p, c->arena.base, c->shared->line_fd, c->shared->line_fd};
    attack();
}

long __wrap_syscall(long nr, ...);

static long landlock(long cap, const void *attr, size_t size, long flags)
{
    /* What each version took: file rights, size of the set. */
    static const unsigned rights[] = {0, 13, 14, 15, 15, 16, 16, 16};
    const uint64_t *words = attr;
    long real = attack_call(SYS_landlock_create_ruleset, attr, size, flags);

    if (!cap) {
        errno = ENOSYS;
        return -1;
    }
    if (flags & LANDLOCK_CREATE_RULESET_VERSION)
        return real < cap ? real : cap;
    if (real >= 0 && ((cap < 8 && words[0] >> rights[cap]) || (cap < 4 && size > 8 && words[1]) ||
                      (cap < 6 && size > 16 && words[2]))) {
        close((int)real);
        errno = EINVAL;
        return -1;
    }
    return real;
}

long __wrap_syscall(long nr, ...)
{
    const char *cap = getenv("ATTACK_LANDLOCK");
    long a[6];
    va_list ap;

    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (cap && nr == SYS_landlock_create_ruleset)
        return landlock(strtol(cap, NULL, 10), (const void *)a[0], (size_t)a[1], a[2]);
    if (cap && !strcmp(cap, "0") &&
        (nr == SYS_landlock_add_rule || nr == SYS_landlock_restrict_self)) {
        errno = ENOSYS;
        return -1;
    }
    return attack_call(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
