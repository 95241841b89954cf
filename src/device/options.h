/* SPDX-License-Identifier: MIT
 *
 * options.h - the command line of vgr-device.
 */
#ifndef VGR_DEVICE_OPTIONS_H
#define VGR_DEVICE_OPTIONS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/account.h"
#include "worker/boot.h"

enum vgr_device_mode {
    VGR_MODE_SERVE,
    VGR_MODE_LIST_DEVICES,
    VGR_MODE_PRINT_CAPABILITIES,
    VGR_MODE_VERSION,
    VGR_MODE_HELP,
};

#define VGR_ARENA_MIN    (1ull << 20)
#define VGR_ARENA_MAX    ((4ull << 30) - 4096) /* offsets on the wire have 32 bits */
#define VGR_CONTEXTS_MAX 1024u
#define VGR_MEMORY_MIN   (1ull << 20) /* a limit under this is a mistake */
#define VGR_TIMEOUT_MAX  86400u
static_assert(VGR_CONTEXTS_MAX <= VGR_ACCOUNT_SLOTS, "a slot for each context");

/* Strings point into argv. */
struct vgr_options {
    enum vgr_device_mode mode;
    const char *socket_path; /* NULL: not given, as with the others */
    int fd;                  /* -1: not given */
    const char *direct_path;
    const char *broker_path;
    const char *stats_path;
    const char *worker_path;
    const char *pid_file;
    const char *devices[VGR_BOOT_MAX_DEVICES];
    unsigned n_devices;
    uint64_t arena_default;
    uint64_t arena_max;
    uint32_t contexts;
    uint32_t max_mappings; /* of one worker, for its arena */
    uint64_t memory_limit; /* 0: none, as with the others */
    uint64_t context_memory_limit;
    uint32_t graph_timeout; /* seconds */
    int log_level;          /* enum vgr_log_level */
    enum vgr_sandbox_mode sandbox;
    const char *worker_user;
    const char *shader_cache;
};

/* Fills `o` from the command line. Returns 0, or -EINVAL with one line for the user in `why`. Opens
 * and looks at nothing but argv. */
int vgr_options_parse(struct vgr_options *o, int argc, char **argv, char *why, size_t why_size);

/* "64M", "1G", "4096": bytes, or -EINVAL. */
int vgr_size_parse(const char *text, uint64_t *size);

void vgr_options_help(FILE *out);

#endif
