/* SPDX-License-Identifier: MIT
 *
 * fds.h - messages with descriptors, over unix sockets (unix(7), SCM_RIGHTS); and the first three.
 *
 * Whoever receives owns every descriptor that came, wanted or not: nothing is lost here, whatever the
 * sender does.
 */
#ifndef VGR_COMMON_FDS_H
#define VGR_COMMON_FDS_H

#include <sys/socket.h>
#include <sys/types.h>

#define VGR_FDS_MAX 64u /* in one message */

/* Sends `len` bytes with `n` descriptors (0: none), which stay the caller's. `flags` as for sendmsg(2);
 * no signal is raised, and none interrupts it. Returns what was sent, or -errno. */
ssize_t vgr_fds_send(int sock, const void *buf, size_t len, const int *fds, unsigned n, int flags);

/* Receives up to `len` bytes; no signal interrupts it. The descriptors that came are added to fds[*n], up to
 * `max` (VGR_FDS_MAX at most) in all, 3 or more and close-on-exec; more are closed. *flags are those for
 * recvmsg(2), and then msg_flags, with MSG_CTRUNC also where some were closed here. Returns the length, or
 * -errno. An empty message may have brought descriptors, too. */
ssize_t vgr_fds_receive(int sock, void *buf, size_t len, int *fds, unsigned max, unsigned *n,
                        int *flags);

/* Has the kernel refuse (EPERM) to send descriptors to this unix socket, and to those that are accepted from
 * it, which receive bytes only. Without it whoever reads the bytes closes the descriptors, and that can take
 * as long as the sender likes: a TCP socket that lingers waits in its last close(). Linux 6.16 and later;
 * earlier ones do not know it, and nothing changes. */
void vgr_fds_refuse(int sock);

/* Opens /dev/null as each of the descriptors 0 to 2 that is closed. A program calls this before it opens
 * anything: what is opened later would get such a number, and then the log, or what GGML prints, would be
 * written into it. Returns 0 or -errno. */
int vgr_fds_standard(void);

#endif
