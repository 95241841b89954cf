/* SPDX-License-Identifier: MIT
 *
 * holdings.h - what this process holds, for tests that look for what is lost.
 */
#ifndef VGR_TEST_HOLDINGS_H
#define VGR_TEST_HOLDINGS_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* Entries of /proc/self/fd, those that reading it takes included: to be compared, no more. */
static inline unsigned count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* Mappings of memory. */
static inline unsigned count_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned n = 0;

    while (f && fgets(line, sizeof(line), f))
        n += strchr(line, '\n') != NULL;
    if (f)
        fclose(f);
    return n;
}

#endif
