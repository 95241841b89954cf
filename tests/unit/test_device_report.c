/* SPDX-License-Identifier: MIT
 *
 * What vgr-device tells of its contexts: the numbers of real worker processes, and text that no
 * worker can break.
 */
#include "vgr_test.h"

#include "test_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/line.h"
#include "common/log.h"
#include "device/report.h"
#include "fake_worker.h"
#include "protocol/wire.h"

#define ARENA (1u << 20)

struct fixture {
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_worker worker; /* by hand or a process */
    struct vgr_counts_page *page;
    struct vgr_control *ctl;
    int line, workers;
    char *text;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    vgr_log_init("test", VGR_LOG_ERROR);
    f.pool = (struct vgr_worker_pool){.loop = &f.loop, .path = VGR_FAKE_WORKER, .limit = 4};
    f.worker.watch.fd = -1;
    if (vgr_line_make(&f.line, &f.workers))
        return -1;
    *state = &f;
    return vgr_loop_init(&f.loop);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->page) {
        munmap(f->page, VGR_COUNTS_SIZE);
        close(f->worker.counts_fd);
    } else {
        vgr_worker_pool_finish(&f->pool, 5000);
    }
    if (f->ctl)
        munmap(f->ctl, ARENA);
    close(f->line);
    close(f->workers);
    free(f->text);
    vgr_loop_finish(&f->loop);
    return 0;
}

/* A worker whose page the test writes. */
static void worker_by_hand(struct fixture *f)
{
    int fd = memfd_create("counts", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, VGR_COUNTS_SIZE), 0);
    f->page = mmap(NULL, VGR_COUNTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    f->worker = (struct vgr_worker){.pid = 77, .number = 3, .counts_fd = fd, .arena_size = ARENA};
    f->pool.first = &f->worker;
    f->pool.alive = 1;
}

static void report(struct fixture *f, char *(*make)(const struct vgr_worker_pool *, size_t *))
{
    size_t len = 0;

    free(f->text);
    f->text = make(&f->pool, &len);
    assert_non_null(f->text);
    assert_int_equal(strlen(f->text), len);
}

static bool says(struct fixture *f, const char *what)
{
    return strstr(f->text, what) != NULL;
}

static void must_say(struct fixture *f, const char *what)
{
    if (!says(f, what))
        fail_msg("'%s' is missing in:\n%s", what, f->text);
}

/* The number after `what`. */
static double number(struct fixture *f, const char *what)
{
    must_say(f, what);
    return strtod(strstr(f->text, what) + strlen(what), NULL);
}

static void each_counter_is_told_in_both(void **state)
{
    static const struct vgr_counter_info info[] = {VGR_COUNTERS_WORKER(VGR_COUNTER_ROW)};
    struct fixture *f = *state;
    char want[200];

    worker_by_hand(f);
    strcpy(f->page->devices[0], "CPU");
    strcpy(f->page->devices[1], "Vulkan0");
    f->page->n_devices = 2;
    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        f->page->counters[i] = 1000 + i;
        f->pool.ended[i] = info[i].unit == VGR_UNIT_LEVEL ? 0 : 5000;
    }
    report(f, vgr_report_json);
    must_say(f, "\"context\": 3,\n      \"attached\": \"direct\",\n      \"worker_pid\": 77,\n"
                "      \"devices\": [\"CPU\", \"Vulkan0\"],");
    must_say(f, "\"arena_bytes\": 1048576,");
    assert_false(says(f, "\n      \"fences\"")); /* a direct client's do not pass through here */
    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        if (info[i].unit == VGR_UNIT_SECONDS)
            snprintf(want, sizeof(want), "\n      \"%s_seconds\": 0.00000%u", info[i].name,
                     1000 + i);
        else
            snprintf(want, sizeof(want), "\n      \"%s\": %u", info[i].name, 1000 + i);
        must_say(f, want);
    }

    report(f, vgr_report_prometheus);
    for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++) {
        bool level = info[i].unit == VGR_UNIT_LEVEL, seconds = info[i].unit == VGR_UNIT_SECONDS;
        char name[80];

        snprintf(name, sizeof(name), "%s%s%s", info[i].name, seconds ? "_seconds" : "",
                 level ? "" : "_total");
        snprintf(want, sizeof(want), "\n# TYPE vgr_context_%s %s\n", name,
                 level ? "gauge" : "counter");
        must_say(f, want);
        snprintf(want, sizeof(want),
                 "\nvgr_context_%s{context=\"3\",device=\"CPU,Vulkan0\"} %s%u\n", name,
                 seconds ? "0.00000" : "", 1000 + i);
        must_say(f, want);
        snprintf(want, sizeof(want), "\nvgr_%s %s%u\n", name, seconds ? "0.00000" : "",
                 1000 + i + (level ? 0 : 5000));
        must_say(f, want);
    }
    print_message("%d counters\n", VGR_COUNTER_COUNT);
}

static void queues_are_added_up(void **state)
{
    struct fixture *f = *state;

    worker_by_hand(f);
    for (unsigned i = 0; i < VGR_COUNTS_QUEUES; i++) {
        f->page[i].counters[VGR_COUNTER_GRAPHS_RUN] = 1u << i;
        f->page[i].counters[VGR_COUNTER_BUFFER_BYTES] = 10u << i;
        f->page[i].queues = UINT32_MAX; /* only the first page's counts */
    }
    f->page->queues = 1u << 2 | 1u << 15;
    report(f, vgr_report_json);
    must_say(f, "\n      \"graphs_run\": 32773,");
    must_say(f, "\n      \"buffer_bytes\": 327730,");
    f->page->queues = 0;
    report(f, vgr_report_json);
    must_say(f, "\n      \"buffer_bytes\": 10,"); /* a level may go down */
    must_say(f, "\n      \"graphs_run\": 32773,");
}

static void names_cannot_break_the_text(void **state)
{
    struct fixture *f = *state;

    worker_by_hand(f);
    strcpy(f->page->devices[0], "a\"b\\c\nd\x01\xff\x7f");
    memset(f->page->devices[15], 'x', 64); /* no NUL */
    f->page->n_devices = 4000000000u;
    report(f, vgr_report_json);
    must_say(f, "[\"a\\\"b\\\\c?d???\", \"\", ");
    must_say(f, "xxx\"],\n");
    report(f, vgr_report_prometheus);
    must_say(f, "device=\"a\\\"b\\\\c?d???,,");
    must_say(f, "xxx\"} ");
    for (const char *c = f->text; *c; c++)
        assert_true(*c == '\n' || (*c >= 0x20 && *c < 0x7f));
}

static void counters_never_go_down(void **state)
{
    struct fixture *f = *state;

    worker_by_hand(f);
    f->page->counters[VGR_COUNTER_COMMANDS] = 50;
    f->page->counters[VGR_COUNTER_BUFFER_BYTES] = 50;
    report(f, vgr_report_prometheus);
    f->page->counters[VGR_COUNTER_COMMANDS] = 20;
    f->page->counters[VGR_COUNTER_BUFFER_BYTES] = 20;
    report(f, vgr_report_prometheus);
    must_say(f, "vgr_context_commands_total{context=\"3\",device=\"\"} 50\n");
    must_say(f, "vgr_commands_total 50\n");
    must_say(f, "vgr_context_buffer_bytes{context=\"3\",device=\"\"} 20\n"); /* a level may */
}

static void time_counts_while_it_runs(void **state)
{
    static const char what[] = "\n      \"computing_seconds\": "; /* the context's */
    struct fixture *f = *state;
    double before, during, after;

    worker_by_hand(f);
    vgr_counts_begin(f->page, VGR_COUNTER_COMPUTING);
    report(f, vgr_report_json);
    before = number(f, what);
    usleep(20000);
    report(f, vgr_report_json);
    during = number(f, what);
    vgr_counts_end(f->page, VGR_COUNTER_COMPUTING);
    report(f, vgr_report_json);
    after = number(f, what);
    assert_true(before < during && during - before >= 0.02 && during <= after && after < 10);
    usleep(20000);
    report(f, vgr_report_json);
    assert_true(number(f, what) == after);
    /* A start in the future is a lie. */
    f->page->since[VGR_COUNTER_COMPUTING] = UINT64_MAX;
    report(f, vgr_report_json);
    assert_true(number(f, what) == after);
}

/* In both by the same names. */
static void turns_of_the_loop_are_told(void **state)
{
    static const char *const names[] = {"longest_turn_us",   "most_turn_work",
                                        "most_turn_entries", "most_turn_bytes",
                                        "most_turn_calls",   "most_turn_processes"};
    struct fixture *f = *state;
    char line[64];

    f->loop.record = (struct vgr_loop_record){
        .turns = 10, .longest_ns = 101999, .most_units = 102, .most = {103, 104, 105, 106}};
    report(f, vgr_report_json);
    must_say(f, "\n  \"turns\": 10,\n");
    for (unsigned i = 0; i < 6; i++) {
        snprintf(line, sizeof(line), "\n  \"%s\": %u,\n", names[i], 101 + i);
        must_say(f, line);
    }
    report(f, vgr_report_prometheus);
    must_say(f, "\nvgr_turns_total 10\n");
    for (unsigned i = 0; i < 6; i++) {
        snprintf(line, sizeof(line), "\nvgr_%s %u\n", names[i], 101 + i);
        must_say(f, line);
    }
}

/* As many workers as there can be, all in their guests' hands: the longest names, in every label. */
static void the_largest_report_is_bounded(void **state)
{
    static struct vgr_worker workers[VGR_ACCOUNT_SLOTS];
    struct fixture *f = *state;

    worker_by_hand(f);
    f->page->n_devices = f->page->queues = UINT32_MAX;
    memset(f->page->devices, '"', sizeof(f->page->devices));
    for (unsigned i = 0; i < VGR_ACCOUNT_SLOTS; i++) {
        workers[i] = f->worker;
        workers[i].attached = VGR_ATTACHED_VM;
        workers[i].next = i ? &workers[i - 1] : NULL;
    }
    f->pool.first = &workers[VGR_ACCOUNT_SLOTS - 1];
    f->pool.alive = VGR_ACCOUNT_SLOTS;
    for (int i = 0; i < 2; i++) {
        uint64_t begin = vgr_now_ms();

        memset(f->loop.work, 0, sizeof(f->loop.work));
        report(f, i ? vgr_report_json : vgr_report_prometheus);
        print_message("%zu bytes, %llu units, %llu ms\n", strlen(f->text),
                      (unsigned long long)vgr_loop_units(&f->loop),
                      (unsigned long long)(vgr_now_ms() - begin));
        assert_true(vgr_loop_units(&f->loop) <= VGR_LOOP_MOST_UNITS);
        assert_int_equal(f->loop.work[VGR_WORK_CALLS], VGR_COUNTS_QUEUES * VGR_ACCOUNT_SLOTS);
    }
}

/* ---- With a process ---- */

static bool gone;

static void exited(struct vgr_worker *w, const char *reason)
{
    gone = true;
}

static void start(struct fixture *f)
{
    struct vgr_boot_run run = {.length = ARENA};
    struct vgr_worker_job job = {.line = f->workers};
    int fd = memfd_create("arena", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, ARENA), 0);
    job.arena = (struct vgr_arena){.size = ARENA, .n_files = 1, .runs = &run, .n_runs = 1};
    job.arena.files[0] = fd;
    f->ctl = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    gone = false;
    assert_int_equal(vgr_worker_start(&f->pool, &f->worker, &job, exited), 0);
    close(fd);
    UNTIL(f, vgr_line_take(f->line) > 0);
}

static void ring(struct fixture *f)
{
    vgr_line_ring(f->line);
    UNTIL(f, vgr_line_take(f->line) > 0);
}

static void a_live_worker_is_told_and_its_end_goes_to_the_totals(void **state)
{
    struct fixture *f = *state;

    start(f);
    report(f, vgr_report_prometheus);
    must_say(f, "\nvgr_contexts 1\n");
    must_say(f, "\nvgr_contexts_opened_total 1\n");
    must_say(f, "\nvgr_context_commands_total{context=\"1\",device=\"Fake0\"} 0\n");
    ring(f);
    report(f, vgr_report_prometheus);
    must_say(f, "\nvgr_context_commands_total{context=\"1\",device=\"Fake0\"} 10\n");
    ring(f); /* counted, and never asked for while it lives */
    f->worker.front[VGR_FRONT_DOORBELLS] = 2;

    vgr_worker_kill(&f->worker);
    UNTIL(f, gone);
    report(f, vgr_report_prometheus);
    must_say(f, "\nvgr_contexts 0\n");
    must_say(f, "\nvgr_commands_total 20\n");
    must_say(f, "\nvgr_front_doorbells_total 2\n");
    must_say(f, "\nvgr_workers_failed_total 0\n"); /* it was killed */
    assert_false(says(f, "{context="));
    report(f, vgr_report_json);
    must_say(f, "\"contexts\": []");
    must_say(f, "\"commands\": 20,");
}

static void a_worker_that_fails_is_counted(void **state)
{
    struct fixture *f = *state;

    start(f);
    f->ctl->hello.features = FAKE_EXIT;
    vgr_line_ring(f->line);
    UNTIL(f, gone);
    report(f, vgr_report_prometheus);
    must_say(f, "\nvgr_workers_failed_total 1\n");
    must_say(f, "\nvgr_commands_total 10\n");
}

static void a_vm_context_has_the_fronts_counters(void **state)
{
    struct fixture *f = *state;

    start(f);
    f->worker.attached = VGR_ATTACHED_VM;
    f->worker.front[VGR_FENCES_HELD] = 5;
    report(f, vgr_report_prometheus);
    must_say(f, "\nvgr_context_fences_held_total{context=\"1\",device=\"Fake0\"} 5\n");
    must_say(f, ",attached=\"vm\"} 1\n");
    report(f, vgr_report_json);
    must_say(f, "\n      \"fences_held\": 5");
}

/* Its doorbells and wake-ups go through the bridge: to say 0 of them would be wrong. */
static void a_bridged_context_has_none_of_them(void **state)
{
    struct fixture *f = *state;

    start(f);
    f->worker.attached = VGR_ATTACHED_BRIDGE;
    report(f, vgr_report_prometheus);
    must_say(f, ",attached=\"bridge\"} 1\n");
    assert_null(strstr(f->text, "vgr_context_fences_held_total{"));
    report(f, vgr_report_json);
    must_say(f, "\"attached\": \"bridge\"");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_counter_is_told_in_both),
        T(queues_are_added_up),
        T(names_cannot_break_the_text),
        T(counters_never_go_down),
        T(time_counts_while_it_runs),
        T(turns_of_the_loop_are_told),
        T(the_largest_report_is_bounded),
        T(a_live_worker_is_told_and_its_end_goes_to_the_totals),
        T(a_worker_that_fails_is_counted),
        T(a_vm_context_has_the_fronts_counters),
        T(a_bridged_context_has_none_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
