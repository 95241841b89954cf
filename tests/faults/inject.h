/* SPDX-License-Identifier: MIT
 *
 * inject.h - a page that tells a preloaded library (inject.c) which call is to fail, and how.
 *
 * The library counts the calls that code of ours makes, by the binary that the return address lies in, and by
 * kind. The page is a file, INJECT in the environment, which is shared by all processes that have it. drive.py
 * writes and reads it; the layout is this one.
 */
#ifndef VGR_FAULTS_INJECT_H
#define VGR_FAULTS_INJECT_H

#include <stdint.h>

/* WHO, and how the name of its file begins. A worker that only probes is told from others by its argument. */
#define INJECT_WHO(X)                                                                              \
    X(GUEST, "libggml-virtgpu")                                                                    \
    X(FRONT, "vgr-device")                                                                         \
    X(WORKER, "vgr-worker")                                                                        \
    X(PROBE, "vgr-worker --probe")                                                                 \
    X(KEEPER, "vgr-keeper")                                                                        \
    X(BRIDGE, "libvgr-virgl")

#define INJECT_KINDS(X)                                                                            \
    X(POLL)                                                                                        \
    X(RECEIVE)                                                                                     \
    X(SEND)                                                                                        \
    X(CONNECT)                                                                                     \
    X(IOCTL)                                                                                       \
    X(MMAP)                                                                                        \
    X(MEMFD)                                                                                       \
    X(FTRUNCATE)                                                                                   \
    X(EVENTFD)                                                                                     \
    X(THREAD)                                                                                      \
    X(FORK)                                                                                        \
    X(MALLOC)                                                                                      \
    X(SOCKET)                                                                                      \
    X(ACCEPT)                                                                                      \
    X(OPEN)                                                                                        \
    X(DUP)                                                                                         \
    X(EPOLL)                                                                                       \
    X(WAIT)                                                                                        \
    X(PIDFD)

#define INJECT_ENUM_WHO(name, file) INJECT_##name,
#define INJECT_ENUM_KIND(name)      INJECT_##name,
enum inject_who { INJECT_WHO(INJECT_ENUM_WHO) INJECT_N_WHO };
enum inject_kind { INJECT_KINDS(INJECT_ENUM_KIND) INJECT_N_KINDS };

#define INJECT_SITES 256   /* calls of a kind that are remembered */
#define INJECT_SHORT 10000 /* instead of an errno: one byte, of what is a stream of them */

struct inject_page {
    uint32_t who, kind;
    uint32_t nth;      /* from 1; 0: none */
    uint32_t error;    /* an errno or INJECT_SHORT */
    uint32_t injected; /* how often; a second one there is not */
    uint32_t calls[INJECT_N_WHO][INJECT_N_KINDS];
    uint32_t sites[INJECT_N_WHO][INJECT_N_KINDS]
                  [INJECT_SITES]; /* from where: of the return address, 32 bits */
};

#endif
