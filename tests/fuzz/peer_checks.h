/* SPDX-License-Identifier: MIT
 *
 * peer_checks.h - is it JSON, is it Prometheus' text format, is it a line of our log?
 */
#ifndef VGR_FUZZ_PEER_CHECKS_H
#define VGR_FUZZ_PEER_CHECKS_H

#include <ctype.h>

#include "fuzz.h"
#include "protocol/text.h"

/* ---- JSON: each returns behind what it took, or NULL. The text ends with a NUL. ---- */

static inline const char *json_space(const char *p)
{
    return p + strspn(p, " \n");
}

static inline const char *json_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    for (; *p != '"'; p++) {
        if (*p < 0x20 || *p >= 0x7f)
            return NULL; /* a report is ASCII */
        if (*p == '\\' && *++p != '"' && *p != '\\')
            return NULL;
    }
    return p + 1;
}

static inline const char *json_value(const char *p, int depth);

static inline const char *json_list(const char *p, char end, int depth)
{
    p = json_space(p + 1);
    if (*p == end)
        return p + 1;
    for (;;) {
        if (end == '}') {
            p = json_string(p);
            if (!p || *p++ != ':')
                return NULL;
        }
        p = json_value(json_space(p), depth + 1);
        if (!p)
            return NULL;
        p = json_space(p);
        if (*p == end)
            return p + 1;
        if (*p++ != ',')
            return NULL;
        p = json_space(p);
    }
}

static inline const char *json_value(const char *p, int depth)
{
    size_t n;

    if (depth > 8)
        return NULL;
    switch (*p) {
    case '{':
        return json_list(p, '}', depth);
    case '[':
        return json_list(p, ']', depth);
    case '"':
        return json_string(p);
    default:
        if (!strncmp(p, "true", 4) || !strncmp(p, "null", 4))
            return p + 4;
        if (!strncmp(p, "false", 5))
            return p + 5;
        n = strspn(p, "0123456789");
        if (!n)
            return NULL;
        p += n;
        if (*p != '.')
            return p;
        n = strspn(++p, "0123456789");
        return n ? p + n : NULL;
    }
}

static inline bool is_json(const char *text, size_t len)
{
    const char *p;

    if (strlen(text) != len)
        return false;
    p = json_value(text, 0);
    return p && !*json_space(p);
}

/* ---- Prometheus ---- */

/* {name="value",...} */
static inline const char *labels_end(const char *p)
{
    do {
        p++;
        p += strspn(p, "abcdefghijklmnopqrstuvwxyz_");
        if (*p++ != '=')
            return NULL;
        p = json_string(p); /* has the same escapes */
    } while (p && *p == ',');
    return p && *p == '}' ? p + 1 : NULL;
}

static inline bool is_metrics(const char *text, size_t len)
{
    if (strlen(text) != len || !len || text[len - 1] != '\n')
        return false;
    for (const char *p = text; *p; p++) {
        if (*p == '#') {
            p = strchr(p, '\n');
            continue;
        }
        if (strncmp(p, "vgr_", 4))
            return false;
        p += strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (*p == '{')
            p = labels_end(p);
        if (!p || *p++ != ' ' || !isdigit((unsigned char)*p))
            return false;
        p += strspn(p, "0123456789.");
        if (*p != '\n')
            return false;
    }
    return true;
}

/* ---- The log ---- */

/* A line without its end, from the front ("fuzz: ") or from a worker that there was. */
static inline bool is_log_line(const char *line, size_t len, uint32_t workers)
{
    char again[1200];
    unsigned number;
    int n = 0;

    if (len >= 1024)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            return false;
    }
    /* What is clean stays as it is. */
    if (vgr_text_clean(again, sizeof(again), line, len) != len || memcmp(again, line, len))
        return false;
    if (!strncmp(again, "fuzz: ", 6))
        return true;
    return sscanf(again, "vgr-worker[%u]: %n", &number, &n) == 1 && n && number &&
           number <= workers;
}

#endif
