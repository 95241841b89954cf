/* SPDX-License-Identifier: MIT
 *
 * What a bridge hands to a broker.
 */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/handover.h"
#include "send_fds.h"

#define PAGE  4096u
#define PAGES 16u

struct fixture {
    int sock[2];
    int fds[SEND_FDS_MAX]; /* runs, doorbell, wake-up, two files */
    struct vgr_boot_run runs[4];
    struct vgr_broker_open open;
    struct vgr_handover h;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f.sock))
        return -1;
    f.fds[0] = memfd_create("runs", MFD_CLOEXEC);
    f.fds[1] = eventfd(0, EFD_CLOEXEC);
    f.fds[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (int i = 3; i < 5; i++) {
        f.fds[i] = memfd_create("ram", MFD_CLOEXEC);
        if (f.fds[i] < 0 || ftruncate(f.fds[i], PAGES * PAGE))
            return -1;
    }
    f.runs[0] = (struct vgr_boot_run){.file = 1, .offset = 2 * PAGE, .length = 3 * PAGE};
    f.runs[1] = (struct vgr_boot_run){.file = 0, .offset = 0, .length = PAGES * PAGE};
    f.open = (struct vgr_broker_open){
        .magic = VGR_BROKER_MAGIC,
        .version = VGR_BROKER_VERSION,
        .n_runs = 2,
        .n_files = 2,
        .size = (3 + PAGES) * PAGE,
    };
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_handover_free(&f->h);
    for (int i = 0; i < 5; i++)
        close(f->fds[i]);
    close(f->sock[0]);
    close(f->sock[1]);
    return 0;
}

/* Sends it all and receives it; what is wrong with it. */
static const char *hand_over(struct fixture *f, unsigned n_fds)
{
    struct vgr_broker_open open;
    bool cut;

    vgr_handover_free(&f->h);
    assert_int_equal(pwrite(f->fds[0], f->runs, sizeof(f->runs), 0), sizeof(f->runs));
    assert_int_equal(send_fds(f->sock[0], &f->open, sizeof(f->open), f->fds, n_fds),
                     sizeof(f->open));
    assert_int_equal(vgr_handover_receive(&f->h, f->sock[1], &open, sizeof(open), &cut),
                     sizeof(open));
    assert_false(cut);
    assert_int_equal(f->h.n_fds, n_fds);
    return vgr_handover_broker(&f->h, &open);
}

static void arena_is_made_of_runs(void **state)
{
    struct fixture *f = *state;

    assert_null(hand_over(f, 5));
    assert_int_equal(f->h.arena.size, (3 + PAGES) * PAGE);
    assert_int_equal(f->h.arena.n_files, 2);
    assert_int_equal(f->h.arena.n_runs, 2);
    assert_memory_equal(f->h.arena.runs, f->runs, 2 * sizeof(f->runs[0]));
}

static void guest_is_told_in_its_control_page(void **state)
{
    struct fixture *f = *state;
    struct vgr_control ctl;
    uint64_t n;

    assert_null(hand_over(f, 5));
    vgr_handover_fail(&f->h, VGR_ERROR_LIMIT, "no more");
    assert_int_equal(pread(f->fds[4], &ctl, sizeof(ctl), 2 * PAGE), sizeof(ctl));
    assert_int_equal(ctl.state, VGR_STATE_FAILED);
    assert_int_equal(ctl.error, VGR_ERROR_LIMIT);
    assert_string_equal(ctl.error_text, "no more");
    assert_int_equal(read(f->fds[2], &n, sizeof(n)), sizeof(n));
}

static void wrong_runs_are_refused(void **state)
{
    const struct vgr_boot_run wrong[] = {
        {.file = 2, .length = PAGE},
        {.file = UINT32_MAX, .length = PAGE},
        {.file = 0, .length = 0},
        {.file = 0, .length = 100},
        {.file = 0, .offset = 100, .length = PAGE},
        {.file = 0, .offset = PAGES * PAGE, .length = PAGE},
        {.file = 0, .offset = UINT64_MAX - PAGE + 1, .length = PAGE},
        {.file = 0, .offset = PAGE, .length = UINT64_MAX - PAGE + 1},
        {.file = 0, .offset = 0, .length = 2 * PAGE}, /* not what it says in all */
    };
    struct fixture *f = *state;

    f->open.size = 4 * PAGE;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        f->runs[1] = wrong[i];
        assert_non_null(hand_over(f, 5));
    }
    f->runs[1] = (struct vgr_boot_run){.length = PAGE};
    assert_null(hand_over(f, 5));
}

static void wrong_messages_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct vgr_broker_open good = f->open;
    const struct vgr_broker_open wrong[] = {
        {1, good.version, 2, 2, good.size},          {good.magic, 2, 2, 2, good.size},
        {good.magic, good.version, 0, 2, good.size}, {good.magic, good.version, 9, 2, good.size},
        {good.magic, good.version, 2, 0, good.size}, {good.magic, good.version, 2, 1, good.size},
        {good.magic, good.version, 2, 3, good.size}, {good.magic, good.version, 2, 99, good.size},
        {good.magic, good.version, 2, 2, 0},         {good.magic, good.version, UINT32_MAX, 2, 1},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        f->open = wrong[i];
        assert_non_null(hand_over(f, 5));
    }
    f->open = good;
    assert_non_null(hand_over(f, 0));
    assert_non_null(hand_over(f, 4));
    assert_null(hand_over(f, 5));
}

static void wrong_descriptors_are_refused(void **state)
{
    struct fixture *f = *state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int dir = open("/tmp", O_RDONLY | O_CLOEXEC);
    unsigned tried = 0;

    for (int i = 0; i < 5; i++) {
        const int wrong[] = {null, dir, f->sock[0]};
        int good = f->fds[i];

        if (!i)
            continue; /* where the list of runs is, is written to */
        for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++, tried++) {
            f->fds[i] = wrong[k];
            assert_non_null(hand_over(f, 5));
        }
        f->fds[i] = good;
    }
    assert_int_equal(tried, 12);
    close(null);
    close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arena_is_made_of_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_is_told_in_its_control_page, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_runs_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_messages_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_descriptors_are_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
