/* SPDX-License-Identifier: MIT
 *
 * advice.h - tells the user what makes a program slow and only its user can change.
 *
 * Theory of operation
 * -------------------
 *
 * A program that computes a part of each graph itself (llama.cpp's -nkvo, -ot, --cpu-moe) does so with the
 * threads of GGML's CPU backend, most often OpenMP's. When they have nothing to do, GNU's OpenMP library has
 * them spin for milliseconds before they sleep. If the host's device is a CPU, that is the CPU which they
 * wait for: with two processors a token takes ten times as long. How long they spin is read from the
 * environment when that library is loaded, and it has no other way to be told. vgr-device sets it for its
 * workers; here there is nothing to do but to say it, once, and only if it is so.
 */
#ifndef VGR_GUEST_ADVICE_H
#define VGR_GUEST_ADVICE_H

#include "guest/device.h"
#include "guest/graph.h"

/* Called for each graph that a stream of `d` has run. Thread-safe. */
void vgr_advise(const struct vgr_device *d, const struct vgr_graphs *g);

#endif
