/* SPDX-License-Identifier: MIT
 *
 * suspend_guest - what programs in a guest see that suspends to RAM while the host computes for one of them.
 *
 * Run by suspend.sh, which wakes the machine. Afterwards neither the folders that the guest shares with the
 * host nor virtio-gpu have virtqueues: their drivers do not bring them back. So what is needed is in
 * memory before, the processes included, and the driver of virtio-gpu is then bound anew. Prints a line
 * for each thing seen; "end" is the last.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ggml-virtgpu.h"
#include "long_graph.h"

#define DRIVER "/sys/bus/virtio/drivers/virtio_gpu/"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *fmt, ...)
{
    va_list ap;

    printf("failed: ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\nend\n");
    fflush(stdout);
    for (;;)
        pause(); /* what would be run after this process is out of reach */
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        err = errno;
    close(fd);
    return err;
}

/* The backend of the guest's device, or NULL. */
static ggml_backend_t open_device(void)
{
    ggml_backend_reg_t reg = ggml_backend_virtgpu_reg();

    return reg && ggml_backend_reg_dev_count(reg)
               ? ggml_backend_dev_init(ggml_backend_reg_dev_get(reg, 0), NULL)
               : NULL;
}

/* True: it squares numbers. */
static bool computes(ggml_backend_t backend)
{
    struct ggml_init_params params = {
        .mem_size = 4 * ggml_tensor_overhead() + ggml_graph_overhead(),
        .no_alloc = true,
    };
    struct ggml_context *ctx = ggml_init(params);
    struct ggml_tensor *a = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 4), *b = ggml_sqr(ctx, a);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, backend);
    const float in[4] = {1, 2, 3, 4};
    float out[4] = {0};
    bool ok = false;

    ggml_build_forward_expand(graph, b);
    if (buffer) {
        ggml_backend_tensor_set(a, in, 0, sizeof(in));
        ok = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
        ggml_backend_tensor_get(b, out, 0, sizeof(out));
        ok = ok && out[0] == 1 && out[1] == 4 && out[2] == 9 && out[3] == 16;
        ggml_backend_buffer_free(buffer);
    }
    ggml_free(ctx);
    return ok;
}

/* Opens and computes; the milliseconds that it took, made negative if it could not. */
static int try_it(void)
{
    double begin = now();
    ggml_backend_t backend = open_device();
    bool ok = backend && computes(backend);
    int ms;

    if (backend)
        ggml_backend_free(backend);
    ms = 1 + (int)((now() - begin) * 1000);
    return ok ? ms : -ms;
}

/* A process that waits for its turn, and then tries. */
struct later {
    int go, answer;
};

static struct later start_later(void)
{
    int go[2], answer[2], ms;
    char c;

    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(answer, O_CLOEXEC) < 0)
        fail("no pipes");
    if (!fork()) {
        mlockall(MCL_CURRENT | MCL_FUTURE);
        close(go[1]);
        if (read(go[0], &c, 1) == 1) {
            ms = try_it();
            if (write(answer[1], &ms, sizeof(ms)) < 0)
                _exit(1);
        }
        _exit(0);
    }
    close(go[0]);
    close(answer[1]);
    return (struct later){go[1], answer[0]};
}

static int finish_later(const struct later *l)
{
    int ms;

    if (write(l->go, "g", 1) != 1 || read(l->answer, &ms, sizeof(ms)) != sizeof(ms))
        fail("a process that was to open the device has ended");
    return ms;
}

/* Takes the device from its driver and gives it back. */
static void bind_anew(void)
{
    DIR *dir = opendir(DRIVER);
    char device[32] = "";
    struct dirent *d;
    int err;

    while (dir && (d = readdir(dir))) {
        if (!strncmp(d->d_name, "virtio", 6))
            snprintf(device, sizeof(device), "%.31s", d->d_name);
    }
    if (dir)
        closedir(dir);
    err = put(DRIVER "unbind", device);
    if (err)
        fail("unbind of '%s': %s", device, strerror(err));
    err = put(DRIVER "bind", device);
    if (err)
        fail("bind of %s: %s", device, strerror(err));
}

int main(void)
{
    struct later asleep = start_later(), awake = start_later();
    ggml_backend_t backend = open_device();
    double begin;
    int err, ms;

    if (!backend || !computes(backend))
        fail("the device does not work from the start");
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        fail("mlockall: %s", strerror(errno));
    if (!long_graph_begin(backend))
        fail("no long graph");
    printf("computing\n");
    fflush(stdout);
    err = put("/sys/power/state", "mem");
    if (err)
        fail("the guest's kernel does not suspend: %s", strerror(err));

    begin = now();
    ggml_backend_synchronize(backend);
    if (computes(backend))
        fail("a context has outlived the device's reset");
    ggml_backend_free(backend);
    printf("open context fails %.0f ms\n", (now() - begin) * 1000);
    fflush(stdout);

    ms = finish_later(&asleep);
    if (ms > 0)
        fail("the driver has brought its queues back: this test, and docs/recovery.md, are out of "
             "date");
    printf("new program fails %d ms\n", -ms);
    fflush(stdout);

    bind_anew();
    ms = finish_later(&awake);
    if (ms < 0)
        fail("a new program cannot use the device that was bound anew, %d ms", -ms);
    printf("new program works %d ms\n", ms);
    ms = try_it();
    if (ms < 0)
        fail("the same program cannot use the device that was bound anew, %d ms", -ms);
    printf("same program works %d ms\nend\n", ms);
    fflush(stdout);
    for (;;)
        pause();
}
