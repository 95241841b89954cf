/* SPDX-License-Identifier: MIT
 *
 * test_loop.h - an event loop by hand: events are served while a test waits for something.
 */
#ifndef VGR_TEST_LOOP_H
#define VGR_TEST_LOOP_H

#include <sys/epoll.h>

#include "device/loop.h"

/* Serves what is ready, or becomes so within `ms`. */
static inline void serve_loop(struct vgr_loop *loop, int ms)
{
    loop->next = 0;
    loop->n_events = epoll_wait(loop->epoll_fd, loop->events, VGR_LOOP_BATCH, ms);
    while (loop->next < loop->n_events) {
        struct vgr_watch *w = loop->events[loop->next++].data.ptr;

        if (w)
            w->ready(w, EPOLLIN);
    }
}

/* Serves the events of f->loop until the condition holds, for 5 s at most. */
#define UNTIL(f, condition)                                                                        \
    do {                                                                                           \
        uint64_t end_ = vgr_now_ms() + 5000;                                                       \
        while (!(condition)) {                                                                     \
            assert_true(vgr_now_ms() < end_);                                                      \
            serve_loop(&(f)->loop, 50);                                                            \
        }                                                                                          \
    } while (0)

#endif
