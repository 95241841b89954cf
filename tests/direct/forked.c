/* SPDX-License-Identifier: MIT
 *
 * forked - a program that forks while it uses the device, through GGML's public calls only.
 *
 *   forked child    forks children, one of which forks another: each fails with what it inherited, and works with
 *                   what it makes; so does the parent, before, meanwhile and after
 *   forked daemon   says its process id and ends at once; its child then works, says its own, and waits for a
 *                   signal
 *   forked silent   forks while another thread opens the first connection, to a socket of its own that never says
 *                   anything: parent and child have no devices
 *   forked opening  forks children while another thread opens the first connection: each has one device, and works
 *                   with it
 *
 * The exit status says where it went wrong.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "product.h"

#define HOST 65536u

static ggml_backend_dev_t dev;
static bool stop;

/* Another thread of the parent, which has locks at any time. */
static void *compute(void *failed)
{
    struct product p;

    if (!product_new(&p, dev, 64, 4))
        return failed;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        if (product_compute(&p) != 1)
            return failed;
    }
    product_free(&p);
    return NULL;
}

static ggml_backend_buffer_t host_buffer(uint8_t value)
{
    ggml_backend_buffer_t b =
        ggml_backend_buft_alloc_buffer(ggml_backend_dev_host_buffer_type(dev), HOST);

    if (b)
        memset(ggml_backend_buffer_get_base(b), value, HOST);
    return b;
}

static int fresh(void)
{
    ggml_backend_buffer_t host = host_buffer(3);
    struct product p;
    size_t free, total;

    ggml_backend_dev_memory(dev, &free, &total);
    if (!host || !total)
        return 10;
    if (!product_new(&p, dev, 64, 4))
        return 11;
    for (int i = 0; i < 3; i++) {
        if (product_compute(&p) != 1)
            return 12;
    }
    product_free(&p);
    ggml_backend_buffer_free(host);
    return 0;
}

static int child(struct product *inherited, ggml_backend_buffer_t host, int generations)
{
    int status = 0;
    pid_t pid;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (product_compute(inherited))
        return 20;
    memset(ggml_backend_buffer_get_base(host), 0xff, HOST);
    status = fresh();
    if (status || !--generations)
        return status;
    pid = fork();
    if (!pid)
        _exit(child(inherited, host, generations));
    if (waitpid(pid, &status, 0) != pid || status)
        return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 21;
    ggml_backend_buffer_free(host);
    product_free(inherited);
    return fresh();
}

static int family(void)
{
    ggml_backend_buffer_t host = host_buffer(7);
    pthread_t thread;
    struct product p;
    void *failed;
    int n = 0;

    if (!host || !product_new(&p, dev, 64, 4) || product_compute(&p) != 1)
        return 30;
    if (pthread_create(&thread, NULL, compute, &p))
        return 31;
    for (int i = 0; i < 8; i++) {
        int status = -1;
        pid_t pid = fork();

        if (!pid)
            _exit(child(&p, host, 2));
        if (product_compute(&p) != 1)
            return 32;
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
            return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 33;
        n++;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    if (pthread_join(thread, &failed) || failed)
        return 34;
    for (unsigned i = 0; i < HOST; i++) {
        if (((uint8_t *)ggml_backend_buffer_get_base(host))[i] != 7)
            return 35;
    }
    if (product_compute(&p) != 1 || fresh())
        return 36;
    ggml_backend_buffer_free(host);
    product_free(&p);
    printf("%d children\n", n);
    return 0;
}

static int become_daemon(void)
{
    struct product p;
    int status;

    if (!product_new(&p, dev, 64, 4) || product_compute(&p) != 1)
        return 40;
    printf("parent %d\n", (int)getpid());
    fflush(stdout);
    if (daemon(1, 1))
        return 41;
    status = fresh();
    if (status)
        return status;
    printf("daemon %d\n", (int)getpid());
    fflush(stdout);
    pause();
    return 0;
}

/* ---- The first connection ---- */

static ggml_backend_reg_t reg;

/* Loads the plugin, which opens nothing. */
static bool load(void)
{
    void *plugin = dlopen(getenv("GGML_BACKEND_PATH"), RTLD_NOW);
    ggml_backend_reg_t (*init)(void) =
        plugin ? (ggml_backend_reg_t (*)(void))dlsym(plugin, "ggml_backend_init") : NULL;

    reg = init ? init() : NULL;
    return reg;
}

/* Counts the devices, which opens the connection. */
static void *open_first(void *wanted)
{
    return ggml_backend_reg_dev_count(reg) == *(size_t *)wanted ? NULL : wanted;
}

static int child_of_opening(size_t wanted)
{
    alarm(60); /* it would hang for ever */
    if (ggml_backend_reg_dev_count(reg) != wanted)
        return 60;
    if (!wanted)
        return 0;
    dev = ggml_backend_reg_dev_get(reg, 0);
    return fresh();
}

static int fork_while_opening(size_t wanted, int listener, int children)
{
    pthread_t thread;
    void *failed;

    if (pthread_create(&thread, NULL, open_first, &wanted))
        return 61;
    if (listener >= 0 && accept(listener, NULL, NULL) < 0) /* then it is in the middle of it */
        return 62;
    for (int i = 0; i < children; i++) {
        int status = -1;
        pid_t pid = fork();

        if (!pid)
            _exit(child_of_opening(wanted));
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
            return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 63;
    }
    if (pthread_join(thread, &failed) || failed)
        return 64;
    printf("%d children, %zu devices\n", children, wanted);
    return 0;
}

static int silent(void)
{
    const char *path = getenv("VGR_DIRECT");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!path || strlen(path) >= sizeof(addr.sun_path))
        return 65;
    strcpy(addr.sun_path, path);
    if (s < 0 || bind(s, (struct sockaddr *)&addr, sizeof(addr)) || listen(s, 1) || !load())
        return 66;
    return fork_while_opening(0, s, 1);
}

static int opening(void)
{
    return load() ? fork_while_opening(1, -1, 4) : 67;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "silent"))
        return silent();
    if (argc == 2 && !strcmp(argv[1], "opening"))
        return opening();
    dev = product_device();
    if (argc != 2 || !dev)
        return 50;
    return strcmp(argv[1], "daemon") ? family() : become_daemon();
}
