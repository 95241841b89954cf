/* SPDX-License-Identifier: MIT
 *
 * fake_worker.c - stands in for vgr-worker in the tests of vgr-device's modules: takes the hand-over
 * as worker/boot.h has it, says READY, and then does what the control page's hello.features asks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_worker.h"
#include "protocol/wire.h"
#include "worker/arena.h"
#include "worker/boot.h"
#include "worker/counts.h"

static uint64_t map_arena(uint8_t **base)
{
    static struct vgr_boot boot;
    struct vgr_arena arena;

    if (vgr_boot_read(&boot))
        exit(90);
    if (fcntl((int)(VGR_BOOT_FILES_FD + boot.n_fds + !!boot.client), F_GETFD) >= 0)
        exit(92); /* a descriptor too many */
    switch (vgr_arena_map(&arena, &boot)) {
    case 0:
        *base = arena.base;
        return arena.size;
    case -ECONNREFUSED:
        exit(VGR_BOOT_REFUSED);
    default:
        exit(91);
    }
}

static void wake(void)
{
    if (write(VGR_BOOT_LINE_FD, "", 1) < 0)
        exit(93);
}

int main(int argc, char **argv)
{
    struct vgr_counts_page *counts;
    struct vgr_control *ctl;
    uint8_t *arena;
    uint64_t size;

    if (argc != 2 || strcmp(argv[1], "--boot") || !getenv("VGR_NO_GUEST") ||
        getenv("VGR_TEST_SECRET"))
        return 94;
    size = map_arena(&arena);
    ctl = (struct vgr_control *)arena;
    counts = mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, VGR_BOOT_COUNTS_FD, 0);
    /* The front reads them: nobody may cut them short. */
    if (counts == MAP_FAILED || !ftruncate(VGR_BOOT_COUNTS_FD, 0) ||
        !ftruncate(VGR_BOOT_ACCOUNT_FD, 0) || !ftruncate(VGR_BOOT_SLOT_FD, 0))
        exit(96);
    /* The account of all is to read only. */
    if ((fcntl(VGR_BOOT_ACCOUNT_FD, F_GETFL) & O_ACCMODE) != O_RDONLY)
        exit(97);
    strcpy(counts->devices[0], "Fake0");
    counts->n_devices = 1;
    memcpy(arena + size - 8, "the end", 8);
    __atomic_store_n(&ctl->state, VGR_STATE_READY, __ATOMIC_SEQ_CST);
    wake();

    for (;;) {
        struct pollfd p = {.fd = VGR_BOOT_LINE_FD, .events = POLLIN};
        char rings[16];

        if (poll(&p, 1, -1) < 0 || read(p.fd, rings, sizeof(rings)) < 0)
            return 95;
        counts->counters[VGR_COUNTER_COMMANDS] += 10;
        switch (ctl->hello.features) {
        case FAKE_EXIT:
            return 7;
        case FAKE_ABORT:
            fputs("vgr-device: last words", stderr);
            abort();
        case FAKE_FAIL:
            ctl->error = VGR_ERROR_GRAPH;
            strcpy(ctl->error_text, "said the worker");
            __atomic_store_n(&ctl->state, VGR_STATE_FAILED, __ATOMIC_SEQ_CST);
            return 1;
        case FAKE_JAM:
            while (write(VGR_BOOT_LINE_FD, counts, 4096) > 0) {
            }
            fcntl(VGR_BOOT_LINE_FD, F_SETFL, 0);
            __atomic_store_n(&ctl->done, 2, __ATOMIC_SEQ_CST);
            for (;;)
                pause();
        case FAKE_HANG_UP:
            close(VGR_BOOT_LINE_FD);
            __atomic_store_n(&ctl->done, 2, __ATOMIC_SEQ_CST);
            for (;;)
                pause();
        case FAKE_SAY:
            dprintf(STDERR_FILENO, "honest %u\n", (unsigned)ctl->done + 1);
            __atomic_add_fetch(&ctl->done, 1, __ATOMIC_SEQ_CST);
            wake();
            break;
        default:
            __atomic_add_fetch(&ctl->done, 1, __ATOMIC_SEQ_CST);
            wake();
        }
    }
}
