/* SPDX-License-Identifier: MIT
 *
 * peer_worker.c - a worker in hostile hands: it sends the descriptors that it was started with to the
 * fuzzer (fuzz_peer.c), which then plays it with the same open files, and sleeps until it is killed.
 *
 * A real worker has closed the boot file, the arena's files and its client's connection before its guest can
 * say anything (worker/boot.h), so these do not go along.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer_worker.h"
#include "send_fds.h"
#include "worker/boot.h"

int main(void)
{
    static const int fds[PEER_FDS] = {
        [PEER_LINE] = VGR_BOOT_LINE_FD,
        [PEER_LOG] = STDERR_FILENO,
        [PEER_COUNTS] = VGR_BOOT_COUNTS_FD,
        [PEER_ACCOUNT] = VGR_BOOT_ACCOUNT_FD,
    };
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    pid_t pid = getpid();
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len;

    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                      (size_t)snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, PEER_ADDRESS,
                                       (int)getppid()));
    if (s < 0 || connect(s, (struct sockaddr *)&addr, len))
        return 90;
    if (send_fds(s, &pid, sizeof(pid), fds, PEER_FDS) != sizeof(pid))
        return 91;
    close_range(0, ~0u, 0); /* the fuzzer alone decides how long they are open */
    for (;;)
        pause();
}
