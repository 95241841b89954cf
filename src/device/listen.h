/* SPDX-License-Identifier: MIT
 *
 * listen.h - listening unix sockets.
 */
#ifndef VGR_DEVICE_LISTEN_H
#define VGR_DEVICE_LISTEN_H

#include <stddef.h>
#include <sys/types.h>

/* Listens on `path` with a socket of `type` (SOCK_STREAM, SOCK_SEQPACKET), close-on-exec and
 * non-blocking. A socket file that nobody serves any more is replaced; one that is served, or a file
 * that is no socket, is left alone. The file gets the permissions `mode`, less those of the umask.
 * Returns the descriptor, or -errno with a sentence for people in `why`. */
int vgr_listen(const char *path, int type, mode_t mode, char *why, size_t why_size);

#endif
