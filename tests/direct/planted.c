/* SPDX-License-Identifier: MIT
 *
 * planted.c - a library that somebody left where GGML looks for backends (planted.sh).
 */
#include <unistd.h>

static void __attribute__((constructor)) run(void)
{
    if (write(STDERR_FILENO, "planted code runs\n", 18) < 0)
        _exit(1);
}
