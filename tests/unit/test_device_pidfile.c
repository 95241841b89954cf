/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/pidfile.h"

static struct fixture {
    struct vgr_pidfile p;
    char dir[32], path[48], other[48], why[256];
} f;

static int setup(void **state)
{
    memset(&f, 0, sizeof(f));
    f.p.fd = -1;
    strcpy(f.dir, "/tmp/vgr-pidfile.XXXXXX");
    if (!mkdtemp(f.dir))
        return -1;
    snprintf(f.path, sizeof(f.path), "%s/pid", f.dir);
    snprintf(f.other, sizeof(f.other), "%s/other", f.dir);
    return 0;
}

static int teardown(void **state)
{
    vgr_pidfile_remove(&f.p);
    unlink(f.path);
    unlink(f.other);
    return rmdir(f.dir);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void text_is(const char *path, const char *text)
{
    char buf[64] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    fread(buf, 1, sizeof(buf) - 1, file);
    fclose(file);
    assert_string_equal(buf, text);
}

static void is_written(void)
{
    char text[32];

    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    assert_int_equal(vgr_pidfile_write(&f.p, f.path, f.why, sizeof(f.why)), 0);
    text_is(f.path, text);
}

static void is_refused(const char *why)
{
    assert_true(vgr_pidfile_write(&f.p, f.path, f.why, sizeof(f.why)) < 0);
    assert_non_null(strstr(f.why, why));
    assert_null(strchr(f.why, '\n'));
    vgr_pidfile_remove(&f.p); /* touches nothing */
}

static void made_and_removed(void **state)
{
    is_written();
    vgr_pidfile_remove(&f.p);
    assert_int_equal(access(f.path, F_OK), -1);
    vgr_pidfile_remove(&f.p);
}

static void one_of_a_process_that_died_is_taken_over(void **state)
{
    write_text(f.path, "123456789012345678901234567890\n");
    is_written();
}

static void links_are_not_followed(void **state)
{
    write_text(f.other, "precious");
    assert_int_equal(symlink(f.other, f.path), 0);
    is_refused("it is a link");
    text_is(f.other, "precious");
    unlink(f.other);
    is_refused("it is a link"); /* that leads nowhere */
    assert_int_equal(access(f.other, F_OK), -1);
    unlink(f.path);

    write_text(f.other, "precious");
    assert_int_equal(link(f.other, f.path), 0);
    is_refused("another name");
    text_is(f.other, "precious");
}

static void what_is_no_plain_file_is_left_alone(void **state)
{
    int fd;

    assert_int_equal(mkfifo(f.path, 0600), 0);
    is_refused(strerror(ENXIO));
    fd = open(f.path, O_RDONLY | O_NONBLOCK);
    is_refused("not a plain file");
    close(fd);
    unlink(f.path);
    assert_int_equal(mkdir(f.path, 0700), 0);
    is_refused(strerror(EISDIR));
    assert_int_equal(rmdir(f.path), 0);
}

static void somebody_elses_file_is_left_alone(void **state)
{
    write_text(f.path, "theirs");
    if (geteuid()) { /* only root can make one */
        assert_int_equal(unlink(f.path), 0);
        return;
    }
    assert_int_equal(chown(f.path, 65534, 65534), 0);
    is_refused("somebody else's");
    text_is(f.path, "theirs");
}

static void one_whose_process_runs_is_left_alone(void **state)
{
    struct vgr_pidfile first = {.fd = -1};

    assert_int_equal(vgr_pidfile_write(&first, f.path, f.why, sizeof(f.why)), 0);
    is_refused("which runs");
    assert_int_equal(access(f.path, F_OK), 0);
    vgr_pidfile_remove(&first);
    is_written();
}

/* Somebody took ours away and put something else there. */
static void only_ours_is_removed(void **state)
{
    is_written();
    assert_int_equal(unlink(f.path), 0);
    write_text(f.path, "theirs");
    vgr_pidfile_remove(&f.p);
    text_is(f.path, "theirs");
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(made_and_removed),
        T(one_of_a_process_that_died_is_taken_over),
        T(links_are_not_followed),
        T(what_is_no_plain_file_is_left_alone),
        T(somebody_elses_file_is_left_alone),
        T(one_whose_process_runs_is_left_alone),
        T(only_ours_is_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
