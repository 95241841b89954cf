/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char log_prefix[64] = "vgr";
static enum vgr_log_level log_level = VGR_LOG_INFO;

static const char *const log_names[] = {"error", "warn", "info", "debug"};

void vgr_log_init(const char *prefix, enum vgr_log_level level)
{
    snprintf(log_prefix, sizeof(log_prefix), "%s", prefix);
    log_level = level;
}

int vgr_log_level_parse(const char *name)
{
    for (int i = 0; i < (int)(sizeof(log_names) / sizeof(log_names[0])); i++) {
        if (!strcmp(name, log_names[i]))
            return i;
    }
    return -EINVAL;
}

enum vgr_log_level vgr_log_level_get(void)
{
    return log_level;
}

void vgr_log(enum vgr_log_level level, const char *fmt, ...)
{
    char line[1024];
    int saved = errno;
    va_list ap;
    int n;

    if (level > log_level)
        return;

    n = snprintf(line, sizeof(line), "%s: %s", log_prefix,
                 level == VGR_LOG_ERROR  ? "error: "
                 : level == VGR_LOG_WARN ? "warning: "
                                         : "");
    va_start(ap, fmt);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
    va_end(ap);
    if (n > (int)sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0) {
        /* Nobody reads our log: nothing left to tell. */
    }
    errno = saved;
}
