/* SPDX-License-Identifier: MIT
 *
 * interrupted - a program that gets a signal each US microseconds, all the time, as from a profiler.
 *
 *   interrupted US N NODES
 *
 * Opens the device, allocates and frees, and computes NODES products of N x N matrices, twice. Exit status 0 if
 * all of it works. The handler restarts nothing (no SA_RESTART): what the kernel can interrupt, it does.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "product.h"

static volatile unsigned long signals;

static void count(int nr)
{
    signals++;
}

static void begin(long us)
{
    struct sigaction action = {.sa_handler = count};
    struct itimerval every = {{0, us}, {0, us}};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

static int run(ggml_backend_dev_t dev, int n, int nodes)
{
    ggml_backend_buffer_type_t buft = ggml_backend_dev_buffer_type(dev);
    struct product p;
    size_t free, total;

    ggml_backend_dev_memory(dev, &free, &total);
    if (!total)
        return 2;
    for (int i = 0; i < 50; i++) {
        ggml_backend_buffer_t b = ggml_backend_buft_alloc_buffer(buft, 1u << 16);

        if (!b)
            return 3;
        ggml_backend_buffer_clear(b, (uint8_t)i);
        ggml_backend_buffer_free(b);
    }
    if (!product_new(&p, dev, n, nodes))
        return 4;
    for (int i = 0; i < 2; i++) {
        if (product_compute(&p) != 1)
            return 5 + i;
    }
    product_free(&p);
    return 0;
}

int main(int argc, char **argv)
{
    ggml_backend_dev_t dev;
    int status = 1;

    if (argc != 4)
        return 9;
    begin(atol(argv[1]));
    dev = product_device();
    if (dev)
        status = run(dev, atoi(argv[2]), atoi(argv[3]));
    printf("status %d, %lu signals\n", status, signals);
    return status;
}
