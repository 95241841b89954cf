/* SPDX-License-Identifier: MIT
 *
 * worker_devices.c - attempts at devices: nodes of GPUs that were not chosen, and of everything else that
 * /dev has. The driver has set up a /dev in which each of the GPU's nodes opens like /dev/null, so that the
 * sandbox alone says no; what was chosen is the CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "hostile/worker.h"

#define NODE(function, path)                                                                       \
    static int function(void)                                                                      \
    {                                                                                              \
        int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);                           \
        int err = attack_errno(fd);                                                                \
                                                                                                   \
        if (fd >= 0)                                                                               \
            close(fd);                                                                             \
        return err;                                                                                \
    }

NODE(card, "/dev/dri/card7")
NODE(card_by_path, "/dev/dri/by-path/pci-0000:07:00.0-card")
NODE(other_nvidia, "/dev/nvidia7")
NODE(nvidia_modeset, "/dev/nvidia-modeset")
NODE(nvidia_caps, "/dev/nvidia-caps/nvidia-cap1")
NODE(udmabuf, "/dev/udmabuf")
NODE(kfd, "/dev/kfd")
NODE(accel, "/dev/accel/accel7")
NODE(kmsg, "/dev/kmsg")
NODE(mem, "/dev/mem")
NODE(kvm, "/dev/kvm")
NODE(tun, "/dev/net/tun")
NODE(vhost, "/dev/vhost-net")
NODE(vfio, "/dev/vfio/vfio")
NODE(fuse, "/dev/fuse")
NODE(loop, "/dev/loop-control")
NODE(dma_heap, "/dev/dma_heap/system")
NODE(input, "/dev/input/event7")
NODE(console, "/dev/console")
NODE(terminals, "/dev/ptmx")
NODE(full, "/dev/full")

/* ---- Terminals. The log may go to one; the controls have one of their own. ---- */

static int terminal(unsigned long request, void *arg)
{
    int err = 0;

    for (int fd = 0; fd < 3; fd++) {
        err = attack_errno(attack_call(16 /* ioctl */, (long)fd, request, arg));
        if (!err)
            return 0;
    }
    return err;
}

static int own_terminal(unsigned long request, void *arg)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY);

    return fd < 0 ? errno : attack_errno(attack_call(16, (long)fd, request, arg));
}

static int type(void)
{
    return terminal(TIOCSTI, "x");
}

static int type_wide(void)
{
    return terminal(TIOCSTI | 1UL << 32, "x");
}

static int type_own(void)
{
    return own_terminal(TIOCSTI, "x");
}

static int paste(void)
{
    char what[2] = {3, 0};

    return terminal(TIOCLINUX, what);
}

static int foreground(void)
{
    int pid = scene.page->victim;

    return terminal(TIOCSPGRP, &pid);
}

static int size(void)
{
    struct winsize w = {.ws_row = 1, .ws_col = 1};

    return terminal(TIOCSWINSZ, &w);
}

static int size_own(void)
{
    struct winsize w = {.ws_row = 1, .ws_col = 1};

    return own_terminal(TIOCSWINSZ, &w);
}

static int control_it(void)
{
    return terminal(TIOCSCTTY, (void *)1);
}

static int discipline(void)
{
    int n = N_PPP;

    return terminal(TIOCSETD, &n);
}

static int settings(void)
{
    struct termios t;

    if (terminal(TCGETS, &t))
        return errno;
    return terminal(TCSETS, &t);
}

static int console_here(void)
{
    return terminal(TIOCCONS, NULL);
}

static const struct attempt list[] = {
    {"a card node of DRM", card, 0, NULL, NULL, 1},
    {"a card node by its path", card_by_path, 0, NULL, NULL, 1},
    {"another NVIDIA GPU", other_nvidia, 0, NULL, NULL, 1},
    {"nvidia-modeset", nvidia_modeset, 0, NULL, NULL, 1},
    {"nvidia-caps", nvidia_caps, 0, NULL, NULL, 1},
    {"udmabuf", udmabuf, 0, NULL, NULL, 1},
    {"kfd", kfd, 0, NULL, NULL, 1},
    {"another accelerator", accel, 0, NULL, NULL, 1},
    {"/dev/kmsg", kmsg, 0, NULL, NULL, 1},
    {"/dev/mem", mem, 0, NULL, NULL, 1},
    {"/dev/kvm", kvm, 0, NULL, NULL, 1},
    {"/dev/net/tun", tun, 0, NULL, NULL, 1},
    {"/dev/vhost-net", vhost, 0, NULL, NULL, 1},
    {"/dev/vfio/vfio", vfio, 0, NULL, NULL, 1},
    {"/dev/fuse", fuse, 0, NULL, NULL, 1},
    {"/dev/loop-control", loop, 0, NULL, NULL, 1},
    {"/dev/dma_heap", dma_heap, 0, NULL, NULL, 1},
    {"/dev/input", input, 0, NULL, NULL, 1},
    {"/dev/console", console, 0, NULL, NULL, 1},
    {"/dev/ptmx", terminals, 0, NULL, NULL, 1},
    {"/dev/full", full, 0, NULL, NULL, 1},
    {"type on the terminal (TIOCSTI)", type, 0, NULL, type_own, 0},
    {"type on it, by a wide number", type_wide, 0, NULL, type_own, 0},
    {"paste on the terminal (TIOCLINUX)", paste, 0, NULL, type_own, 0},
    {"the terminal's foreground (TIOCSPGRP)", foreground, 0, NULL, size_own, 0},
    {"the terminal's size, with its signal", size, 0, NULL, size_own, 0},
    {"the terminal for itself (TIOCSCTTY)", control_it, 0, NULL, size_own, 0},
    {"the terminal's discipline (TIOCSETD)", discipline, 0, NULL, size_own, 0},
    {"the terminal's settings", settings, 0, NULL, size_own, 0},
    {"the machine's console (TIOCCONS)", console_here, 0, NULL, size_own, 0},
};
ATTEMPTS(attack_devices, "devices", list);
