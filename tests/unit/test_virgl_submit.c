/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <string.h>

#include "virgl/submit.h"

#define WORDS ((int)(sizeof(struct vgr_bridge_submit) / 4))

static struct vgr_bridge_submit valid(void)
{
    return (struct vgr_bridge_submit){
        .nop = VGR_BRIDGE_NOP,
        .submit = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .resource = 7, .size = 1 << 20},
    };
}

static void ours_is_read(void **state)
{
    struct vgr_bridge_submit b = valid();
    struct vgr_submit s;
    uint8_t odd[sizeof(b) + 1];

    assert_true(vgr_submit_parse(&b, WORDS, &s));
    assert_memory_equal(&s, &b.submit, sizeof(s));
    memcpy(odd + 1, &b, sizeof(b)); /* whatever its alignment */
    memset(&s, 0, sizeof(s));
    assert_true(vgr_submit_parse(odd + 1, WORDS, &s));
    assert_memory_equal(&s, &b.submit, sizeof(s));
}

static void every_op_and_no_other(void **state)
{
    struct vgr_bridge_submit b = valid();
    struct vgr_submit s;
    unsigned n = 0;

    for (uint32_t op = 0; op < 300; op++) {
        b.submit.op = op;
        n += vgr_submit_parse(&b, WORDS, &s);
    }
    assert_int_equal(n, 4);
    b.submit.op = UINT32_MAX;
    assert_false(vgr_submit_parse(&b, WORDS, &s));
}

static void others_are_not(void **state)
{
    struct vgr_bridge_submit b = valid();
    struct vgr_submit s = {.op = 99};

    for (int n = -3; n < 64; n++) {
        if (n != WORDS)
            assert_false(vgr_submit_parse(&b, n, &s));
    }
    assert_false(vgr_submit_parse(&b, INT32_MAX, &s));
    assert_false(vgr_submit_parse(&b, INT32_MIN, &s));
    assert_false(vgr_submit_parse(NULL, WORDS, &s));
    b.nop++;
    assert_false(vgr_submit_parse(&b, WORDS, &s));
    b = valid();
    b.submit.magic ^= 1;
    assert_false(vgr_submit_parse(&b, WORDS, &s));
    assert_int_equal(s.op, 99); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_is_read),
        cmocka_unit_test(every_op_and_no_other),
        cmocka_unit_test(others_are_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
