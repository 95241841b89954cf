/* SPDX-License-Identifier: MIT
 *
 * vgr-probe - measure one GGML device as a program sees it
 *
 * Theory of operation
 *
 * The device itself, VirtGPU0 and ggml-rpc's RPC0 are measured by the same program through the same
 * public calls, so that what differs is the device. Each measure is repeated until it has its number
 * of iterations or its time is over, after a tenth of them as warm-up, and prints one line of JSON
 * with percentiles. What was computed or copied is checked: a fast wrong answer ends the program.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static void usage(void)
{
    printf("usage: vgr-probe [OPTION...] MEASURE...\n"
           "\n"
           "Measures a GGML device and prints a line of JSON for each MEASURE:\n"
           "\n"
           "  open          the time from the first look for devices until the device is there, ms\n"
           "  rtt           reading 4 bytes of a tensor, us\n"
           "  step          a decoding step without work: 9 inputs, 529 nodes, 1 output, us\n"
           "  issue         the part of a step until all is asked for: the caller's own share, us\n"
           "  upload        setting a tensor of --bytes and reading 4 bytes back, GB/s\n"
           "  pinned        the same from the device's host buffer type, GB/s (null: it has none)\n"
           "  pinned_async  the same by asynchronous calls, as llama.cpp uploads its inputs, GB/s\n"
           "  download      reading a tensor of --bytes, GB/s\n"
           "  memcpy        a copy of --bytes in this process, GB/s\n"
           "  idle          a step, then nothing for --seconds; prints its line before that\n"
           "\n"
           "  --device NAME     the device (default: the first)\n"
           "  --plugin FILE     load this backend only (default: all that GGML finds)\n"
           "  --rpc HOST:PORT   add the devices of a ggml-rpc-server\n"
           "  --iterations N    at most N of them (default 10000; transfers 20)\n"
           "  --seconds N       at most N for each measure (default 3)\n"
           "  --pause-us N      time between two steps (default 0)\n"
           "  --bytes N         size of a transfer (default 64 MiB)\n"
           "  -h, --help        this text\n");
}

__attribute__((format(printf, 1, 2), noreturn)) static void die_usage(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "vgr-probe: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, " (see --help)\n");
    exit(2);
}

static long parse_number(const char *option, const char *text, long min, long max)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        die_usage("--%s: not a number from %ld to %ld: '%s'", option, min, max, text);
    return n;
}

/* ---- Opening ---- */

static void add_rpc(const char *endpoint)
{
    ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC"), server;
    union {
        void *pointer;
        ggml_backend_reg_t (*call)(const char *endpoint);
    } add;

    add.pointer =
        rpc ? ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server") : NULL;
    if (!add.pointer)
        probe_die("this GGML has no RPC backend");
    server = add.call(endpoint);
    if (!server)
        probe_die("no ggml-rpc-server at %s", endpoint);
    ggml_backend_register(server);
}

/* The CPU backend has 4 threads unless it is told; a program gives it one for each processor. */
static void set_threads(ggml_backend_dev_t dev, ggml_backend_t backend)
{
    ggml_backend_set_n_threads_t set =
        (ggml_backend_set_n_threads_t)(uintptr_t)ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(dev), "ggml_backend_set_n_threads");

    if (set)
        set(backend, (int)sysconf(_SC_NPROCESSORS_ONLN));
}

static void open_device(struct probe *p)
{
    double start = probe_now_us();
    struct ggml_backend_dev_props props;

    if (p->plugin && !ggml_backend_load(p->plugin))
        probe_die("cannot load %s", p->plugin);
    if (!p->plugin)
        ggml_backend_load_all();
    if (p->rpc)
        add_rpc(p->rpc);
    if (p->device_name)
        p->dev = ggml_backend_dev_by_name(p->device_name);
    else if (ggml_backend_dev_count())
        p->dev = ggml_backend_dev_get(0);
    if (!p->dev)
        probe_die("no device %s", p->device_name ? p->device_name : "at all");
    ggml_backend_dev_get_props(p->dev, &props);
    p->open_ms = (probe_now_us() - start) / 1e3;
    p->backend = ggml_backend_dev_init(p->dev, NULL);
    if (!p->backend)
        probe_die("cannot open %s", ggml_backend_dev_name(p->dev));
    set_threads(p->dev, p->backend);
}

/* ---- Main ---- */

static void print_open(struct probe *p)
{
    printf("{\"measure\": \"open\", \"device\": \"%s\", \"unit\": \"ms\", \"n\": 1, "
           "\"p50\": %.3f}\n",
           ggml_backend_dev_name(p->dev), p->open_ms);
}

static const struct {
    const char *name;
    void (*run)(struct probe *p);
} measures[] = {
    {"open", print_open},
    {"rtt", probe_rtt},
    {"step", probe_step},
    {"issue", probe_issue},
    {"upload", probe_upload},
    {"pinned", probe_pinned},
    {"pinned_async", probe_pinned_async},
    {"download", probe_download},
    {"memcpy", probe_memcpy},
    {"idle", probe_idle},
};

/* The index of a measure. */
static size_t find_measure(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(measures); i++) {
        if (!strcmp(name, measures[i].name))
            return i;
    }
    die_usage("no such measure: '%s'", name);
}

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN)
        fputs(text, stderr);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"device", required_argument, NULL, 'd'},
        {"plugin", required_argument, NULL, 'p'},
        {"rpc", required_argument, NULL, 'r'},
        {"iterations", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},
        {"pause-us", required_argument, NULL, 'u'},
        {"bytes", required_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct probe p = {.iterations = 10000, .seconds = 3, .bytes = 64u << 20};
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case 'd':
            p.device_name = optarg;
            break;
        case 'p':
            p.plugin = optarg;
            break;
        case 'r':
            p.rpc = optarg;
            break;
        case 'n':
            p.iterations = parse_number("iterations", optarg, 2, 10000000);
            break;
        case 's':
            p.seconds = parse_number("seconds", optarg, 1, 3600);
            break;
        case 'u':
            p.pause_us = parse_number("pause-us", optarg, 0, 1000000);
            break;
        case 'b':
            p.bytes = (size_t)parse_number("bytes", optarg, 64, 1l << 32);
            break;
        case 'h':
            usage();
            return 0;
        default:
            return 2;
        }
    }
    if (optind == argc)
        die_usage("no measure given");
    for (int i = optind; i < argc; i++)
        find_measure(argv[i]);

    ggml_log_set(quiet, NULL);
    p.sample = malloc((size_t)p.iterations * sizeof(*p.sample));
    if (!p.sample)
        probe_die("no memory");
    open_device(&p);
    for (int i = optind; i < argc; i++)
        measures[find_measure(argv[i])].run(&p);
    ggml_backend_free(p.backend);
    free(p.sample);
    return 0;
}
