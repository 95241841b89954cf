/* SPDX-License-Identifier: MIT
 *
 * vgr-worker - serves one guest context with the host's GGML.
 *
 * Started by vgr-device (boot.h), not by people, but for --list-devices. With --probe it stops before
 * the handshake, and says what of the sandbox could not be had.
 *
 * Stages
 * ------
 *
 * 1. Map the page of counters and the account of device memory and close their files; then map the arena,
 *    close every file of guest memory. From here on the process holds what its context may see anyway.
 * 2. The sandbox's first stage (sandbox.h): no_new_privs, die with the front, files, user.
 * 3. Load GGML and its GPU libraries.
 * 4. The sandbox's second stage: system calls.
 * 5. Handshake, then the command loop. Only now are bytes read that the guest wrote. Further queues get
 *    threads when the guest opens them.
 */
#include <errno.h>
#include <ggml.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/fds.h"
#include "common/log.h"
#include "worker/boot.h"
#include "worker/context.h"
#include "worker/locks.h"
#include "worker/sandbox.h"

/* GGML aborts on what it finds impossible. The guest should learn why before we are gone. A thread of
 * GGML's own has no queue: then it is said of the first. */
static struct vgr_ctx *first;
static _Thread_local struct vgr_ctx *own;

static void on_ggml_abort(const char *message)
{
    if (first)
        vgr_ctx_fail(own ? own : first, VGR_ERROR_COMPUTE, "the host's GGML gave up: %s", message);
    _exit(1);
}

static void on_refused_call(int nr)
{
    vgr_error("the strict sandbox stopped system call %d: this device needs --sandbox=relaxed", nr);
    if (first)
        vgr_ctx_fail(own ? own : first, VGR_ERROR_COMPUTE,
                     "the host's sandbox stopped system call %d", nr);
    _exit(1);
}

/* Queues sleep in what the sandbox lets nobody make. */
static int prepare_sleep(struct vgr_shared *shared, uint32_t n_queues)
{
    int err = vgr_ctx_prepare_sleep(shared, n_queues);

    if (err)
        vgr_error("no descriptors: %s", strerror(-err));
    return err;
}

/* Stages 2 to 4. `shared`: of the queues that will be there, or NULL. */
static int load(const struct vgr_boot *boot, struct vgr_sandbox *sandbox,
                struct vgr_backends *backends, struct vgr_shared *shared)
{
    if (boot->sandbox.mode != VGR_SANDBOX_OFF)
        vgr_locks_by_flock();
    return vgr_sandbox_begin(sandbox, &boot->sandbox) ||
           vgr_backends_load(backends, (const char (*)[64])boot->devices, boot->n_devices) ||
           (shared && prepare_sleep(shared, backends->n)) ||
           vgr_sandbox_finish(sandbox, backends->n, on_refused_call);
}

/* The name of a backend that strict mode's list was not made with, or NULL. */
static const char *strict_is_a_guess(const struct vgr_backends *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        const char *text = ggml_backend_dev_description(b->device[i].dev);

        if (ggml_backend_dev_type(b->device[i].dev) != GGML_BACKEND_DEVICE_TYPE_CPU &&
            !strstr(text, "llvmpipe") && !strstr(text, "NVIDIA"))
            return text;
    }
    return NULL;
}

static int probe(void)
{
    static struct vgr_backends backends;
    struct vgr_sandbox sandbox;
    struct vgr_boot boot;
    int ret = vgr_boot_read(&boot);

    if (ret) {
        vgr_error("cannot read the boot file: %s", strerror(-ret));
        return 2;
    }
    vgr_log_init("vgr-worker", (enum vgr_log_level)boot.log_level);
    if (load(&boot, &sandbox, &backends, NULL))
        return 2;
    vgr_sandbox_tell(&sandbox, false);
    if (boot.sandbox.mode == VGR_SANDBOX_STRICT && strict_is_a_guess(&backends))
        vgr_warn("sandbox: strict has not been tried with %s: contexts may end, with a reason",
                 strict_is_a_guess(&backends));
    return 0;
}

static int list_devices(int argc, char **argv)
{
    static char names[VGR_BOOT_MAX_DEVICES][64];
    static struct vgr_backends backends;
    uint32_t n = 0;

    vgr_log_init("vgr-worker", VGR_LOG_INFO); /* what is left out, and why */
    for (int i = 2; i < argc; i++) {
        if (n == VGR_BOOT_MAX_DEVICES || strlen(argv[i]) >= sizeof(names[0])) {
            fprintf(stderr, "vgr-worker: too many or too long device names\n");
            return 2;
        }
        strcpy(names[n++], argv[i]);
    }
    if (vgr_backends_load(&backends, (const char (*)[64])names, n))
        return 2;
    vgr_backends_list(&backends);
    return 0;
}

/* The life of a queue but the first. When it has failed, so has the context. */
static void *serve_queue(void *queue)
{
    own = queue;
    vgr_ctx_loop(own);
    _exit(1);
}

static int serve(void)
{
    static struct vgr_shared shared = {.serve = serve_queue};
    static struct vgr_ctx ctx;
    struct vgr_counts_page *counts;
    struct vgr_boot boot;
    struct vgr_sandbox sandbox;
    struct vgr_ctx *c = &ctx;
    int ret;

    vgr_log_init("", VGR_LOG_WARN); /* the front says whose lines these are */
    ret = vgr_boot_read(&boot);
    if (ret) {
        vgr_error("cannot read the boot file: %s", strerror(-ret));
        return 1;
    }
    vgr_log_init("", (enum vgr_log_level)boot.log_level);
    counts = vgr_counts_map();
    if (!counts) {
        vgr_error("cannot map the counters: %m");
        return 1;
    }
    vgr_ctx_init(c, &shared, counts);
    ret = vgr_memory_init(&shared.memory, &boot);
    if (ret) {
        vgr_error("cannot map the account of device memory: %s", strerror(-ret));
        return 1;
    }
    ret = vgr_arena_map(&c->arena, &boot);
    if (ret == -ECONNREFUSED)
        return VGR_BOOT_REFUSED;
    if (ret) {
        vgr_error("cannot map the arena: %s", strerror(-ret));
        return 1;
    }
    shared.line_fd = VGR_BOOT_LINE_FD;
    shared.nudge_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (shared.nudge_fd < 0) {
        vgr_error("no descriptors: %m");
        return 1;
    }

    __atomic_store_n(&vgr_arena_control(&c->arena)->state, VGR_STATE_STARTING, __ATOMIC_SEQ_CST);
    first = own = c;
    ggml_set_abort_callback(on_ggml_abort);
    if (load(&boot, &sandbox, &c->backends, &shared)) {
        vgr_ctx_fail(c, VGR_ERROR_NO_DEVICE, "the host has no device to offer");
        return 1;
    }
    vgr_sandbox_tell(&sandbox, true);
    for (uint32_t i = 0; i < c->backends.n; i++)
        vgr_counts_device(counts, ggml_backend_dev_name(c->backends.device[i].dev));
    if (!vgr_ctx_handshake(c))
        vgr_ctx_loop(c);
    return 1;
}

/* GGML looks for backends in the current folder too, and the loader takes empty and relative entries of
 * LD_LIBRARY_PATH from there: somebody else's folder would be somebody else's code, run as root by
 * `vgr-device --list-devices` in it. Nobody but root writes to "/". */
static int leave_current_folder(void)
{
    const char *backend = getenv("GGML_BACKEND_PATH");

    if (backend && backend[0] && backend[0] != '/') {
        vgr_error(
            "GGML_BACKEND_PATH is '%s', which depends on the current folder: give its whole path",
            backend);
        return -1;
    }
    if (chdir("/")) {
        vgr_error("cannot leave the current folder: %m");
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int status = 2, err = vgr_fds_standard();

    vgr_log_init("vgr-worker", VGR_LOG_WARN);
    if (err) {
        vgr_error("cannot open /dev/null: %s", strerror(-err));
        return 2;
    }
    if (leave_current_folder())
        return 2;
    if (argc >= 2 && !strcmp(argv[1], "--list-devices"))
        status = list_devices(argc, argv);
    else if (argc == 2 && !strcmp(argv[1], "--boot"))
        status = serve();
    else if (argc == 2 && !strcmp(argv[1], "--probe"))
        status = probe();
    else
        fprintf(stderr, "vgr-worker: started by vgr-device; try vgr-device --help\n");

    /* Not exit(): GPU drivers crash in the destructors of a process that is going anyway. */
    fflush(stdout);
    _exit(status);
}
