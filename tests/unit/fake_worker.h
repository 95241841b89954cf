/* SPDX-License-Identifier: MIT
 *
 * fake_worker.h - what fake_worker does at a doorbell: the value of hello.features.
 */
#ifndef VGR_FAKE_WORKER_H
#define VGR_FAKE_WORKER_H

enum {
    FAKE_ECHO = 0,    /* counts `done` up and wakes the guest */
    FAKE_EXIT = 1,    /* exit status 7, nothing said */
    FAKE_ABORT = 2,   /* after words on stderr that have no end of a line */
    FAKE_FAIL = 3,    /* writes FAILED with VGR_ERROR_GRAPH, exits */
    FAKE_JAM = 4,     /* fills the line, clears its flags, never reads; sets `done` to 2 then */
    FAKE_HANG_UP = 5, /* closes the line; sets `done` to 2 then */
    FAKE_SAY = 6, /* as FAKE_ECHO, after a line of the log: "honest " and the new value of `done` */
};

#endif
