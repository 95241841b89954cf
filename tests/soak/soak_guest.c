/* SPDX-License-Identifier: MIT
 *
 * soak_guest - opens and closes the guest library's connection to the host, many times.
 *
 *   soak_guest CONNECTIONS
 *
 * Somebody may kill workers meanwhile: a connection whose worker dies at its start does not count. Prints
 * how many were opened, how many failed, and the descriptors and mappings of this process after the tenth
 * and after the last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/conn.h"
#include "holdings.h"

/* A connection that can send a command and see it done. */
static bool visit(void)
{
    struct vgr_host *host = vgr_hosts_find() ? vgr_host_at(0) : NULL;
    struct vgr_conn *c = host ? vgr_conn_open(host) : NULL;
    struct vgr_cmd sync = {.op = VGR_CMD_SYNC};
    struct vgr_queue *q;
    uint64_t seq = 0;
    bool ok;

    if (!c)
        return false;
    q = vgr_conn_queue(c, 0);
    if (vgr_queue_lock(q)) {
        seq = vgr_queue_push(q, &sync, sizeof(sync), NULL, 0);
        vgr_queue_publish(q);
        vgr_queue_unlock(q);
    }
    ok = seq && vgr_queue_wait(q, seq);
    vgr_conn_close(c);
    return ok;
}

int main(int argc, char **argv)
{
    unsigned n = argc == 2 ? (unsigned)atoi(argv[1]) : 0, opened = 0, failed = 0, fds = 0, maps = 0;

    while (opened < n && failed <= n) {
        if (!visit()) {
            failed++;
        } else if (++opened == 10) {
            fds = count_fds();
            maps = count_maps();
        }
    }
    printf("%u %u %u %u %u %u\n", opened, failed, fds, count_fds(), maps, count_maps());
    return 0;
}
