/* SPDX-License-Identifier: MIT
 *
 * sandbox_calls.c - which system calls a worker may make: seccomp.
 *
 * Everything that is allowed or refused, and why, is in sandbox_table.c. This file makes filters of it.
 *
 * Relaxed is one filter: it refuses what the table refuses, has long transfers made in parts (sandbox_split.h),
 * and lets pass what is in no row. Strict has a
 * second filter on top of it, which lets pass what the table allows or refuses, and stops the rest with
 * SIGSYS. The kernel takes the harder of two answers, so what the first filter refuses with an error has
 * to pass the second.
 *
 * A stopped call tells the guest and the log its number and ends the context: a driver that needs more
 * than the table has fails loudly, not strangely. Code that took over the worker can catch the signal; it
 * gains nothing by it, since the call is not made.
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "worker/sandbox.h"
#include "worker/sandbox_split.h"
#include "worker/sandbox_table.h"

static void (*on_refused)(int nr);

/* The number alone does not tell which ioctl or fcntl it was. */
static void say_arguments(int nr, const ucontext_t *context)
{
    struct vgr_sandbox_call call = {{0}};

    vgr_sandbox_stopped_call(context, &call);
    vgr_error("sandbox: system call %d began with %#lx, %#lx, %#lx", nr, call.arg[0], call.arg[1],
              call.arg[2]);
}

static void stopped(int sig, siginfo_t *info, void *context)
{
    if (vgr_sandbox_split(info->si_syscall, context))
        return;
    say_arguments(info->si_syscall, context);
    on_refused(info->si_syscall);
    _exit(1);
}

static struct scmp_arg_cmp comparison(const struct vgr_call_test *t)
{
    const scmp_datum_t self = (scmp_datum_t)getpid();

    switch (t->compare) {
    case VGR_ARG_NOT_ZERO:
        return SCMP_CMP64(t->arg, SCMP_CMP_NE, 0, 0);
    case VGR_ARG_ABOVE:
        return SCMP_CMP64(t->arg, SCMP_CMP_GT, t->value, 0);
    case VGR_ARG_SELF:
        return SCMP_CMP64(t->arg, SCMP_CMP_EQ, self, 0);
    case VGR_ARG_NOT_SELF:
        return SCMP_CMP64(t->arg, SCMP_CMP_NE, self, 0);
    default:
        return SCMP_CMP64(t->arg, SCMP_CMP_MASKED_EQ, t->mask, t->value);
    }
}

/* A rule for each case, or one for all arguments where there is no list. */
static int add_cases(scmp_filter_ctx f, uint32_t action, int nr, const struct vgr_call_case *cases)
{
    int err = 0;

    if (!cases)
        return seccomp_rule_add(f, action, nr, 0);
    for (; cases->text && !err; cases++) {
        struct scmp_arg_cmp tests[2];
        unsigned n = 0;

        while (n < 2 && cases->test[n].compare) {
            tests[n] = comparison(&cases->test[n]);
            n++;
        }
        err = seccomp_rule_add_array(f, action, nr, n, tests);
    }
    return err;
}

static int refuse(scmp_filter_ctx f, const struct vgr_call_row *row, int nr, bool strict)
{
    const uint32_t error = SCMP_ACT_ERRNO(row->error == VGR_CALL_PRETEND ? 0
                                          : row->error                   ? row->error
                                                                         : EPERM);

    switch (row->answer) {
    case VGR_CALL_REFUSE:
        return add_cases(f, error, nr, NULL);
    case VGR_CALL_ABSENT:
        return add_cases(f, SCMP_ACT_ERRNO(ENOSYS), nr, NULL);
    case VGR_CALL_NEVER:
        return add_cases(f, strict ? SCMP_ACT_KILL_PROCESS : error, nr, NULL);
    case VGR_CALL_ALLOW:
        return row->refused ? add_cases(f, error, nr, row->refused) : 0;
    case VGR_CALL_SPLIT:
        return add_cases(f, SCMP_ACT_TRAP, nr, row->refused);
    case VGR_CALL_UNLISTED:
        return row->error && !strict ? add_cases(f, error, nr, NULL) : 0;
    default:
        return 0;
    }
}

static int let_pass(scmp_filter_ctx f, const struct vgr_call_row *row, int nr)
{
    int err;

    if (row->answer == VGR_CALL_NEVER || row->answer == VGR_CALL_UNLISTED)
        return 0;
    err = add_cases(f, SCMP_ACT_ALLOW, nr, row->only);
    return !err && row->only && row->refused ? add_cases(f, SCMP_ACT_ALLOW, nr, row->refused) : err;
}

/* Adds a row's rules to the first filter or to the second. A name that this libseccomp or this processor
 * does not have needs no rule. */
static int add_row(scmp_filter_ctx f, const struct vgr_call_row *row, bool first, bool strict)
{
    char *names = strdup(row->calls), *rest = names, *name;
    int err = names ? 0 : -ENOMEM;

    while (!err && (name = strsep(&rest, " "))) {
        int nr = seccomp_syscall_resolve_name(name);

        if (nr != __NR_SCMP_ERROR)
            err = first ? refuse(f, row, nr, strict) : let_pass(f, row, nr);
    }
    free(names);
    return err;
}

/* Makes a filter and puts it on all threads, those included that the libraries have started. */
static int put_on(bool first, bool strict)
{
    scmp_filter_ctx f = seccomp_init(first ? SCMP_ACT_ALLOW : SCMP_ACT_TRAP);
    int err = 0;

    if (!f)
        return -ENOMEM;
    for (size_t i = 0; i < vgr_sandbox_n_calls && !err; i++)
        err = add_row(f, &vgr_sandbox_calls[i], first, strict);
    if (!err)
        err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!err)
        err = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!err)
        err = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (!err)
        err = seccomp_load(f);
    seccomp_release(f);
    return err;
}

int vgr_sandbox_finish(struct vgr_sandbox *sb, unsigned n_devices, void (*refused)(int nr))
{
    bool strict = sb->config->mode == VGR_SANDBOX_STRICT;
    struct sigaction action = {.sa_sigaction = stopped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int err;

    if (sb->config->mode == VGR_SANDBOX_OFF)
        return 0;
    err = vgr_sandbox_limit_files(n_devices);
    if (err) {
        vgr_error("sandbox: cannot set limits: %s", strerror(-err));
        return err;
    }
    on_refused = refused;
    err = sigaction(SIGSYS, &action, NULL) ? -errno : put_on(true, strict);
    if (!err && strict)
        err = put_on(false, strict);
    if (err && strict) {
        vgr_error("sandbox: strict needs seccomp, which this kernel refuses: %s", strerror(-err));
        return err;
    }
    if (err)
        vgr_sandbox_note(sb, VGR_LOG_WARN, "workers may make any system call: no seccomp here: %s",
                         strerror(-err));
    else
        vgr_sandbox_note(sb, VGR_LOG_DEBUG, "system calls by seccomp, %s",
                         strict ? "strict" : "relaxed");
    return 0;
}
