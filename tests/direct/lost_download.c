/* SPDX-License-Identifier: MIT
 *
 * lost_download - a program whose worker dies in a large download, by GGML's public calls only. For
 * worker-killed-download.sh, which kills the worker when it reads "kill" here, and says so by a line.
 *
 *   lost_download before sync|async    the worker is killed before the download begins, which the library cannot
 *                                      know yet
 *   lost_download during sync|async    once the first bytes have come
 *   lost_download behind sync|async    while it is stopped, with another download before this one outstanding
 *
 * All that the download was to bring is data or zeros when it is over, and nothing is written later.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "product.h"

#define SIZE ((size_t)96 << 20) /* more than the arena of the test */
#define DATA 0x5a
#define OLD  0x11
#define OURS 0x22

static uint8_t *out;

/* Has somebody do something to the worker and waits until it is done. */
static void say(const char *what)
{
    char line[16];

    puts(what);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(10);
}

static void *kill_once_it_has_begun(void *arg)
{
    while (__atomic_load_n(&out[0], __ATOMIC_RELAXED) == OLD) {
    }
    say("kill");
    return arg;
}

static size_t count(uint8_t value)
{
    size_t n = 0;

    for (size_t i = 0; i < SIZE; i++)
        n += out[i] == value;
    return n;
}

int main(int argc, char **argv)
{
    struct ggml_context *ctx =
        ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    struct ggml_tensor *large = ggml_new_tensor_1d(ctx, GGML_TYPE_I8, SIZE);
    struct ggml_tensor *small = ggml_new_tensor_1d(ctx, GGML_TYPE_I8, 64);
    ggml_backend_dev_t dev = product_device();
    ggml_backend_t gpu = dev ? ggml_backend_dev_init(dev, NULL) : NULL;
    ggml_backend_buffer_t buffer = gpu ? ggml_backend_alloc_ctx_tensors(ctx, gpu) : NULL;
    size_t data, zeros, late;
    uint8_t first[64];
    pthread_t thread;

    out = malloc(SIZE);
    if (argc != 3 || !buffer || !out)
        return 11;
    ggml_backend_buffer_clear(buffer, DATA);
    ggml_backend_tensor_get(small, first, 0, sizeof(first));
    if (first[0] != DATA)
        return 12;
    memset(out, OLD, SIZE);

    if (!strcmp(argv[1], "before"))
        say("kill");
    if (!strcmp(argv[1], "behind")) {
        say("stop");
        ggml_backend_tensor_get_async(gpu, small, first, 0, sizeof(first));
        say("kill");
    }
    if (!strcmp(argv[1], "during") && pthread_create(&thread, NULL, kill_once_it_has_begun, NULL))
        return 13;
    if (!strcmp(argv[2], "async")) {
        ggml_backend_tensor_get_async(gpu, large, out, 0, SIZE);
        ggml_backend_synchronize(gpu);
    } else {
        ggml_backend_tensor_get(large, out, 0, SIZE);
    }
    data = count(DATA);
    zeros = count(0);
    if (!strcmp(argv[1], "during"))
        pthread_join(thread, NULL);

    memset(out, OURS, SIZE);
    ggml_backend_tensor_get(small, first, 0, sizeof(first));
    ggml_backend_synchronize(gpu);
    ggml_backend_buffer_free(buffer);
    ggml_backend_free(gpu);
    late = SIZE - count(OURS);
    printf("%zu bytes of data, %zu zeros, %zu as before, %zu written later\n", data, zeros,
           SIZE - data - zeros, late);
    free(out);
    ggml_free(ctx);
    /* A download in the middle of which the worker is to be killed may be faster than that. */
    return late || data + zeros != SIZE || (!zeros && strcmp(argv[1], "during"));
}
