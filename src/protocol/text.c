/* SPDX-License-Identifier: MIT */
#include "protocol/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Code points that do not pass, by rising number. */
static const struct {
    uint32_t first, last;
} refused[] = {
    {0x0000, 0x001f},   /* C0 */
    {0x007f, 0x009f},   /* DEL, C1 */
    {0x00ad, 0x00ad},   /* soft hyphen */
    {0x061c, 0x061c},   /* Arabic letter mark */
    {0x180e, 0x180e},   /* Mongolian vowel separator */
    {0x200b, 0x200f},   /* of no width, marks of direction */
    {0x2028, 0x202e},   /* separators of lines and paragraphs, embeddings and overrides */
    {0x2060, 0x206f},   /* of no width, isolates */
    {0xfeff, 0xfeff},   /* byte order mark */
    {0xfff0, 0xfffb},   /* annotations */
    {0xfffe, 0xffff},   /* no characters */
    {0xe0000, 0xe0fff}, /* tags */
};

static bool passes(uint32_t c)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (c <= refused[i].last)
            return c < refused[i].first;
    }
    return true;
}

/* The length of the character at `s`, of which `left` bytes are there, and *c; 0: it is not UTF-8, or not
 * in its shortest form. */
static size_t decode(const unsigned char *s, size_t left, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80             ? 1
               : (s[0] & 0xe0) == 0xc0 ? 2
               : (s[0] & 0xf0) == 0xe0 ? 3
               : (s[0] & 0xf8) == 0xf0 ? 4
                                       : 0;

    if (!n || n > left)
        return 0;
    *c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (s[i] & 0x3f);
    }
    if (*c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff))
        return 0;
    return n;
}

size_t vgr_text_clean(char *out, size_t cap, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)text;
    size_t n = 0;

    while (len) {
        uint32_t c;
        size_t size = decode(s, len, &c);
        bool shown = size && passes(c);

        if (!size)
            size = 1;
        if ((shown ? size : 4 * size) >= cap - n)
            break;
        for (size_t i = 0; i < size; i++) {
            if (shown) {
                out[n++] = (char)s[i];
                continue;
            }
            memcpy(out + n, (const char[]){'\\', 'x', hex[s[i] >> 4], hex[s[i] & 15]}, 4);
            n += 4;
        }
        s += size;
        len -= size;
    }
    out[n] = '\0';
    return n;
}
