/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "protocol/text.h"

static char out[4096];

static const char *clean(const char *text, size_t len)
{
    size_t n = vgr_text_clean(out, sizeof(out), text, len);

    assert_int_equal(n, strlen(out));
    return out;
}

#define CLEAN(text) clean(text, sizeof(text) - 1)

/* The UTF-8 form of a code point, surrogates and what is too large included. */
static size_t encode(uint32_t c, char *s)
{
    if (c < 0x80) {
        s[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        s[0] = (char)(0xc0 | c >> 6);
        s[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        s[0] = (char)(0xe0 | c >> 12);
        s[1] = (char)(0x80 | (c >> 6 & 0x3f));
        s[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    s[0] = (char)(0xf0 | c >> 18);
    s[1] = (char)(0x80 | (c >> 12 & 0x3f));
    s[2] = (char)(0x80 | (c >> 6 & 0x3f));
    s[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static void every_byte_alone(void **state)
{
    for (unsigned i = 0; i < 256; i++) {
        char c = (char)i, expect[8];

        if (i >= 0x20 && i < 0x7f)
            snprintf(expect, sizeof(expect), "%c", i);
        else
            snprintf(expect, sizeof(expect), "\\x%02x", i);
        assert_string_equal(clean(&c, 1), expect);
    }
}

static void every_code_point(void **state)
{
    unsigned shown = 0;

    for (uint32_t c = 0; c < 0x200000; c++) {
        char s[4], *text;
        size_t len = encode(c, s);
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        bool steers = c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
                      (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x61c;
        bool is_none = c > 0x10ffff || (c >= 0xd800 && c < 0xe000);

        text = (char *)clean(s, len);
        if (strlen(text) == len && !memcmp(text, s, len)) {
            assert_false(control || steers || is_none);
            shown++;
            continue;
        }
        /* Refused as a whole: nothing but its bytes in hexadecimal digits is left of it. */
        assert_int_equal(strlen(text), 4 * len);
        for (size_t i = 0; i < len; i++) {
            char expect[8];

            snprintf(expect, sizeof(expect), "\\x%02x", (unsigned char)s[i]);
            assert_memory_equal(text + 4 * i, expect, 4);
        }
    }
    /* Languages and signs pass: few are refused. */
    assert_uint_in_range(shown, 0x110000 - 0x800 - 5000, 0x110000 - 0x800);
}

static void text_of_people_passes(void **state)
{
    assert_string_equal(CLEAN("Intel\xc2\xae Arc\xe2\x84\xa2 A770, 100 % \\ \"quoted\""),
                        "Intel\xc2\xae Arc\xe2\x84\xa2 A770, 100 % \\ \"quoted\"");
    assert_string_equal(CLEAN("\xe6\x98\xbe\xe5\x8d\xa1 \xf0\x9f\x9a\x80"),
                        "\xe6\x98\xbe\xe5\x8d\xa1 \xf0\x9f\x9a\x80");
}

static void what_steers_is_shown_as_bytes(void **state)
{
    assert_string_equal(CLEAN("a\nvgr-device: ready\r\x1b[2J\a\x7f"),
                        "a\\x0avgr-device: ready\\x0d\\x1b[2J\\x07\\x7f");
    assert_string_equal(CLEAN("\xc2\x9b"
                              "31m"),
                        "\\xc2\\x9b31m");
    assert_string_equal(CLEAN("\xe2\x80\xae"
                              "drow"),
                        "\\xe2\\x80\\xaedrow");
    assert_string_equal(CLEAN("a\0b"), "a\\x00b");
}

static void what_is_not_utf8_is_shown_as_bytes(void **state)
{
    assert_string_equal(CLEAN("\xc0\x8a"), "\\xc0\\x8a");          /* '\n', too long */
    assert_string_equal(CLEAN("\xe0\x80\x9b"), "\\xe0\\x80\\x9b"); /* the same of C1 */
    assert_string_equal(CLEAN("\xf0\x80\x80\x8a"), "\\xf0\\x80\\x80\\x8a");
    assert_string_equal(CLEAN("\xed\xa0\x80"), "\\xed\\xa0\\x80"); /* a surrogate */
    assert_string_equal(CLEAN("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80");
    assert_string_equal(CLEAN("\xe2\x82"), "\\xe2\\x82"); /* it ends too early */
    assert_string_equal(CLEAN("\xe2\x82z"), "\\xe2\\x82z");
    assert_string_equal(CLEAN("\xe2\n\x82"), "\\xe2\\x0a\\x82");
    assert_string_equal(CLEAN("\x80\xff"), "\\x80\\xff");
}

static void it_ends_between_characters(void **state)
{
    /* Each of them is whole or not there, however little room there is. */
    const char text[] = "a\n\xe2\x82\xac\xff";
    const size_t ends[] = {0, 1, 5, 8, 12};

    for (size_t cap = 1; cap < 20; cap++) {
        char small[20];
        size_t n, expect = 0;

        memset(small, 'z', sizeof(small));
        n = vgr_text_clean(small, cap, text, sizeof(text) - 1);
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
            if (ends[i] < cap)
                expect = ends[i];
        }
        assert_int_equal(n, expect);
        assert_int_equal(small[n], '\0');
        for (size_t i = cap; i < sizeof(small); i++)
            assert_int_equal(small[i], 'z');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_alone),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(text_of_people_passes),
        cmocka_unit_test(what_steers_is_shown_as_bytes),
        cmocka_unit_test(what_is_not_utf8_is_shown_as_bytes),
        cmocka_unit_test(it_ends_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
