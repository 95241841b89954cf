/* SPDX-License-Identifier: MIT */
#include "device/report.h"

#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "device/watchdog.h"

static const struct vgr_counter_info worker_info[] = {VGR_COUNTERS_WORKER(VGR_COUNTER_ROW)};
static const struct vgr_counter_info front_info[] = {VGR_COUNTERS_FRONT(VGR_COUNTER_ROW)};
static const char *const attachment[] = {
    [VGR_ATTACHED_DIRECT] = "direct",
    [VGR_ATTACHED_BRIDGE] = "bridge",
    [VGR_ATTACHED_VM] = "vm",
};

/* Of text; to format a number takes longer than to copy it. */
#define BYTES_AN_ENTRY 8u

/* Bytes of labels: a worker that was taken over may say long names, and each sample has them. */
#define MAX_LABELS 160u

/* A context as it was when the report began: a metric's samples are together in Prometheus' format,
 * so each worker is read once, and its numbers are written in many places. */
struct snapshot {
    const struct vgr_worker *worker;
    struct vgr_counts_page page;
    char labels[MAX_LABELS + 2]; /* {context="3",device="CPU" without the closing brace */
};

struct report {
    const struct vgr_worker_pool *pool;
    FILE *out;
    unsigned n;
    struct snapshot *contexts; /* the oldest first */
    uint64_t total[VGR_COUNTER_COUNT];
    uint64_t front_total[VGR_FRONT_COUNT];
};

/* Inside of quotes, as far as there is room. A worker may have been taken over, so it is not believed to
 * write UTF-8. Returns the end. */
static char *escape(char *to, const char *end, const char *text)
{
    for (; *text && end - to > 2; text++) {
        if (*text == '"' || *text == '\\')
            *to++ = '\\';
        *to++ = *text;
        if (*text < 0x20 || *text >= 0x7f)
            to[-1] = '?';
    }
    *to = '\0';
    return to;
}

static void put_escaped(FILE *out, const char *text)
{
    char room[2 * sizeof(((struct vgr_counts_page *)NULL)->devices[0]) + 2];

    escape(room, room + sizeof(room), text);
    fputs(room, out);
}

static void make_labels(struct snapshot *s)
{
    char *to = s->labels, *end = s->labels + MAX_LABELS;

    to += sprintf(to, "{context=\"%u\",device=\"", s->worker->number);
    for (unsigned i = 0; i < s->page.n_devices; i++) {
        if (i)
            to = escape(to, end, ",");
        to = escape(to, end, s->page.devices[i]);
    }
    strcpy(to, "\"");
}

/* How many pages a worker's counters are in: it may say what it likes. */
static unsigned n_queues(const struct vgr_counts_page *page)
{
    uint64_t further = page->queues & ((UINT64_C(1) << VGR_COUNTS_QUEUES) - 1) & ~UINT64_C(1);

    return 1u + (unsigned)__builtin_popcountll(further);
}

static int take(struct report *r, const struct vgr_worker_pool *pool)
{
    struct vgr_worker *w = pool->first;

    r->pool = pool;
    r->contexts = calloc(pool->alive ? pool->alive : 1, sizeof(*r->contexts));
    if (!r->contexts)
        return -1;
    memcpy(r->total, pool->ended, sizeof(r->total));
    memcpy(r->front_total, pool->front_ended, sizeof(r->front_total));
    r->n = pool->alive;
    for (unsigned at = r->n; at-- > 0; w = w->next) { /* the youngest comes first */
        struct snapshot *s = &r->contexts[at];

        s->worker = w;
        vgr_worker_read(w, &s->page);
        make_labels(s);
        vgr_loop_charge(pool->loop, VGR_WORK_CALLS, n_queues(&s->page));
        for (unsigned i = 0; i < VGR_COUNTER_COUNT; i++)
            r->total[i] += w->seen[i];
        for (unsigned i = 0; i < VGR_FRONT_COUNT; i++)
            r->front_total[i] += w->front[i];
    }
    return 0;
}

/* What the loop's turns took: see device/loop.h. Its names are those of JSON and of Prometheus. */
struct turn_info {
    const char *name;
    const char *help;
    uint64_t value;
};

#define N_TURN_INFO (2 + VGR_WORK_KINDS)

static void turn_info(const struct vgr_loop_record *r, struct turn_info *info)
{
    const struct turn_info all[N_TURN_INFO] = {
        {"longest_turn_us", "longest turn of its event loop, microseconds", r->longest_ns / 1000},
        {"most_turn_work", "most work of a turn, units", r->most_units},
        {"most_turn_entries", "most entries of lists and tables of a turn",
         r->most[VGR_WORK_ENTRIES]},
        {"most_turn_bytes", "most bytes copied in a turn", r->most[VGR_WORK_BYTES]},
        {"most_turn_calls", "most system calls of a turn", r->most[VGR_WORK_CALLS]},
        {"most_turn_processes", "most processes started in a turn", r->most[VGR_WORK_PROCESSES]},
    };

    memcpy(info, all, sizeof(all));
}

static void put_value(FILE *out, enum vgr_counter_unit unit, uint64_t value)
{
    if (unit == VGR_UNIT_SECONDS)
        fprintf(out, "%llu.%09llu", (unsigned long long)value / 1000000000,
                (unsigned long long)value % 1000000000);
    else
        fprintf(out, "%llu", (unsigned long long)value);
}

static const char *unit_suffix(enum vgr_counter_unit unit)
{
    return unit == VGR_UNIT_SECONDS ? "_seconds" : "";
}

/* 0, as with the other limits: none. */
static unsigned long long timeout_seconds(const struct vgr_worker_pool *pool)
{
    return pool->watchdog ? pool->watchdog->limit_ns / 1000000000 : 0;
}

/* ---- JSON ---- */

static void json_counters(FILE *out, const char *indent, const struct vgr_counter_info *info,
                          unsigned n, const uint64_t *value)
{
    for (unsigned i = 0; i < n; i++) {
        fprintf(out, ",\n%s\"%s%s\": ", indent, info[i].name, unit_suffix(info[i].unit));
        put_value(out, info[i].unit, value[i]);
    }
}

static void json_context(FILE *out, const struct snapshot *s)
{
    const struct vgr_worker *w = s->worker;

    fprintf(out, "    {\n      \"context\": %u,\n      \"attached\": \"%s\",\n", w->number,
            attachment[w->attached]);
    fprintf(out, "      \"worker_pid\": %d,\n      \"devices\": [", (int)w->pid);
    for (unsigned i = 0; i < s->page.n_devices; i++) {
        fputs(i ? ", \"" : "\"", out);
        put_escaped(out, s->page.devices[i]);
        fputc('"', out);
    }
    fputs("],\n      \"start_time_seconds\": ", out);
    put_value(out, VGR_UNIT_SECONDS, w->started_ns);
    fprintf(out, ",\n      \"arena_bytes\": %llu", (unsigned long long)w->arena_size);
    json_counters(out, "      ", worker_info, VGR_COUNTER_COUNT, w->seen);
    if (w->attached == VGR_ATTACHED_VM)
        json_counters(out, "      ", front_info, VGR_FRONT_COUNT, w->front);
    fputs("\n    }", out);
}

static void json(const struct report *r)
{
    struct turn_info turns[N_TURN_INFO];
    FILE *out = r->out;

    fprintf(out, "{\n  \"version\": \"" VGR_VERSION "\",\n  \"pid\": %d,\n", (int)getpid());
    fputs("  \"start_time_seconds\": ", out);
    put_value(out, VGR_UNIT_SECONDS, r->pool->started_ns);
    fprintf(out,
            ",\n  \"contexts_limit\": %u,\n  \"contexts_opened\": %llu,\n"
            "  \"contexts_refused\": %llu,\n  \"contexts_timed_out\": %llu,\n"
            "  \"workers_failed\": %llu,\n",
            r->pool->limit, (unsigned long long)r->pool->opened,
            (unsigned long long)r->pool->refused, (unsigned long long)r->pool->timed_out,
            (unsigned long long)r->pool->failed);
    fprintf(out,
            "  \"memory_limit_bytes\": %llu,\n  \"context_memory_limit_bytes\": %llu,\n"
            "  \"graph_timeout_seconds\": %llu,\n",
            (unsigned long long)r->pool->memory_limit,
            (unsigned long long)r->pool->context_memory_limit, timeout_seconds(r->pool));
    turn_info(&r->pool->loop->record, turns);
    fprintf(out, "  \"turns\": %llu,\n", (unsigned long long)r->pool->loop->record.turns);
    for (unsigned i = 0; i < N_TURN_INFO; i++)
        fprintf(out, "  \"%s\": %llu,\n", turns[i].name, (unsigned long long)turns[i].value);
    fprintf(out, "  \"totals\": {\n    \"contexts\": %u", r->n);
    json_counters(out, "    ", worker_info, VGR_COUNTER_COUNT, r->total);
    json_counters(out, "    ", front_info, VGR_FRONT_COUNT, r->front_total);
    fputs("\n  },\n  \"contexts\": [", out);
    for (unsigned i = 0; i < r->n; i++) {
        fputs(i ? ",\n" : "\n", out);
        json_context(out, &r->contexts[i]);
    }
    fputs(r->n ? "\n  ]\n}\n" : "]\n}\n", out);
}

/* ---- Prometheus ---- */

static void head(FILE *out, const char *name, const char *suffix, bool counter, const char *scope,
                 const char *help)
{
    const char *total = counter ? "_total" : "";

    fprintf(out, "# HELP vgr_%s%s%s %s: %s.\n", name, suffix, total, scope, help);
    fprintf(out, "# TYPE vgr_%s%s%s %s\n", name, suffix, total, counter ? "counter" : "gauge");
}

static void number(FILE *out, const char *name, bool counter, const char *help, uint64_t value)
{
    head(out, name, "", counter, "vgr-device", help);
    fprintf(out, "vgr_%s%s %llu\n", name, counter ? "_total" : "", (unsigned long long)value);
}

/* Value `i` of a context, or NULL: it has none. */
typedef const uint64_t *(*value_of)(const struct snapshot *s, unsigned i);

static const uint64_t *seen_value(const struct snapshot *s, unsigned i)
{
    return &s->worker->seen[i];
}

static const uint64_t *front_value(const struct snapshot *s, unsigned i)
{
    return s->worker->attached == VGR_ATTACHED_VM ? &s->worker->front[i] : NULL;
}

static void samples(const struct report *r, const char *name, const char *suffix,
                    enum vgr_counter_unit unit, value_of value, unsigned i)
{
    char series[96];

    snprintf(series, sizeof(series), "vgr_context_%s%s", name, suffix);
    for (unsigned k = 0; k < r->n; k++) {
        const uint64_t *v = value(&r->contexts[k], i);

        if (!v)
            continue;
        fputs(series, r->out);
        fputs(r->contexts[k].labels, r->out);
        fputs("} ", r->out);
        put_value(r->out, unit, *v);
        fputc('\n', r->out);
    }
}

/* Each counter twice: vgr_NAME of all contexts ever, vgr_context_NAME of each that lives. */
static void counters(const struct report *r, const struct vgr_counter_info *info, unsigned n,
                     const uint64_t *total, value_of value)
{
    for (unsigned i = 0; i < n; i++) {
        bool counter = info[i].unit != VGR_UNIT_LEVEL;
        char name[64], suffix[32];

        snprintf(suffix, sizeof(suffix), "%s%s", unit_suffix(info[i].unit),
                 counter ? "_total" : "");
        head(r->out, info[i].name, unit_suffix(info[i].unit), counter, "all contexts",
             info[i].help);
        fprintf(r->out, "vgr_%s%s ", info[i].name, suffix);
        put_value(r->out, info[i].unit, total[i]);
        fputc('\n', r->out);
        snprintf(name, sizeof(name), "context_%s", info[i].name);
        head(r->out, name, unit_suffix(info[i].unit), counter, "of a context", info[i].help);
        samples(r, info[i].name, suffix, info[i].unit, value, i);
    }
}

static const uint64_t *arena_value(const struct snapshot *s, unsigned i)
{
    return &s->worker->arena_size;
}

static const uint64_t *start_value(const struct snapshot *s, unsigned i)
{
    return &s->worker->started_ns;
}

static void prometheus(const struct report *r)
{
    struct turn_info turns[N_TURN_INFO];
    FILE *out = r->out;

    head(out, "build_info", "", false, "vgr-device", "its version");
    fputs("vgr_build_info{version=\"" VGR_VERSION "\"} 1\n", out);
    head(out, "start_time", "_seconds", false, "vgr-device", "when it was started, Unix time");
    fputs("vgr_start_time_seconds ", out);
    put_value(out, VGR_UNIT_SECONDS, r->pool->started_ns);
    fputc('\n', out);
    number(out, "contexts", false, "contexts that live", r->n);
    number(out, "contexts_limit", false, "contexts that may live at a time", r->pool->limit);
    number(out, "contexts_opened", true, "contexts that got a worker", r->pool->opened);
    number(out, "contexts_refused", true, "contexts that got none", r->pool->refused);
    number(out, "contexts_timed_out", true, "contexts ended because a graph ran for too long",
           r->pool->timed_out);
    number(out, "memory_limit_bytes", false, "device memory for all contexts, 0: no limit",
           r->pool->memory_limit);
    number(out, "context_memory_limit_bytes", false, "device memory for a context, 0: no limit",
           r->pool->context_memory_limit);
    number(out, "graph_timeout_seconds", false, "how long a graph may run, 0: no limit",
           timeout_seconds(r->pool));
    number(out, "workers_failed", true, "workers that ended by themselves", r->pool->failed);
    number(out, "turns", true, "turns of its event loop", r->pool->loop->record.turns);
    turn_info(&r->pool->loop->record, turns);
    for (unsigned i = 0; i < N_TURN_INFO; i++)
        number(out, turns[i].name, false, turns[i].help, turns[i].value);

    head(out, "context_info", "", false, "of a context", "its worker and how it is attached");
    for (unsigned i = 0; i < r->n; i++) {
        const struct vgr_worker *w = r->contexts[i].worker;

        fputs("vgr_context_info", out);
        fputs(r->contexts[i].labels, out);
        fprintf(out, ",worker_pid=\"%d\",attached=\"%s\"} 1\n", (int)w->pid,
                attachment[w->attached]);
    }
    head(out, "context_start_time", "_seconds", false, "of a context",
         "when it was opened, Unix time");
    samples(r, "start_time", "_seconds", VGR_UNIT_SECONDS, start_value, 0);
    head(out, "context_arena_bytes", "", false, "of a context", "memory shared with the guest");
    samples(r, "arena_bytes", "", VGR_UNIT_LEVEL, arena_value, 0);

    counters(r, worker_info, VGR_COUNTER_COUNT, r->total, seen_value);
    counters(r, front_info, VGR_FRONT_COUNT, r->front_total, front_value);
}

/* ---- Both ---- */

static char *make(const struct vgr_worker_pool *pool, void (*write)(const struct report *r),
                  size_t *len)
{
    struct report r = {0};
    char *text = NULL;
    bool bad;

    if (take(&r, pool))
        return NULL;
    r.out = open_memstream(&text, len);
    if (r.out) {
        __fsetlocking(r.out, FSETLOCKING_BYCALLER); /* nobody else has it */
        write(&r);
        bad = ferror(r.out);
        if (fclose(r.out) || bad) {
            free(text);
            text = NULL;
        }
    }
    free(r.contexts);
    if (text)
        vgr_loop_charge(pool->loop, VGR_WORK_ENTRIES, *len / BYTES_AN_ENTRY);
    return text;
}

char *vgr_report_json(const struct vgr_worker_pool *pool, size_t *len)
{
    return make(pool, json, len);
}

char *vgr_report_prometheus(const struct vgr_worker_pool *pool, size_t *len)
{
    return make(pool, prometheus, len);
}
