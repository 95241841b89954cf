/* SPDX-License-Identifier: MIT
 *
 * text.h - strings of the other side, made fit to be shown.
 *
 * A guest writes names and versions that the host logs, and a host writes names and reasons that the guest
 * library shows. Neither side believes the other to write text. What a terminal, a log file or a reader
 * could take for something else than a few characters of one line is shown as bytes, \xNN: control
 * characters (C0, DEL, C1), the separators of lines and paragraphs, what changes the direction of text, what
 * cannot be seen, and every byte that is not valid UTF-8. All other text passes as it is, backslashes too:
 * nobody turns the escaped form back.
 */
#ifndef VGR_PROTOCOL_TEXT_H
#define VGR_PROTOCOL_TEXT_H

#include <stddef.h>

/* Writes `len` bytes of `text` into out[cap] in that form. The result always ends with a NUL. What does
 * not fit is left out, but never a part of a character or of its \xNN. `text` must be the caller's private
 * copy: it is read more than once. `cap` is not 0. Returns the length of the result without its NUL. */
size_t vgr_text_clean(char *out, size_t cap, const char *text, size_t len);

#endif
