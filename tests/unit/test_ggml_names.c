/* SPDX-License-Identifier: MIT */
#include <ggml.h>
#include <string.h>

#include "protocol/ggml_names.h"
#include "vgr_test.h"

static struct vgr_names n;
static struct vgr_names_map map;

static void test_every_op_of_this_ggml_has_a_name_that_travels(void **state)
{
    (void)state;
    vgr_ggml_names(&n);
    for (int i = 0; i < GGML_OP_COUNT; i++)
        assert_string_equal(n.entry[VGR_DICT_OP][i].name,
                            vgr_ggml_op_name(ggml_op_name((enum ggml_op)i), ggml_version()));
    for (int i = 0; i < GGML_UNARY_OP_COUNT; i++)
        assert_string_not_equal(n.entry[VGR_DICT_UNARY][i].name, "");
    for (int i = 0; i < GGML_GLU_OP_COUNT; i++)
        assert_string_not_equal(n.entry[VGR_DICT_GLU][i].name, "");
    assert_string_equal(n.version, ggml_version());
}

static void test_the_same_ggml_maps_to_itself(void **state)
{
    (void)state;
    vgr_names_map(&map, &n, &n);
    for (int i = 0; i < GGML_OP_COUNT; i++)
        assert_int_equal(vgr_names_lookup(&map, VGR_DICT_OP, (unsigned)i), i);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_TYPE, GGML_TYPE_F32), GGML_TYPE_F32);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_TYPE, GGML_TYPE_Q4_0), GGML_TYPE_Q4_0);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_OP, GGML_OP_COUNT), VGR_NAMES_NONE);
}

static void test_an_op_of_another_meaning_has_another_name(void **state)
{
    assert_string_equal(vgr_ggml_op_name("SSM_SCAN", "0.19.0"), "SSM_SCAN");
    assert_string_equal(vgr_ggml_op_name("SSM_SCAN", "0.23.0"), "SSM_SCAN.2");
    assert_string_equal(vgr_ggml_op_name("SSM_SCAN", "1.0.0"), "SSM_SCAN.2");
    assert_string_equal(vgr_ggml_op_name("DSV4_HC_PRE", "0.23.0"), "DSV4_HC_PRE");
    assert_string_equal(vgr_ggml_op_name("DSV4_HC_PRE", "0.25.1"), "DSV4_HC_PRE.2");
    assert_string_equal(vgr_ggml_op_name("ADD", "0.19.0"), "ADD");
    assert_string_equal(vgr_ggml_op_name("ADD", "0.27.0"), "ADD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_of_this_ggml_has_a_name_that_travels),
        cmocka_unit_test(test_the_same_ggml_maps_to_itself),
        cmocka_unit_test(test_an_op_of_another_meaning_has_another_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
