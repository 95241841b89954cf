/* SPDX-License-Identifier: MIT */
#include "device/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

enum {
    OPT_SOCKET_PATH = 256,
    OPT_FD,
    OPT_DIRECT,
    OPT_BROKER,
    OPT_PRINT_CAPABILITIES,
    OPT_DEVICE,
    OPT_LIST_DEVICES,
    OPT_ARENA_SIZE,
    OPT_ARENA_MAX,
    OPT_CONTEXTS,
    OPT_MEMORY_LIMIT,
    OPT_CONTEXT_MEMORY_LIMIT,
    OPT_GRAPH_TIMEOUT,
    OPT_STATS,
    OPT_MAX_MAPPINGS,
    OPT_SANDBOX,
    OPT_WORKER_USER,
    OPT_SHADER_CACHE,
    OPT_LOG_LEVEL,
    OPT_WORKER,
    OPT_PID_FILE,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"socket-path", required_argument, NULL, OPT_SOCKET_PATH},
    {"fd", required_argument, NULL, OPT_FD},
    {"direct", required_argument, NULL, OPT_DIRECT},
    {"broker", required_argument, NULL, OPT_BROKER},
    {"print-capabilities", no_argument, NULL, OPT_PRINT_CAPABILITIES},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"list-devices", no_argument, NULL, OPT_LIST_DEVICES},
    {"arena-size", required_argument, NULL, OPT_ARENA_SIZE},
    {"arena-max", required_argument, NULL, OPT_ARENA_MAX},
    {"contexts", required_argument, NULL, OPT_CONTEXTS},
    {"memory-limit", required_argument, NULL, OPT_MEMORY_LIMIT},
    {"context-memory-limit", required_argument, NULL, OPT_CONTEXT_MEMORY_LIMIT},
    {"graph-timeout", required_argument, NULL, OPT_GRAPH_TIMEOUT},
    {"stats", required_argument, NULL, OPT_STATS},
    {"max-mappings", required_argument, NULL, OPT_MAX_MAPPINGS},
    {"sandbox", required_argument, NULL, OPT_SANDBOX},
    {"worker-user", required_argument, NULL, OPT_WORKER_USER},
    {"shader-cache", required_argument, NULL, OPT_SHADER_CACHE},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"worker", required_argument, NULL, OPT_WORKER},
    {"pid-file", required_argument, NULL, OPT_PID_FILE},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

void vgr_options_help(FILE *out)
{
    fputs("usage: vgr-device [OPTION...] WHOM...\n"
          "\n"
          "Gives the GGML devices of this host to one virtual machine, or to programs on this\n"
          "host. The guest sees them as VirtGPU0, VirtGPU1... through libggml-virtgpu.so.\n"
          "\n"
          "Whom to serve (at least one of these; --socket-path and --fd exclude each other):\n"
          "  --socket-path PATH     listen for QEMU: -chardev socket,id=vgr,path=PATH\n"
          "                         -device vhost-user-gpu-pci,chardev=vgr,max_outputs=0\n"
          "  --fd N                 serve QEMU on this connected socket, end when it closes\n"
          "  --broker PATH          listen for the bridge in a VM that has a virtio-gpu with 3D\n"
          "                         graphics (libvgr-virgl.so, VGR_BROKER=PATH)\n"
          "  --direct PATH          listen for programs on this host (VGR_DIRECT=PATH)\n"
          "\n"
          "What to offer:\n"
          "  --device NAME          a device of --list-devices; may be repeated\n"
          "                         (default: every GPU, or the CPU where there is none)\n"
          "  --list-devices         print the devices of this host and exit\n"
          "  --arena-size SIZE      shared memory that a guest process takes unless it asks for\n"
          "                         another size (default 64M)\n"
          "  --arena-max SIZE       the most that it may ask for (default and limit: 4G - 4K)\n"
          "\n"
          "How much of it (default: no limit but the device's own):\n"
          "  --contexts N           guest processes served at a time, 1 to 1024 (default 64)\n"
          "  --max-mappings N       pieces of guest memory that an arena may be made of\n"
          "                         (default 60000)\n"
          "  --memory-limit SIZE    device memory of all of them together\n"
          "  --context-memory-limit SIZE\n"
          "                         device memory of one\n"
          "  --graph-timeout SECONDS\n"
          "                         how long one graph may run; 0: for ever\n"
          "\n"
          "What workers may do on this host:\n"
          "  --sandbox MODE         strict (default), relaxed or off\n"
          "  --worker-user NAME     the user that workers run as; for a vgr-device of root's\n"
          "  --shader-cache DIR     where workers keep compiled shaders; one for each VM\n"
          "                         (default: nowhere, but with --sandbox off)\n"
          "\n"
          "Others:\n"
          "  --stats PATH           tell what is going on at http://vgr/metrics (Prometheus) and\n"
          "                         http://vgr/stats (JSON) on this unix socket\n"
          "  --log-level LEVEL      error, warn, info or debug (default info)\n"
          "  --worker PATH          the vgr-worker program to run\n"
          "  --pid-file PATH        write the process id there\n"
          "  --print-capabilities   print what vhost-user management tools ask for and exit\n"
          "  --version              print the version and exit\n"
          "  --help                 print this and exit\n"
          "\n"
          "SIZE is in bytes, or has the suffix K, M or G. SIGTERM and SIGINT end the program\n"
          "and all contexts. Exit status: 0 ended as asked, 1 failed later, 2 bad options or\n"
          "nothing to serve.\n",
          out);
}

int vgr_size_parse(const char *text, uint64_t *size)
{
    unsigned shift = 0;
    uint64_t n;
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno)
        return -EINVAL;
    switch (toupper((unsigned char)*end)) {
    case 'K':
        shift = 10;
        break;
    case 'M':
        shift = 20;
        break;
    case 'G':
        shift = 30;
        break;
    case '\0':
        break;
    default:
        return -EINVAL;
    }
    if (shift && end[1])
        return -EINVAL;
    if (n > UINT64_MAX >> shift)
        return -EINVAL;
    *size = n << shift;
    return 0;
}

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n;

    if (!text[0] || strspn(text, "0123456789") != strlen(text) || vgr_size_parse(text, &n) ||
        n < min || n > max)
        return -EINVAL;
    *out = n;
    return 0;
}

static int parse_arena(const char *option, const char *text, uint64_t *size, char *why,
                       size_t why_size)
{
    if (vgr_size_parse(text, size)) {
        snprintf(why, why_size, "%s: '%s' is not a size (like 64M or 1G)", option, text);
        return -EINVAL;
    }
    if (*size == 4ull << 30)
        *size = VGR_ARENA_MAX; /* what "4G" can only mean */
    if (*size < VGR_ARENA_MIN || *size > VGR_ARENA_MAX || *size % 4096) {
        snprintf(why, why_size, "%s: %s must be 1M to 4G and a multiple of 4K", option, text);
        return -EINVAL;
    }
    return 0;
}

static int parse_memory(const char *option, const char *text, uint64_t *size, char *why,
                        size_t why_size)
{
    if (vgr_size_parse(text, size)) {
        snprintf(why, why_size, "%s: '%s' is not a size (like 512M or 8G)", option, text);
        return -EINVAL;
    }
    if (*size < VGR_MEMORY_MIN) {
        snprintf(why, why_size, "%s: %s is less than 1M, where nothing runs", option, text);
        return -EINVAL;
    }
    return 0;
}

static int parse_sandbox(const char *text, enum vgr_sandbox_mode *mode, char *why, size_t why_size)
{
    if (!strcmp(text, "strict")) {
        *mode = VGR_SANDBOX_STRICT;
    } else if (!strcmp(text, "relaxed")) {
        *mode = VGR_SANDBOX_RELAXED;
    } else if (!strcmp(text, "off")) {
        *mode = VGR_SANDBOX_OFF;
    } else {
        snprintf(why, why_size, "--sandbox: '%s' is not strict, relaxed or off", text);
        return -EINVAL;
    }
    return 0;
}

static bool same_path(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

static bool paths_clash(const struct vgr_options *o)
{
    const char *paths[] = {o->socket_path, o->broker_path, o->direct_path, o->stats_path};
    const size_t n = sizeof(paths) / sizeof(paths[0]);

    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            if (same_path(paths[i], paths[k]))
                return true;
        }
    }
    return false;
}

static int parse_option(struct vgr_options *o, int option, const char *arg, char *why,
                        size_t why_size)
{
    uint64_t n;

    switch (option) {
    case OPT_SOCKET_PATH:
        o->socket_path = arg;
        return 0;
    case OPT_FD:
        if (parse_number(arg, 0, INT_MAX, &n)) {
            snprintf(why, why_size, "--fd: '%s' is not a descriptor number", arg);
            return -EINVAL;
        }
        o->fd = (int)n;
        return 0;
    case OPT_DIRECT:
        o->direct_path = arg;
        return 0;
    case OPT_BROKER:
        o->broker_path = arg;
        return 0;
    case OPT_DEVICE:
        if (!arg[0] || strlen(arg) >= sizeof(((struct vgr_boot *)0)->devices[0])) {
            snprintf(why, why_size, "--device: '%s' is not a device name (see --list-devices)",
                     arg);
            return -EINVAL;
        }
        if (o->n_devices == VGR_BOOT_MAX_DEVICES) {
            snprintf(why, why_size, "--device: at most %u devices", VGR_BOOT_MAX_DEVICES);
            return -EINVAL;
        }
        o->devices[o->n_devices++] = arg;
        return 0;
    case OPT_ARENA_SIZE:
        return parse_arena("--arena-size", arg, &o->arena_default, why, why_size);
    case OPT_ARENA_MAX:
        return parse_arena("--arena-max", arg, &o->arena_max, why, why_size);
    case OPT_CONTEXTS:
        if (parse_number(arg, 1, VGR_CONTEXTS_MAX, &n)) {
            snprintf(why, why_size, "--contexts: '%s' is not a number of 1 to %u", arg,
                     VGR_CONTEXTS_MAX);
            return -EINVAL;
        }
        o->contexts = (uint32_t)n;
        return 0;
    case OPT_MEMORY_LIMIT:
        return parse_memory("--memory-limit", arg, &o->memory_limit, why, why_size);
    case OPT_CONTEXT_MEMORY_LIMIT:
        return parse_memory("--context-memory-limit", arg, &o->context_memory_limit, why, why_size);
    case OPT_GRAPH_TIMEOUT:
        if (parse_number(arg, 0, VGR_TIMEOUT_MAX, &n)) {
            snprintf(why, why_size, "--graph-timeout: '%s' is not a number of seconds, 0 to %u",
                     arg, VGR_TIMEOUT_MAX);
            return -EINVAL;
        }
        o->graph_timeout = (uint32_t)n;
        return 0;
    case OPT_STATS:
        o->stats_path = arg;
        return 0;
    case OPT_MAX_MAPPINGS:
        if (parse_number(arg, 1, VGR_BOOT_MAX_RUNS, &n)) {
            snprintf(why, why_size, "--max-mappings: '%s' is not a number of 1 to %u", arg,
                     VGR_BOOT_MAX_RUNS);
            return -EINVAL;
        }
        o->max_mappings = (uint32_t)n;
        return 0;
    case OPT_SANDBOX:
        return parse_sandbox(arg, &o->sandbox, why, why_size);
    case OPT_WORKER_USER:
        o->worker_user = arg;
        return 0;
    case OPT_SHADER_CACHE:
        o->shader_cache = arg;
        return 0;
    case OPT_LOG_LEVEL:
        o->log_level = vgr_log_level_parse(arg);
        if (o->log_level < 0) {
            snprintf(why, why_size, "--log-level: '%s' is not error, warn, info or debug", arg);
            return -EINVAL;
        }
        return 0;
    case OPT_WORKER:
        o->worker_path = arg;
        return 0;
    case OPT_PID_FILE:
        o->pid_file = arg;
        return 0;
    case OPT_LIST_DEVICES:
        o->mode = VGR_MODE_LIST_DEVICES;
        return 0;
    case OPT_PRINT_CAPABILITIES:
        o->mode = VGR_MODE_PRINT_CAPABILITIES;
        return 0;
    case OPT_VERSION:
        o->mode = VGR_MODE_VERSION;
        return 0;
    case 'h':
        o->mode = VGR_MODE_HELP;
        return 0;
    default:
        return -EINVAL;
    }
}

int vgr_options_parse(struct vgr_options *o, int argc, char **argv, char *why, size_t why_size)
{
    bool default_given = false;
    int option;

    *o = (struct vgr_options){
        .fd = -1,
        .arena_default = 64ull << 20,
        .arena_max = VGR_ARENA_MAX,
        .contexts = 64,
        .max_mappings = VGR_BOOT_DEFAULT_RUNS,
        .log_level = VGR_LOG_INFO,
    };
    optind = 0; /* tests parse more than once */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        if (option == '?') {
            snprintf(why, why_size, "unknown or ambiguous option: %s (see --help)",
                     argv[optind - 1]);
            return -EINVAL;
        }
        if (option == ':') {
            snprintf(why, why_size, "%s needs a value", argv[optind - 1]);
            return -EINVAL;
        }
        default_given |= option == OPT_ARENA_SIZE;
        if (parse_option(o, option, optarg, why, why_size))
            return -EINVAL;
    }
    if (optind < argc) {
        snprintf(why, why_size, "unexpected argument: %s (see --help)", argv[optind]);
        return -EINVAL;
    }
    if (o->mode != VGR_MODE_SERVE)
        return 0;
    if (!o->socket_path && o->fd < 0 && !o->direct_path && !o->broker_path) {
        snprintf(why, why_size,
                 "whom to serve? give --socket-path, --fd, --broker or --direct (see --help)");
        return -EINVAL;
    }
    if (o->socket_path && o->fd >= 0) {
        snprintf(why, why_size, "--socket-path and --fd exclude each other: one VM a process");
        return -EINVAL;
    }
    if (paths_clash(o)) {
        snprintf(why, why_size, "--socket-path, --broker, --direct and --stats need a path each");
        return -EINVAL;
    }
    if (o->memory_limit && o->context_memory_limit > o->memory_limit) {
        snprintf(why, why_size, "--context-memory-limit is larger than --memory-limit");
        return -EINVAL;
    }
    if (o->sandbox == VGR_SANDBOX_OFF && (o->worker_user || o->shader_cache)) {
        snprintf(why, why_size, "--sandbox=off excludes --worker-user and --shader-cache");
        return -EINVAL;
    }
    if (o->arena_default > o->arena_max) {
        if (default_given) {
            snprintf(why, why_size, "--arena-size is larger than --arena-max");
            return -EINVAL;
        }
        o->arena_default = o->arena_max;
    }
    return 0;
}
