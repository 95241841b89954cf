/* SPDX-License-Identifier: MIT
 *
 * test_loop.h - an event loop by hand: events are served while a test waits for something.
 */
#ifndef VGR_TEST_LOOP_H
#define VGR_TEST_LOOP_H

#include "device/loop.h"

/* Serves the events of f->loop until the condition holds, for a minute at most. */
#define UNTIL(f, condition)                                                                        \
    do {                                                                                           \
        uint64_t end_ = vgr_now_ms() + 60000;                                                      \
        while (!(condition)) {                                                                     \
            assert_true(vgr_now_ms() < end_);                                                      \
            vgr_loop_turn(&(f)->loop, 50);                                                         \
        }                                                                                          \
    } while (0)

#endif
