/* SPDX-License-Identifier: MIT
 *
 * llama-whole.c - makes a llama.cpp program print the end of its log (to be preloaded)
 *
 * llama.cpp's programs print through a queue that a thread of their own empties. They leave main()
 * without a word to that thread, and what it has not printed when the process ends is lost
 * (llama.cpp issue 22142). llama.cpp has a function that waits for the queue, which its programs
 * call in some places: this one calls it at exit. Programs without that function are left alone.
 */
#include <stddef.h>

struct common_log;

/* C++ functions of libllama-common, by the names that its ABI gives them. */
extern struct common_log *log_main(void) __asm__("_Z15common_log_mainv") __attribute__((weak));
extern void log_flush(struct common_log *log) __asm__("_Z16common_log_flushP10common_log")
    __attribute__((weak));

__attribute__((destructor)) static void flush_log(void)
{
    if (log_main && log_flush)
        log_flush(log_main());
}
