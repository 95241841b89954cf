/* SPDX-License-Identifier: MIT
 *
 * hostile - a guest that does what no driver and no library would, one case after the other.
 *
 * usage: hostile [CASE...]
 *
 * Prints a line "ok hostile/CASE (N tried)" or "FAIL hostile/CASE (why)" for each. After a case, a
 * fresh context must compute, in a context that nothing happened to; else the case has failed.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "guest.h"

#define CASE_SECONDS 300

/* What a case tells the parent. */
static struct {
    unsigned tried;
    char why[512];
} *report;

void give_up(const char *file, int line, const char *fmt, ...)
{
    const char *name = strrchr(file, '/');
    int n = snprintf(report->why, sizeof(report->why), "%s:%d: ", name ? name + 1 : file, line);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(report->why + n, sizeof(report->why) - (size_t)n, fmt, ap);
    va_end(ap);
    _exit(1);
}

static unsigned fresh_context(void)
{
    struct guest g;

    guest_open(&g);
    guest_buffer(&g, 4096);
    guest_computes(&g);
    guest_close(&g);
    return 1;
}

/* In a process of its own: whether it came to its end; report->why, if not. */
static bool runs(unsigned (*run)(void))
{
    int status;
    pid_t pid;

    memset(report, 0, sizeof(*report));
    pid = fork();
    if (!pid) {
        alarm(CASE_SECONDS);
        report->tried = run();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (!report->why[0] && WIFSIGNALED(status))
        snprintf(report->why, sizeof(report->why), "%s",
                 WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
    if (!report->why[0] && !report->tried)
        strcpy(report->why, "nothing was tried");
    return !report->why[0];
}

static bool wanted(const char *name, char **names)
{
    if (!*names)
        return true;
    for (; *names; names++) {
        if (strstr(name, *names))
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    const struct hostile_case *lists[] = {
        cases_submit, cases_kernel, bridged() ? cases_bridge : cases_device, cases_ring, cases_flip,
        cases_memory, cases_many};
    struct rlimit files = {8192, 8192};
    unsigned n = 0, failed = 0;

    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED || setrlimit(RLIMIT_NOFILE, &files)) {
        perror("hostile");
        return 1;
    }
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (const struct hostile_case *c = lists[i]; c->name; c++) {
            uint64_t begin = now_ms();
            unsigned tried = 0;
            bool ok;

            if (!wanted(c->name, argv + 1))
                continue;
            n++;
            ok = runs(c->run);
            tried = report->tried;
            ok = ok && runs(fresh_context);
            if (ok)
                printf("ok hostile/%s (%u tried, %.1f s)\n", c->name, tried,
                       (double)(now_ms() - begin) / 1000);
            else
                printf("FAIL hostile/%s (%s%s)\n", c->name, tried ? "after it: " : "", report->why);
            fflush(stdout);
            failed += !ok;
        }
    }
    return !n || failed;
}
