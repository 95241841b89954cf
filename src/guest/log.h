/* SPDX-License-Identifier: MIT
 *
 * log.h - what the guest library tells its user.
 *
 * Everything goes through GGML's logger, so that the program decides what is shown. In normal use
 * the library says nothing; what goes wrong is said once. VGR_LOG=debug in the environment adds how
 * the device was looked for and what the connection does.
 */
#ifndef VGR_GUEST_LOG_H
#define VGR_GUEST_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* True if VGR_LOG=debug. Read once. */
bool vgr_say_verbose(void);

/* One line through GGML's logger, with the library's prefix; `fmt` without a newline. Whatever text of the
 * host or the program gets into it, it is one line that can be read (protocol/text.h). */
__attribute__((format(printf, 1, 2))) void vgr_say_error(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void vgr_say_warn(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void vgr_say_debug(const char *fmt, ...);

/* Makes text of the host fit to be shown (protocol/text.h). It ends with a NUL or after `len` bytes, of
 * which the first VGR_CONTROL_TEXT count, and may lie in shared memory. What does not fit into out[cap] is
 * left out; the result always ends with a NUL. */
void vgr_say_clean(char *out, size_t cap, const char *text, size_t len);

#endif
