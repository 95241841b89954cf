/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virgl/ram.h"

#define PAGE 4096u
#define SIZE (64u * PAGE)

struct fixture {
    int fd[2];
    uint8_t *at[2]; /* the second one from its page 8 on */
};

static int setup(void **state)
{
    static struct fixture f;

    for (int i = 0; i < 2; i++) {
        f.fd[i] = memfd_create("ram", MFD_CLOEXEC);
        if (f.fd[i] < 0 || ftruncate(f.fd[i], SIZE))
            return -1;
        f.at[i] = mmap(NULL, SIZE - (i ? 8 * PAGE : 0), PROT_READ | PROT_WRITE, MAP_SHARED, f.fd[i],
                       i ? 8 * PAGE : 0);
        if (f.at[i] == MAP_FAILED)
            return -1;
    }
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        munmap(f->at[i], SIZE - (i ? 8 * PAGE : 0));
        close(f->fd[i]);
    }
    return 0;
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static bool same_file(int a, int b)
{
    struct stat x, y;

    return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void pieces_become_runs(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[] = {
        {f->at[0] + 3 * PAGE, PAGE},
        {f->at[0] + 4 * PAGE, 2 * PAGE}, /* goes on where the first one ends */
        {f->at[1] + PAGE, 4 * PAGE},
        {f->at[0], PAGE},
    };
    struct vgr_ram ram;
    int before = count_fds();

    assert_int_equal(vgr_ram_find(&ram, iov, 4, 6 * PAGE), 0);
    assert_int_equal(ram.size, 6 * PAGE);
    assert_int_equal(ram.n_files, 2);
    assert_int_equal(ram.n_runs, 2);
    assert_int_equal(ram.runs[0].offset, 3 * PAGE);
    assert_int_equal(ram.runs[0].length, 3 * PAGE);
    assert_int_equal(ram.runs[1].offset, 9 * PAGE);
    assert_int_equal(ram.runs[1].length, 3 * PAGE); /* no more than asked for */
    assert_true(same_file(ram.files[ram.runs[0].file], f->fd[0]));
    assert_true(same_file(ram.files[ram.runs[1].file], f->fd[1]));
    assert_int_equal(count_fds(), before + 2);
    vgr_ram_free(&ram);
    assert_int_equal(count_fds(), before);
}

static void wrong_pieces_are_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t *private =
        mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct {
        struct iovec iov[2];
        uint64_t size;
        int err;
    } cases[] = {
        {{{f->at[0], PAGE}}, 0, -EINVAL},
        {{{f->at[0], PAGE}}, PAGE + 1, -EINVAL},
        {{{f->at[0], PAGE}}, 3 * PAGE, -EINVAL}, /* too little */
        {{{f->at[0] + 1, 2 * PAGE}}, PAGE, -EINVAL},
        {{{f->at[0], PAGE / 2}, {f->at[0], 4 * PAGE}}, 2 * PAGE, -EINVAL},
        {{{f->at[0], PAGE}, {private, PAGE}}, 2 * PAGE, -ENODEV},
        {{{NULL, PAGE}}, PAGE, -ENODEV},
        {{{(void *)(UINTPTR_MAX - PAGE + 1), 2 * PAGE}}, 2 * PAGE, -EINVAL},
        /* From the end of a mapping into whatever follows. */
        {{{f->at[1] + SIZE - 9 * PAGE, 64 * PAGE * PAGE}}, 64 * PAGE * PAGE, -ENODEV},
    };
    int before = count_fds();
    struct vgr_ram ram;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(vgr_ram_find(&ram, cases[i].iov, 2, cases[i].size), cases[i].err);
    assert_int_equal(count_fds(), before);
    munmap(private, 4 * PAGE);
}

static void memory_that_is_mapped_only_is_not_found(void **state)
{
    struct vgr_ram ram;
    int fd = memfd_create("closed", MFD_CLOEXEC);
    struct iovec iov = {.iov_len = PAGE};

    assert_int_equal(ftruncate(fd, PAGE), 0);
    iov.iov_base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_int_equal(vgr_ram_find(&ram, &iov, 1, PAGE), 0);
    vgr_ram_free(&ram);
    close(fd);
    assert_int_equal(vgr_ram_find(&ram, &iov, 1, PAGE), -ENODEV);
    munmap(iov.iov_base, PAGE);
}

static void a_file_is_one_run(void **state)
{
    struct fixture *f = *state;
    struct vgr_ram ram;

    assert_int_equal(vgr_ram_of_file(&ram, f->fd[1], SIZE), 0);
    assert_int_equal(ram.n_runs, 1);
    assert_int_equal(ram.runs[0].offset, 0);
    assert_int_equal(ram.runs[0].length, SIZE);
    assert_true(same_file(ram.files[0], f->fd[1]) && ram.files[0] != f->fd[1]);
    vgr_ram_free(&ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_become_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_pieces_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_that_is_mapped_only_is_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_one_run, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
