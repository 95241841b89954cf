/* SPDX-License-Identifier: MIT
 *
 * worker_report.h - what came of a run of attempts, as it is collected by worker_drive.c, and its table.
 */
#ifndef VGR_HOSTILE_WORKER_REPORT_H
#define VGR_HOSTILE_WORKER_REPORT_H

#include "hostile/worker.h"

/* In memory that outlives the driver's processes. */
struct attack_record {
    struct attack_result result[ATTACK_MAX];
    uint32_t n, next; /* how many there are; the one to go on with */
    uint32_t hits;    /* signals that have come to the victim */
    uint32_t lost;    /* fronts that did not answer */
    /* The neighbour's. */
    uint32_t rounds, wrong, silent;
    double before, during; /* median of a round trip, us */
    /* The front's: descriptors and processes before and after; a fresh context computes, it ends in peace. */
    unsigned fds[2], workers[2], health;
    bool whole, alive; /* guest memory outside of the arenas; the victim */
    uint64_t turn;     /* the longest, us */
};

/* Prints a line FAIL for each attempt that has not come to what it must, and figures in lines that begin with #.
 * With `control` there was no sandbox, and every attempt must have succeeded. With ATTACK_VERBOSE in the
 * environment it prints all outcomes. Returns how many lines say FAIL, or 1 if there was no attempt. */
unsigned attack_report(const struct attack_record *all, const char *name, bool control);

#endif
