/* SPDX-License-Identifier: MIT */
#include "hostile/worker_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fails(const struct attack_result *r, bool control)
{
    if (control)
        return r->outcome != 0;
    return r->outcome == 0 || r->outcome == DIED ||
           (r->outcome == HARMLESS && !(r->flags & MAY_HARMLESS));
}

static const char *told(int outcome)
{
    switch (outcome) {
    case 0:
        return "it succeeds";
    case HARMLESS:
        return "nothing keeps it from trying";
    case STOPPED:
        return "stopped";
    case KILLED:
        return "killed";
    case DIED:
        return "the worker dies";
    default:
        return strerror(outcome);
    }
}

unsigned attack_report(const struct attack_record *all, const char *name, bool control)
{
    unsigned n = 0, refused = 0, harmless = 0, failed = 0;

    for (uint32_t i = 0; i < all->n; i++) {
        const struct attack_result *r = &all->result[i];

        if (!r->begun)
            continue;
        n++;
        if (fails(r, control)) {
            failed++;
            printf("FAIL %s/%s: %s (%s)\n", name, r->asset, r->name, told(r->outcome));
        } else if (!control && r->outcome == HARMLESS) {
            harmless++;
            if (getenv("ATTACK_VERBOSE"))
                printf("# %s: harmless: %s\n", r->name, r->why);
        } else {
            refused++;
            if (getenv("ATTACK_VERBOSE"))
                printf("# %s: %s\n", r->name, told(r->outcome));
        }
    }
    if (control) {
        printf("# %-36s %3u attempts, %3u succeed, %u do not\n", name, n, refused, failed);
        return failed + !n;
    }
    printf("# %-36s %3u attempts, %3u refused, %2u harmless, %u else\n", name, n, refused, harmless,
           failed);
    printf("# %-36s neighbour: %u rounds, %u wrong, %u unanswered, %.0f us before, %.0f us "
           "meanwhile\n",
           "", all->rounds, all->wrong, all->silent, all->before, all->during);
    printf("# %-36s front: %s, descriptors %u, %u, workers %u, %u, longest turn %llu us, %s\n", "",
           all->lost ? "lost" : "well", all->fds[0], all->fds[1], all->workers[0], all->workers[1],
           (unsigned long long)all->turn,
           all->whole ? "guest memory whole" : "GUEST MEMORY CHANGED");
    if (all->wrong || all->silent || !all->rounds || !all->health || all->lost || !all->whole ||
        !all->alive || all->fds[1] > all->fds[0] || all->workers[1] > all->workers[0]) {
        printf("FAIL %s/others: the front, a neighbour or guest memory has come to harm\n", name);
        failed++;
    }
    return failed + !n;
}
