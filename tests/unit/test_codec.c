/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "protocol/codec.h"
#include "vgr_test.h"

static struct {
    struct vgr_graph g;
    struct vgr_tensor t[4];
} def;

/* Two nodes, two leafs: n0 = f(l0, l1), n1 = view of n0. */
static void good(void)
{
    memset(&def, 0, sizeof(def));
    def.g.n_nodes = 2;
    def.g.n_tensors = 4;
    def.t[0].src[0] = 3;
    def.t[0].src[1] = 4;
    def.t[1].src[0] = 1;
    def.t[1].view_src = 1;
    def.t[3].view_src = 3;
}

static int read_def(size_t len, uint32_t max)
{
    const struct vgr_graph *g;
    const struct vgr_tensor *t;
    const char *why;

    return vgr_codec_graph(&def, len, max, &g, &t, &why);
}

static void test_a_good_graph_is_read(void **state)
{
    (void)state;
    good();
    assert_int_equal(read_def(sizeof(def), 4), 0);
}

static void test_graph_lengths_must_be_exact(void **state)
{
    (void)state;
    good();
    assert_int_equal(read_def(sizeof(def) - 1, 4), -EPROTO);
    assert_int_equal(read_def(3, 4), -EPROTO);
    assert_int_equal(read_def(sizeof(def), 3), -EPROTO); /* over the limit */
    def.g.n_tensors = 0xffffffff;
    assert_int_equal(read_def(sizeof(def), 0xffffffff), -EPROTO);
    good();
    def.g.n_nodes = 0;
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    def.g.n_nodes = 5;
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
}

static void test_references_must_point_backwards(void **state)
{
    (void)state;
    good();
    def.t[0].src[1] = 1; /* itself, as ggml_cast() does */
    assert_int_equal(read_def(sizeof(def), 4), 0);
    good();
    def.t[0].view_src = 1; /* a view of itself */
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[0].src[0] = 2; /* a later node */
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[0].src[9] = 5; /* nowhere */
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[0].src[9] = 0xffffffff;
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[0].view_src = 2;
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[2].src[0] = 4; /* a leaf with a source */
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[2].view_src = 4; /* a leaf viewing a later leaf */
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
    good();
    def.t[2].view_src = 1; /* a leaf viewing a node */
    assert_int_equal(read_def(sizeof(def), 4), -EPROTO);
}

static void test_patches_are_bounded(void **state)
{
    struct vgr_graph_patch p[2];
    const struct vgr_graph_patch *out;
    const char *why;

    (void)state;
    memset(p, 0, sizeof(p));
    p[1].index = 1;
    assert_int_equal(vgr_codec_patch(p, sizeof(p), 2, &out, &why), 2);
    assert_int_equal(vgr_codec_patch(p, sizeof(p) - 8, 2, &out, &why), -EPROTO);
    assert_int_equal(vgr_codec_patch(p, 0, 2, &out, &why), -EPROTO);
    assert_int_equal(vgr_codec_patch(p, sizeof(p), 1, &out, &why), -EPROTO);
    p[1].index = 2;
    assert_int_equal(vgr_codec_patch(p, sizeof(p), 2, &out, &why), -EPROTO);
}

static void test_query_references_point_forwards(void **state)
{
    struct vgr_tensor t[3];
    const struct vgr_tensor *out;
    const char *why;

    (void)state;
    memset(t, 0, sizeof(t));
    t[0].src[0] = 2;
    t[1].view_src = 3;
    assert_int_equal(vgr_codec_query(t, sizeof(t), &out, &why), 3);
    t[1].src[0] = 3; /* sources have no sources */
    assert_int_equal(vgr_codec_query(t, sizeof(t), &out, &why), -EPROTO);
    t[1].src[0] = 0;
    t[0].src[0] = 1; /* itself */
    assert_int_equal(vgr_codec_query(t, sizeof(t), &out, &why), -EPROTO);
    t[0].src[0] = 4;
    assert_int_equal(vgr_codec_query(t, sizeof(t), &out, &why), -EPROTO);
    assert_int_equal(vgr_codec_query(t, 0, &out, &why), -EPROTO);
}

static struct vgr_tensor shape(int64_t a, int64_t b, uint64_t nb0, uint64_t nb1)
{
    struct vgr_tensor t = {
        .ne = {a, b, 1, 1},
        .nb = {nb0, nb1, nb1, nb1},
    };

    return t;
}

static void test_extents_are_those_of_ggml(void **state)
{
    struct vgr_tensor t = shape(10, 3, 4, 40);
    uint64_t n;

    (void)state;
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), 0);
    assert_int_equal(n, 120);
    t = shape(64, 2, 18, 36); /* q4_0: blocks of 32 in 18 bytes */
    assert_int_equal(vgr_codec_extent(&t, 32, 18, &n), 0);
    assert_int_equal(n, 72);
    t = shape(3, 10, 40, 4); /* transposed */
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), 0);
    assert_int_equal(n, 120);
    t = shape(0, 10, 4, 4);
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), 0);
    assert_int_equal(n, 0);
}

static void test_impossible_extents_are_refused(void **state)
{
    struct vgr_tensor t;
    uint64_t n;

    (void)state;
    t = shape(-1, 1, 4, 4);
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), -EINVAL);
    t = shape(33, 1, 18, 36);
    assert_int_equal(vgr_codec_extent(&t, 32, 18, &n), -EINVAL);
    t = shape(4, 4, 4, 16);
    assert_int_equal(vgr_codec_extent(&t, 0, 4, &n), -EINVAL);
    t = shape(INT64_MAX, 2, 4, 4);
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), -EOVERFLOW);
    t = shape(2, 2, 4, UINT64_MAX);
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), -EOVERFLOW);
    t = shape(2, 1, (uint64_t)INT64_MAX, 4);
    assert_int_equal(vgr_codec_extent(&t, 1, 4, &n), -EOVERFLOW);
    t = shape(64, 3, UINT64_MAX / 2, 4);
    assert_int_equal(vgr_codec_extent(&t, 32, 18, &n), -EOVERFLOW);
}

static int touch(const struct vgr_tensor *t, uint32_t block_size, uint32_t type_size, uint64_t *n)
{
    return vgr_codec_touch(t->ne, t->nb, block_size, type_size, n);
}

/* What rows reach, or what they would fill, whichever is more. */
static void test_what_an_op_may_touch(void **state)
{
    struct vgr_tensor t = shape(10, 3, 4, 40);
    uint64_t n;

    (void)state;
    assert_int_equal(touch(&t, 1, 4, &n), 0);
    assert_int_equal(n, 120);
    t = shape(10, 3, 4, 100);
    assert_int_equal(touch(&t, 1, 4, &n), 0);
    assert_int_equal(n, 240);
    t = shape(10, 3, 4, 0);
    assert_int_equal(touch(&t, 1, 4, &n), 0);
    assert_int_equal(n, 120);
    t = shape(10, 3, 0, 4);
    assert_int_equal(touch(&t, 1, 4, &n), 0);
    assert_int_equal(n, 120);
    t = shape(64, 2, 18, 0);
    assert_int_equal(touch(&t, 32, 18, &n), 0);
    assert_int_equal(n, 72);
    t = shape(10, 0, 4, 0);
    assert_int_equal(touch(&t, 1, 4, &n), 0);
    assert_int_equal(n, 0);
    t = shape(33, 1, 18, 36);
    assert_int_equal(touch(&t, 32, 18, &n), -EINVAL);
    t = shape((int64_t)1 << 40, (int64_t)1 << 40, 0, 0);
    assert_int_equal(touch(&t, 1, 4, &n), -EOVERFLOW);
    t = shape((int64_t)1 << 31, (int64_t)1 << 30, 0, 0);
    assert_int_equal(touch(&t, 1, 4, &n), -EOVERFLOW);
    t = shape(2, 2, 4, UINT64_MAX);
    assert_int_equal(touch(&t, 1, 4, &n), -EOVERFLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_graph_is_read),
        cmocka_unit_test(test_graph_lengths_must_be_exact),
        cmocka_unit_test(test_references_must_point_backwards),
        cmocka_unit_test(test_patches_are_bounded),
        cmocka_unit_test(test_query_references_point_forwards),
        cmocka_unit_test(test_extents_are_those_of_ggml),
        cmocka_unit_test(test_impossible_extents_are_refused),
        cmocka_unit_test(test_what_an_op_may_touch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
