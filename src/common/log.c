/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/sys.h"
#include "protocol/text.h"

static char log_prefix[64] = "vgr";
static enum vgr_log_level log_level = VGR_LOG_INFO;
static bool log_borrowed, log_mute;

static const char *const log_names[] = {"error", "warn", "info", "debug"};

void vgr_log_init(const char *prefix, enum vgr_log_level level)
{
    snprintf(log_prefix, sizeof(log_prefix), "%s", prefix);
    log_level = level;
}

void vgr_log_borrow(void)
{
    log_borrowed = true;
    log_mute = fcntl(STDERR_FILENO, F_GETFD) < 0;
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

/* A pipe has room for one more line. A file always has, or fails. */
static bool has_room(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

    return vgr_sys_poll(&p, 1, 0) != 0;
}

/* Whoever made the text, it leaves as one line that can be read: here, so that no caller can forget it. */
static void write_clean(const char *prefix, const char *text, size_t len)
{
    char line[VGR_LOG_LINE];
    struct vgr_sys_hush h;
    size_t n = 0;
    int err = 0;

    if (*prefix)
        n = (size_t)snprintf(line, sizeof(line), "%.63s: ", prefix);
    n += vgr_text_clean(line + n, sizeof(line) - n, text, len); /* the newline replaces its NUL */
    line[n++] = '\n';
    if (log_mute || !has_room())
        return;
    if (log_borrowed)
        vgr_sys_hush(&h);
    if (VGR_SYS_AGAIN(write(STDERR_FILENO, line, n)) < 0)
        err = -errno; /* nobody reads our log: nothing left to tell */
    if (log_borrowed)
        vgr_sys_unhush(&h, err);
}

static void write_line(enum vgr_log_level level, const char *fmt, va_list ap)
{
    char text[VGR_LOG_LINE];
    int saved = errno;
    size_t len;
    int n;

    if (level > log_level)
        return;

    len = (size_t)snprintf(text, sizeof(text), "%s",
                           level == VGR_LOG_ERROR  ? "error: "
                           : level == VGR_LOG_WARN ? "warning: "
                                                   : "");
    n = vsnprintf(text + len, sizeof(text) - len, fmt, ap);
    if (n > 0)
        len += (size_t)n < sizeof(text) - len ? (size_t)n : sizeof(text) - len - 1;
    write_clean(log_prefix, text, len);
    errno = saved;
}

void vgr_log_text(const char *prefix, const char *text, size_t len)
{
    int saved = errno;

    write_clean(prefix, text, len);
    errno = saved;
}

void vgr_log(enum vgr_log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    write_line(level, fmt, ap);
    va_end(ap);
}

static uint64_t now_ms(void)
{
    return (uint64_t)vgr_sys_now() / 1000000;
}

void vgr_log_often(struct vgr_log_limit *limit, enum vgr_log_level level, const char *fmt, ...)
{
    uint64_t now;
    va_list ap;

    if (level > log_level)
        return;
    now = now_ms();
    if (!limit->since_ms || now - limit->since_ms >= VGR_LOG_WINDOW_MS) {
        if (limit->left_out)
            vgr_log(level, "%u lines like the next were left out", limit->left_out);
        *limit = (struct vgr_log_limit){.since_ms = now, .burst = limit->burst};
    }
    if (limit->written >= (limit->burst ? limit->burst : VGR_LOG_BURST)) {
        limit->left_out++;
        return;
    }
    limit->written++;
    va_start(ap, fmt);
    write_line(level, fmt, ap);
    va_end(ap);
}
