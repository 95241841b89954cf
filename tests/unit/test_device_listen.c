/* SPDX-License-Identifier: MIT */
#include "vgr_test.h"

#include "test_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "device/listen.h"

struct fixture {
    struct vgr_loop loop;
    struct vgr_listener l;
    char dir[32], path[48];
    int accepted;   /* -1: none yet */
    unsigned crowd; /* accepted and closed */
    uint64_t cost;  /* of each of these */
};

static void accept_one(struct vgr_listener *l)
{
    struct fixture *f = vgr_container_of(l, struct fixture, l);
    int fd;

    while ((fd = vgr_listener_next(l)) >= 0) {
        assert_int_equal(f->accepted, -1);
        f->accepted = fd;
    }
}

static int setup(void **state)
{
    static struct fixture f;
    char why[128];
    int fd;

    memset(&f, 0, sizeof(f));
    f.accepted = -1;
    strcpy(f.dir, "/tmp/vgr-listen.XXXXXX");
    if (!mkdtemp(f.dir) || vgr_loop_init(&f.loop))
        return -1;
    snprintf(f.path, sizeof(f.path), "%s/s", f.dir);
    fd = vgr_listen(f.path, SOCK_STREAM, 0700, why, sizeof(why));
    *state = &f;
    return fd < 0 || vgr_listener_add(&f.l, &f.loop, fd, f.path, accept_one);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_listener_close(&f->l);
    vgr_loop_finish(&f->loop);
    if (f->accepted >= 0)
        close(f->accepted);
    return rmdir(f->dir); /* the socket is gone */
}

static int dial(const struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void connection_is_accepted(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    UNTIL(f, f->accepted >= 0);
    close(fd);
}

/* Without a descriptor to be had, the connection waits and the loop sleeps. */
static void connection_waits_for_a_descriptor(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f), spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct rlimit all, few;
    uint64_t end;
    int turns = 0;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
    close(spare);
    few = (struct rlimit){(rlim_t)spare, all.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    end = vgr_now_ms() + 1300;
    for (uint64_t now; (now = vgr_now_ms()) < end; turns++)
        vgr_loop_turn(&f->loop, (int)(end - now));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
    assert_int_equal(f->accepted, -1);
    assert_int_in_range(turns, 2, 6);
    UNTIL(f, f->accepted >= 0);
    close(fd);
}

static void accept_crowd(struct vgr_listener *l)
{
    struct fixture *f = vgr_container_of(l, struct fixture, l);
    int fd;

    while ((fd = vgr_listener_next(l)) >= 0) {
        f->crowd++;
        vgr_loop_charge(&f->loop, VGR_WORK_ENTRIES, f->cost);
        close(fd);
    }
}

/* They are told of once, all of them; and all are accepted. */
static void crowd_is_accepted_in_several_turns(void **state)
{
    enum { N = 16 }; /* as many as the kernel lets wait, and one */
    struct fixture *f = *state;
    int fd[N + 1];

    f->l.ready = accept_crowd;
    for (int i = 0; i <= N; i++)
        fd[i] = dial(f);
    assert_int_equal(vgr_loop_turn(&f->loop, 0), 0);
    assert_int_equal(f->crowd, VGR_LISTENER_TURN);
    assert_int_equal(vgr_loop_turn(&f->loop, -1), 0);
    assert_int_equal(f->crowd, N + 1);
    assert_int_equal(vgr_loop_turn(&f->loop, 0), 0);
    for (int i = 0; i <= N; i++)
        close(fd[i]);

    /* Where each costs as much as a turn may, it is one in each. */
    f->cost = VGR_LOOP_TURN_UNITS;
    for (int i = 0; i < 3; i++)
        fd[i] = dial(f);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(vgr_loop_turn(&f->loop, 0), 0);
        assert_int_equal(f->crowd, N + 1 + i);
    }
    for (int i = 0; i < 3; i++)
        close(fd[i]);
}

/* What another process put in its place stays. */
static void only_its_own_file_is_removed(void **state)
{
    struct fixture *f = *state;
    char why[128];
    int fd;

    assert_int_equal(unlink(f->path), 0);
    fd = vgr_listen(f->path, SOCK_STREAM, 0700, why, sizeof(why));
    assert_true(fd >= 0);
    vgr_listener_close(&f->l);
    assert_int_equal(access(f->path, F_OK), 0);
    assert_int_equal(unlink(f->path), 0);
    close(fd);
}

/* The socket file is there, and nobody can ask whether it is served. */
static void the_lack_of_a_descriptor_is_said(void **state)
{
    struct fixture *f = *state;
    int spare = open("/dev/null", O_RDONLY | O_CLOEXEC), ret;
    char why[128] = "nothing";
    struct rlimit all, few;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
    close(spare);
    few = (struct rlimit){(rlim_t)spare, all.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    ret = vgr_listen(f->path, SOCK_STREAM, 0700, why, sizeof(why));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
    assert_int_equal(ret, -EMFILE);
    assert_non_null(strstr(why, f->path));
    assert_non_null(strstr(why, strerror(EMFILE)));
}

static void one_that_cannot_be_watched_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct vgr_loop none = {.epoll_fd = -1};
    struct vgr_listener l;
    char path[64], why[128];
    int fd;

    snprintf(path, sizeof(path), "%s/other", f->dir);
    fd = vgr_listen(path, SOCK_STREAM, 0700, why, sizeof(why));
    assert_true(fd >= 0);
    assert_int_equal(vgr_listener_add(&l, &none, fd, path, accept_one), -EBADF);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(access(path, F_OK), -1);
    vgr_listener_close(&l);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(connection_is_accepted),
        T(connection_waits_for_a_descriptor),
        T(crowd_is_accepted_in_several_turns),
        T(only_its_own_file_is_removed),
        T(the_lack_of_a_descriptor_is_said),
        T(one_that_cannot_be_watched_leaves_nothing),
    };

    vgr_log_init("test", VGR_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
