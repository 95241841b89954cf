/* SPDX-License-Identifier: MIT
 *
 * fuzz.h - what the fuzzers share: an input read as a sequence of decisions.
 *
 * Theory of operation
 * -------------------
 *
 * libFuzzer hands over bytes; a target reads them as decisions: which action next, which handle, which
 * size. So most inputs mean something, and reach deep states. A decision is usually sensible and now
 * and then anything at all (fuzz_mostly): a stranger among valid commands is what attackers send.
 * An input that is used up reads as zeros, and targets stop at its end.
 *
 * A target is a deterministic function of its input, starts from a fresh state each time, and gives
 * everything back: libFuzzer looks for leaks after each input.
 */
#ifndef VGR_FUZZ_H
#define VGR_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold whatever the input is: ends the program, as a sanitizer does. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(fuzz_report_fd, "%s:%d: broken promise: %s\n", __FILE__, __LINE__,             \
                    #condition);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Where reports go. What the parts under test write to stderr, libFuzzer throws away. */
static int fuzz_report_fd;

static void __attribute__((constructor)) fuzz_keep_stderr(void)
{
    fuzz_report_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

struct fuzz_in {
    const uint8_t *p;
    size_t left;
};

static inline void fuzz_bytes(struct fuzz_in *in, void *to, size_t n)
{
    size_t k = n < in->left ? n : in->left;

    memcpy(to, in->p, k);
    memset((uint8_t *)to + k, 0, n - k);
    in->p += k;
    in->left -= k;
}

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
    uint8_t v;

    fuzz_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
    uint16_t v;

    fuzz_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
    uint32_t v;

    fuzz_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint64_t fuzz_u64(struct fuzz_in *in)
{
    uint64_t v;

    fuzz_bytes(in, &v, sizeof(v));
    return v;
}

/* 0..n-1; n is at most 65536. */
static inline uint32_t fuzz_below(struct fuzz_in *in, uint32_t n)
{
    return (n <= 256 ? fuzz_u8(in) : fuzz_u16(in)) % n;
}

/* True once in a while: for what is only wrong on purpose. */
static inline bool fuzz_rarely(struct fuzz_in *in)
{
    return fuzz_u8(in) >= 0xfc;
}

/* 0..n-1 mostly, otherwise any number. */
static inline uint32_t fuzz_mostly(struct fuzz_in *in, uint32_t n)
{
    return fuzz_rarely(in) ? fuzz_u32(in) : fuzz_below(in, n);
}

/* A size: small, around a power of two, or any. */
static inline uint64_t fuzz_size(struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in);

    if (how < 0x60)
        return fuzz_u8(in);
    if (how < 0xc0)
        return fuzz_u16(in);
    if (how < 0xf8)
        return (1ull << how % 64) + fuzz_u8(in) - 128;
    return fuzz_u64(in);
}

#endif
