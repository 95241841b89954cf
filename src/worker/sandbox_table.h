/* SPDX-License-Identifier: MIT
 *
 * sandbox_table.h - what a worker may do in its sandbox, as two tables: system calls and files.
 *
 * The filters (sandbox_calls.c), the file rules (sandbox_files.c) and the tables of docs/security.md are
 * made from these, and from nothing else. tests/build/sandbox-table fails where the page differs, and
 * writes it anew with --write.
 *
 * A call that is in no row works in relaxed. In strict it stops the worker.
 */
#ifndef VGR_WORKER_SANDBOX_TABLE_H
#define VGR_WORKER_SANDBOX_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum vgr_call_answer {
    VGR_CALL_ALLOW,    /* both modes make it, as far as its arguments are allowed */
    VGR_CALL_REFUSE,   /* both: EPERM. Libraries try it, and do without it. */
    VGR_CALL_ABSENT,   /* both: ENOSYS. Libraries then take another way. */
    VGR_CALL_NEVER,    /* relaxed: EPERM; strict: the kernel kills. No library has a use for it. */
    VGR_CALL_SPLIT,    /* both make it, but `refused` (all, if NULL) in parts: sandbox_split.h */
    VGR_CALL_UNLISTED, /* as any call in no row; relaxed gives `error`, or makes it, if that is 0. */
};

enum vgr_call_compare {
    VGR_ARG_IS = 1,   /* the argument's lower 32 bits, under `mask`, are `value` */
    VGR_ARG_NOT_ZERO, /* any of the argument's 64 bits is set */
    VGR_ARG_ABOVE,    /* the argument, all 64 bits of it, is more than `value` */
    VGR_ARG_SELF,     /* it is this process's number */
    VGR_ARG_NOT_SELF,
};

struct vgr_call_test {
    enum vgr_call_compare compare; /* 0: no test */
    unsigned arg;                  /* from 0 */
    uint32_t mask, value;          /* for VGR_ARG_IS */
};

/* For `error`: the call is not made, and says that it was. */
#define VGR_CALL_PRETEND (-1)

/* Arguments that are allowed or refused together. Both tests hold. */
struct vgr_call_case {
    const char *text; /* as the page prints it; NULL ends a list */
    struct vgr_call_test test[2];
};

struct vgr_call_row {
    const char *part;  /* begins a new part of the page, or NULL */
    const char *calls; /* names with spaces between */
    enum vgr_call_answer answer;
    int error; /* what `refused` gives: an errno, VGR_CALL_PRETEND; 0: EPERM. Of UNLISTED, see there. */
    const struct vgr_call_case *only;    /* strict allows these arguments only; NULL: all */
    const struct vgr_call_case *refused; /* both modes refuse these; NULL: none */
    const char *why;
};

enum vgr_path_access {
    VGR_PATH_READ,   /* files and folders below */
    VGR_PATH_LIST,   /* names of the files below */
    VGR_PATH_DEVICE, /* read, write, ioctl */
    VGR_PATH_TASK,   /* read, write, cut */
};

struct vgr_path_row {
    const char *paths; /* glob patterns, braces too, with spaces between */
    enum vgr_path_access access;
    uint32_t nodes; /* VGR_NODES_... (boot.h): opened if one of these is offered; 0: always */
    const char *why;
};

extern const struct vgr_call_row vgr_sandbox_calls[];
extern const size_t vgr_sandbox_n_calls;
extern const struct vgr_path_row vgr_sandbox_paths[];
extern const size_t vgr_sandbox_n_paths;

#endif
