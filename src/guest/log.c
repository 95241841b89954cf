/* SPDX-License-Identifier: MIT */
#include "guest/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/ggml_abi.h"
#include "protocol/text.h"
#include "protocol/wire.h"

bool vgr_say_verbose(void)
{
    static int verbose = -1;
    int v = __atomic_load_n(&verbose, __ATOMIC_RELAXED);

    if (v < 0) {
        const char *env = getenv("VGR_LOG");

        v = env && !strcmp(env, "debug");
        __atomic_store_n(&verbose, v, __ATOMIC_RELAXED);
    }
    return v > 0;
}

__attribute__((format(printf, 2, 0))) static void say(enum ggml_log_level level, const char *fmt,
                                                      va_list ap)
{
    char text[512], line[512];

    vsnprintf(text, sizeof(text), fmt, ap);
    vgr_text_clean(line, sizeof(line), text, strlen(text));
    ggml_log_internal(level, "ggml-virtgpu: %s\n", line);
}

void vgr_say_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(GGML_LOG_LEVEL_ERROR, fmt, ap);
    va_end(ap);
}

void vgr_say_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(GGML_LOG_LEVEL_WARN, fmt, ap);
    va_end(ap);
}

/* Asked for by name, so shown at a level that programs do not filter: llama.cpp's newer ones hide
 * what GGML calls information. */
void vgr_say_debug(const char *fmt, ...)
{
    va_list ap;

    if (!vgr_say_verbose())
        return;
    va_start(ap, fmt);
    say(GGML_LOG_LEVEL_WARN, fmt, ap);
    va_end(ap);
}

void vgr_say_clean(char *out, size_t cap, const char *text, size_t len)
{
    char copy[VGR_CONTROL_TEXT];

    memcpy(copy, text, len < sizeof(copy) ? len : sizeof(copy));
    vgr_text_clean(out, cap, copy, strnlen(copy, len < sizeof(copy) ? len : sizeof(copy)));
}
