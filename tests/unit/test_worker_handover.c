/* SPDX-License-Identifier: MIT
 *
 * What a client hands over, received by its worker.
 */
#include "vgr_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/line.h"
#include "send_fds.h"
#include "worker/handover.h"

#define PAGE  4096u
#define PAGES 16u

struct fixture {
    int sock[2], line;
    int fds
        [SEND_FDS_MAX]; /* runs, two files; of a direct client: a file, the worker's end of the line */
    int workers;
    struct vgr_boot_run runs[4];
    struct vgr_broker_open open;
    struct vgr_boot boot;
    struct vgr_handover h;
};

#define FILES 3 /* of fds[] */

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f.sock))
        return -1;
    f.fds[0] = memfd_create("runs", MFD_CLOEXEC);
    if (vgr_line_make(&f.line, &f.workers))
        return -1;
    for (int i = 1; i < FILES; i++) {
        f.fds[i] = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
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
    f.boot = (struct vgr_boot){.client = VGR_BOOT_BROKER, .arena_size = f.open.size};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    vgr_handover_free(&f->h);
    for (int i = 0; i < FILES; i++)
        close(f->fds[i]);
    close(f->line);
    close(f->workers);
    close(f->sock[0]);
    close(f->sock[1]);
    return 0;
}

/* Sends it all and receives it; what is wrong with it. */
static const char *hand_over(struct fixture *f, unsigned n_fds)
{
    vgr_handover_free(&f->h);
    if (f->boot.client == VGR_BOOT_BROKER)
        assert_int_equal(pwrite(f->fds[0], f->runs, sizeof(f->runs), 0), sizeof(f->runs));
    f->boot.arena_size = f->open.size;
    assert_int_equal(send_fds(f->sock[0], &f->open, sizeof(f->open), f->fds, n_fds),
                     sizeof(f->open));
    return vgr_handover_receive(&f->h, f->sock[1], &f->boot);
}

static void arena_is_made_of_runs(void **state)
{
    struct fixture *f = *state;

    assert_null(hand_over(f, FILES));
    assert_int_equal(f->h.n_files, 2);
    assert_int_equal(f->h.n_runs, 2);
    assert_memory_equal(f->h.runs, f->runs, 2 * sizeof(f->runs[0]));
    assert_int_equal(f->h.line, -1);
}

static void a_direct_client_hands_over_one_file(void **state)
{
    struct vgr_submit open = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = PAGES * PAGE};
    struct fixture *f = *state;

    f->boot = (struct vgr_boot){.client = VGR_BOOT_DIRECT, .arena_size = open.size};
    close(f->fds[0]);
    close(f->fds[1]);
    f->fds[0] = dup(f->fds[2]);
    f->fds[1] = dup(f->workers);
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *why;

        assert_int_equal(send_fds(f->sock[0], &open, sizeof(open), f->fds, 2), sizeof(open));
        vgr_handover_free(&f->h);
        why = vgr_handover_receive(&f->h, f->sock[1], &f->boot);
        assert_true(sealed == !why);
        assert_int_equal(fcntl(f->fds[0], F_ADD_SEALS, F_SEAL_SHRINK), 0);
    }
    assert_int_equal(f->h.n_runs, 1);
    assert_int_equal(f->h.runs[0].length, PAGES * PAGE);
    vgr_line_ring(f->line);
    assert_int_equal(vgr_line_take(f->h.line), 1);
    vgr_handover_free(&f->h);
    close(f->fds[1]);
    f->fds[1] = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(send_fds(f->sock[0], &open, sizeof(open), f->fds, 2), sizeof(open));
    assert_non_null(vgr_handover_receive(&f->h, f->sock[1], &f->boot));
}

/* A service of the host's, in a process of its own. Returns a connection to it. */
static int connect_service(pid_t *service)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ready[2], fd;
    char byte;

    snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "vgr-test-%d", (int)getpid());
    assert_int_equal(bind(l, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(pipe(ready), 0);
    *service = fork();
    assert_true(*service >= 0);
    if (!*service) {
        if (listen(l, 1) || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    close(l);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* The worker's bytes would come there with the worker's credentials. */
static void a_line_to_somebody_else_is_refused(void **state)
{
    struct vgr_submit open = {.magic = VGR_MAGIC, .op = VGR_SUBMIT_OPEN, .size = PAGES * PAGE};
    struct fixture *f = *state;
    const char *why;
    pid_t service;

    f->boot = (struct vgr_boot){.client = VGR_BOOT_DIRECT, .arena_size = open.size};
    assert_int_equal(fcntl(f->fds[2], F_ADD_SEALS, F_SEAL_SHRINK), 0);
    close(f->fds[0]);
    close(f->fds[1]);
    f->fds[0] = dup(f->fds[2]);
    f->fds[1] = connect_service(&service);
    assert_int_equal(send_fds(f->sock[0], &open, sizeof(open), f->fds, 2), sizeof(open));
    why = vgr_handover_receive(&f->h, f->sock[1], &f->boot);
    assert_non_null(why);
    assert_non_null(strstr(why, "of the client's own"));
    kill(service, SIGKILL);
    waitpid(service, NULL, 0);
}

static void the_client_is_told(void **state)
{
    struct fixture *f = *state;
    struct vgr_notice notice;

    vgr_handover_refuse(f->sock[1], "no more");
    assert_int_equal(recv(f->sock[0], &notice, sizeof(notice), 0), sizeof(notice));
    assert_int_equal(notice.magic, VGR_MAGIC);
    assert_int_equal(notice.error, VGR_ERROR_ARENA);
    assert_non_null(strstr(notice.text, "no more"));
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
        assert_non_null(hand_over(f, FILES));
    }
    f->runs[1] = (struct vgr_boot_run){.length = PAGE};
    assert_null(hand_over(f, FILES));
}

static void wrong_messages_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct vgr_broker_open good = f->open;
    const struct vgr_broker_open wrong[] = {
        {good.magic, good.version, 0, 2, good.size}, {good.magic, good.version, 9, 2, good.size},
        {good.magic, good.version, 2, 0, good.size}, {good.magic, good.version, 2, 1, good.size},
        {good.magic, good.version, 2, 3, good.size}, {good.magic, good.version, 2, 99, good.size},
        {good.magic, good.version, 2, 2, 0},         {good.magic, good.version, UINT32_MAX, 2, 1},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        f->open = wrong[i];
        assert_non_null(hand_over(f, FILES));
    }
    f->open = good;
    assert_non_null(hand_over(f, 0));
    assert_non_null(hand_over(f, 2));
    assert_null(hand_over(f, FILES));
}

static void wrong_descriptors_are_refused(void **state)
{
    struct fixture *f = *state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int dir = open("/tmp", O_RDONLY | O_CLOEXEC);
    int event = eventfd(0, EFD_CLOEXEC);
    int disk = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    unsigned tried = 0;

    for (int i = 0; i < FILES; i++) {
        const int wrong[] = {null, dir, event, disk};
        int good = f->fds[i];

        if (!i)
            continue; /* where the list of runs is, is written to */
        for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++, tried++) {
            f->fds[i] = wrong[k];
            assert_non_null(hand_over(f, FILES));
        }
        f->fds[i] = good;
    }
    assert_int_equal(tried, 8);
    close(event);
    close(disk);
    close(null);
    close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arena_is_made_of_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_direct_client_hands_over_one_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_to_somebody_else_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_client_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_runs_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_messages_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_descriptors_are_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
