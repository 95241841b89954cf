/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/names.h"
#include "vgr_test.h"

static struct vgr_names a, b;
static struct vgr_names_map map;

static void test_numbers_are_mapped_by_name(void **state)
{
    (void)state;
    vgr_names_init(&a, "1.0");
    vgr_names_init(&b, "2.0");
    assert_int_equal(vgr_names_add(&a, VGR_DICT_OP, 5, "MUL_MAT", 0, 0), 0);
    assert_int_equal(vgr_names_add(&a, VGR_DICT_UNARY, 5, "TANH", 0, 0), 0);
    assert_int_equal(vgr_names_add(&b, VGR_DICT_OP, 9, "MUL_MAT", 0, 0), 0);
    assert_int_equal(vgr_names_add(&b, VGR_DICT_OP, 5, "TANH", 0, 0), 0);
    vgr_names_map(&map, &a, &b);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_OP, 5), 9);
    /* Kinds do not mix: the unary TANH is not the op TANH. */
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_UNARY, 5), VGR_NAMES_NONE);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_OP, 6), VGR_NAMES_NONE);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_OP, 1u << 31), VGR_NAMES_NONE);
}

static void test_types_must_agree_in_size(void **state)
{
    (void)state;
    vgr_names_init(&a, "1");
    vgr_names_init(&b, "1");
    vgr_names_add(&a, VGR_DICT_TYPE, 2, "q4_0", 32, 18);
    vgr_names_add(&b, VGR_DICT_TYPE, 2, "q4_0", 32, 20);
    vgr_names_add(&a, VGR_DICT_TYPE, 3, "f32", 1, 4);
    vgr_names_add(&b, VGR_DICT_TYPE, 4, "f32", 1, 4);
    vgr_names_map(&map, &a, &b);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_TYPE, 2), VGR_NAMES_NONE);
    assert_int_equal(vgr_names_lookup(&map, VGR_DICT_TYPE, 3), 4);
}

static void test_bad_names_are_not_added(void **state)
{
    (void)state;
    vgr_names_init(&a, "1");
    assert_int_equal(vgr_names_add(&a, VGR_DICT_OP, 1, "", 0, 0), -EINVAL);
    assert_int_equal(vgr_names_add(&a, VGR_DICT_OP, 256, "X", 0, 0), -EINVAL);
    assert_int_equal(vgr_names_add(&a, VGR_DICT_KINDS, 1, "X", 0, 0), -EINVAL);
    assert_int_equal(vgr_names_add(&a, VGR_DICT_OP, 1, "0123456789012345678901234567890", 0, 0), 0);
    assert_int_equal(vgr_names_add(&a, VGR_DICT_OP, 2, "01234567890123456789012345678901", 0, 0),
                     -EINVAL);
    assert_int_equal(vgr_names_add(&a, VGR_DICT_OP, 1, "TWICE", 0, 0), -EINVAL);
}

static void test_the_wire_form_comes_back(void **state)
{
    uint8_t buf[4096];
    int64_t n;

    (void)state;
    vgr_names_init(&a, "0.27.0");
    vgr_names_add(&a, VGR_DICT_OP, 0, "NONE", 0, 0);
    vgr_names_add(&a, VGR_DICT_TYPE, 2, "q4_0", 32, 18);
    n = vgr_names_write(&a, buf, sizeof(buf));
    assert_int_equal(n, vgr_names_size(&a));
    assert_int_equal(vgr_names_write(&a, buf, (size_t)n - 1), -ENOSPC);
    assert_int_equal(vgr_names_read(&b, buf, (size_t)n), 0);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void test_malformed_dictionaries_are_refused(void **state)
{
    const size_t len = sizeof(struct vgr_dict) + 2 * sizeof(struct vgr_dict_entry);
    struct vgr_dict *d = calloc(1, len);

    (void)state;
    assert_int_equal(vgr_names_read(&b, d, sizeof(*d) - 1), -EPROTO);
    d->n_entries = 2;
    d->entries[0].number = 1;
    d->entries[1].number = 2;
    strcpy(d->entries[0].name, "A");
    strcpy(d->entries[1].name, "B");
    assert_int_equal(vgr_names_read(&b, d, len), 0);
    assert_int_equal(vgr_names_read(&b, d, len - 1), -EPROTO);
    d->n_entries = 0xffffffff;
    assert_int_equal(vgr_names_read(&b, d, len), -EPROTO);
    d->n_entries = 2;
    memset(d->entries[1].name, 'x', sizeof(d->entries[1].name)); /* no NUL */
    assert_int_equal(vgr_names_read(&b, d, len), -EPROTO);
    strcpy(d->entries[1].name, "B");
    d->entries[1].kind = 77;
    assert_int_equal(vgr_names_read(&b, d, len), -EPROTO);
    d->entries[1].kind = 0;
    d->entries[1].number = 1; /* taken */
    assert_int_equal(vgr_names_read(&b, d, len), -EPROTO);
    d->entries[1].number = 2;
    memset(d->ggml_version, 'x', sizeof(d->ggml_version));
    assert_int_equal(vgr_names_read(&b, d, len), -EPROTO);
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_mapped_by_name),
        cmocka_unit_test(test_types_must_agree_in_size),
        cmocka_unit_test(test_bad_names_are_not_added),
        cmocka_unit_test(test_the_wire_form_comes_back),
        cmocka_unit_test(test_malformed_dictionaries_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
