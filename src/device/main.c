/* SPDX-License-Identifier: MIT
 *
 * vgr-device - gives the host's GGML devices to virtual machines and to direct clients.
 *
 * Theory of operation
 * -------------------
 *
 * One process, one thread, one epoll loop. It is small and dull on purpose: it owns what must never
 * fail (QEMU's socket, the virtqueues, the guest's fences) and leaves everything that can, GPU
 * libraries first, to one worker process per context. It reads bytes that guests wrote, so each
 * length, index and address is checked where it enters:
 *
 *   listen, direct,
 *   discard                 direct clients, and the bridges of virtual machines
 *   vhost, vhost_msg,
 *   vhost_request           QEMU's messages
 *   vhost_keep, keep        what outlives this process
 *   guestmem, virtqueue     guest memory and rings
 *   gpu, gpu_info, attach,
 *   pages                   the virtio-gpu commands, page lists
 *   context                 a guest context and its fence
 *   worker, watchdog        processes
 *   stats, report           what the operator asks
 *   loop                    events
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fds.h"
#include "common/log.h"
#include "device/confine.h"
#include "device/direct.h"
#include "device/listen.h"
#include "device/options.h"
#include "device/pidfile.h"
#include "device/stats.h"
#include "device/vhost.h"
#include "device/watchdog.h"
#include "protocol/sys.h"

#define EXIT_USAGE 2

static_assert(VGR_GPU_MAX_ENTRIES >= VGR_ARENA_MAX / 4096, "the largest arena in single pages");

struct vgr_program {
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_watch signals;
    struct vgr_direct direct;
    struct vgr_direct broker;
    struct vgr_vhost vhost;
    struct vgr_keep keep;
    struct vgr_stats stats;
    struct vgr_watchdog watchdog;
    struct vgr_pidfile pid_file;
};

/* vgr-worker and vgr-keeper belong to this very build or installation: beside us in a build folder, under
 * our own prefix (wherever that was moved to), or where it was configured to go. `name` is that of its
 * source's folder, too, but for the "vgr-". */
static const char *find_program(const char *name, char *buf, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n > 0) {
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        if ((size_t)snprintf(buf, size, "%s/../%s/%s", self, name + strlen("vgr-"), name) < size &&
            !access(buf, X_OK))
            return buf;
        if ((size_t)snprintf(buf, size, "%s/../libexec/vgr/%s", self, name) < size &&
            !access(buf, X_OK))
            return buf;
    }
    snprintf(buf, size, "%s/%s", VGR_PROGRAM_DIR, name);
    return buf;
}

static void signal_ready(struct vgr_watch *w, uint32_t events)
{
    struct vgr_program *p = vgr_container_of(w, struct vgr_program, signals);
    struct signalfd_siginfo si;

    if (VGR_SYS_AGAIN(read(w->fd, &si, sizeof(si))) != sizeof(si))
        return;
    vgr_info("ending: %s", strsignal((int)si.ssi_signo));
    p->loop.stop = true;
}

static int watch_signals(struct vgr_program *p)
{
    sigset_t set;
    int fd, err;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    err = vgr_loop_add(&p->loop, &p->signals, fd, EPOLLIN, signal_ready);
    if (err)
        close(fd);
    return err;
}

/* Each context takes a handful of descriptors. */
static void raise_file_limit(void)
{
    struct rlimit rl;

    if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

/* The exit status for an error that was said. A host that has no memory, descriptors or processes left is no
 * mistake of whoever starts us. */
static int status_of(int err)
{
    switch (-err) {
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return EXIT_FAILURE;
    default:
        return EXIT_USAGE;
    }
}

static int cannot_start(int err)
{
    vgr_error("cannot start: %s", strerror(-err));
    return err;
}

/* A misspelt device, a host without GGML backends, a driver that does not work inside of the sandbox,
 * and what the sandbox lacks here: that shows now, not when the first guest comes. */
static int probe_worker(const struct vgr_worker_pool *pool)
{
    int status = vgr_worker_probe(pool);

    if (status == -ECANCELED)
        vgr_error("%s --probe died: does the GPU's driver work?", pool->path);
    else if (status < 0)
        vgr_error("cannot run %s: %s (see --worker)", pool->path, strerror(-status));
    return status > 0 ? -ENODEV : status;
}

/* Listens on the path that `option` names. The descriptor, or -errno, which was said. */
static int listen_on(const char *option, const char *path, int type, mode_t mode)
{
    char why[256];
    int fd = vgr_listen(path, type, mode, why, sizeof(why));

    if (fd < 0)
        vgr_error("%s: %s", option, why);
    return fd;
}

static void keeper_renewed(struct vgr_keep *k)
{
    vgr_vhost_keeper_renewed(&vgr_container_of(k, struct vgr_program, keep)->vhost);
}

/* Without a keeper all works, until we die. */
static int start_keeper(struct vgr_program *p, const struct vgr_options *o)
{
    static char path[PATH_MAX];
    static struct vgr_kept kept;
    char why[256];
    int ret;

    find_program("vgr-keeper", path, sizeof(path));
    ret = vgr_keep_open(&p->keep, &p->loop, path, o->socket_path, keeper_renewed, &kept, why,
                        sizeof(why));
    if (ret < 0) {
        vgr_warn("no vgr-keeper: %s; a VM will lose its device if this process dies", why);
        return 0;
    }
    ret = vgr_vhost_set_keeper(&p->vhost, &p->keep, ret ? &kept : NULL);
    if (ret == -EPROTO)
        vgr_error("%s: its VM is that of another version of vgr-device: start that one, or end the "
                  "VM first",
                  o->socket_path);
    else if (ret)
        vgr_error("%s: its VM cannot be taken over: %s", o->socket_path, strerror(-ret));
    return ret;
}

static int start_vhost(struct vgr_program *p, const struct vgr_options *o,
                       const struct vgr_capset *capset)
{
    int fd, err;

    if (o->fd >= 0) {
        if (vgr_vhost_init(&p->vhost, &p->loop, &p->pool, capset, -1, NULL) ||
            vgr_vhost_connect(&p->vhost, o->fd)) {
            vgr_error("--fd %d: not a connected unix stream socket", o->fd);
            return -EINVAL;
        }
        return 0;
    }
    fd = listen_on("--socket-path", o->socket_path, SOCK_STREAM, 0777);
    if (fd < 0)
        return fd;
    err = vgr_vhost_init(&p->vhost, &p->loop, &p->pool, capset, fd, o->socket_path);
    if (err)
        return cannot_start(err);
    err = start_keeper(p, o);
    if (err) {
        vgr_vhost_finish(&p->vhost);
        vgr_keep_close(&p->keep);
    }
    return err;
}

static int start_direct(struct vgr_program *p, const struct vgr_options *o,
                        const struct vgr_capset *capset)
{
    int fd = listen_on("--direct", o->direct_path, SOCK_STREAM, 0777), err;

    if (fd < 0)
        return fd;
    err = vgr_direct_init(&p->direct, &p->loop, &p->pool, capset, fd, o->direct_path, false);
    return err ? cannot_start(err) : 0;
}

static int start_broker(struct vgr_program *p, const struct vgr_options *o,
                        const struct vgr_capset *capset)
{
    int fd = listen_on("--broker", o->broker_path, SOCK_STREAM, 0777), err;

    if (fd < 0)
        return fd;
    err = vgr_direct_init(&p->broker, &p->loop, &p->pool, capset, fd, o->broker_path, true);
    return err ? cannot_start(err) : 0;
}

static int start_stats(struct vgr_program *p, const struct vgr_options *o)
{
    int fd = listen_on("--stats", o->stats_path, SOCK_STREAM, 0600), err;

    if (fd < 0)
        return fd;
    err = vgr_stats_init(&p->stats, &p->loop, &p->pool, fd, o->stats_path);
    return err ? cannot_start(err) : 0;
}

static int serve(struct vgr_options *o)
{
    static struct vgr_program p;
    struct vgr_capset capset = {
        .magic = VGR_MAGIC,
        .version_min = VGR_PROTOCOL_VERSION,
        .version_max = VGR_PROTOCOL_VERSION,
        .arena_min = VGR_ARENA_MIN,
        .arena_max = o->arena_max,
        .arena_default = o->arena_default,
    };
    bool with_vhost = o->socket_path || o->fd >= 0;
    int status = EXIT_FAILURE, err;
    char why[256];

    p.pool = (struct vgr_worker_pool){
        .loop = &p.loop,
        .path = o->worker_path,
        .devices = o->devices,
        .n_devices = o->n_devices,
        .limit = o->contexts,
        .memory_limit = o->memory_limit,
        .context_memory_limit = o->context_memory_limit,
        .started_ns = vgr_unix_ns(),
        .max_runs = o->max_mappings,
    };
    if (vgr_confine(o, &p.pool.sandbox, why, sizeof(why))) {
        vgr_error("%s", why);
        return EXIT_USAGE;
    }
    err = probe_worker(&p.pool);
    if (err)
        return status_of(err);
    raise_file_limit();
    err = vgr_loop_init(&p.loop);
    if (!err)
        err = watch_signals(&p);
    if (err) {
        vgr_error("cannot start: %s", strerror(-err));
        return EXIT_FAILURE;
    }

    err = vgr_worker_pool_prepare(&p.pool);
    if (err) {
        vgr_error("cannot start: %s", strerror(-err));
        goto out_loop;
    }
    if (o->graph_timeout)
        vgr_watchdog_init(&p.watchdog, &p.loop, &p.pool, 1000 * o->graph_timeout);
    err = with_vhost ? start_vhost(&p, o, &capset) : 0;
    if (err)
        goto out_watchdog;
    err = o->direct_path ? start_direct(&p, o, &capset) : 0;
    if (err)
        goto out_vhost;
    err = o->broker_path ? start_broker(&p, o, &capset) : 0;
    if (err)
        goto out_direct;
    err = o->stats_path ? start_stats(&p, o) : 0;
    if (err)
        goto out_broker;
    err = o->pid_file ? vgr_pidfile_write(&p.pid_file, o->pid_file, why, sizeof(why)) : 0;
    if (err) {
        vgr_error("--pid-file: %s", why);
        goto out_stats;
    }
    if (geteuid() == 0 && !o->worker_user && o->sandbox != VGR_SANDBOX_OFF)
        vgr_info("workers run as root, without its capabilities (see --worker-user)");
    vgr_info("ready%s%s%s%s%s%s",
             o->socket_path ? ", for QEMU on "
             : o->fd >= 0   ? ", for QEMU"
                            : "",
             o->socket_path ? o->socket_path : "", o->direct_path ? ", for direct clients on " : "",
             o->direct_path ? o->direct_path : "", o->broker_path ? ", for bridges on " : "",
             o->broker_path ? o->broker_path : "");

    err = vgr_loop_run(&p.loop);
    if (err)
        vgr_error("event loop: %s", strerror(-err));
    status = err ? EXIT_FAILURE : EXIT_SUCCESS;
    err = 0;
    if (with_vhost)
        vgr_vhost_ending(&p.vhost);
    vgr_worker_pool_finish(&p.pool, 2000);
    if (o->pid_file)
        vgr_pidfile_remove(&p.pid_file);
out_stats:
    if (o->stats_path)
        vgr_stats_finish(&p.stats);
out_broker:
    if (o->broker_path)
        vgr_direct_finish(&p.broker);
out_direct:
    if (o->direct_path)
        vgr_direct_finish(&p.direct);
out_vhost:
    if (with_vhost)
        vgr_vhost_finish(&p.vhost);
    if (p.keep.loop)
        vgr_keep_close(&p.keep);
out_watchdog:
    if (o->graph_timeout)
        vgr_watchdog_finish(&p.watchdog);
out_loop:
    vgr_loop_close(&p.loop, &p.signals);
    vgr_loop_finish(&p.loop);
    return err ? status_of(err) : status;
}

/* A guest can make page lists of megabytes. What it gives back goes back to the host: an allocator that
 * learns from their sizes would keep later ones among the small blocks, for ever. */
static void give_memory_back(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

int main(int argc, char **argv)
{
    char why[256], worker[PATH_MAX];
    struct vgr_options o;
    int status, err;

    vgr_log_init("vgr-device", VGR_LOG_INFO);
    err = vgr_fds_standard();
    if (err) {
        vgr_error("cannot open /dev/null: %s", strerror(-err));
        return EXIT_FAILURE;
    }
    /* A limit for files (ulimit -f) is an error where it is met, for workers too: they inherit this. */
    signal(SIGXFSZ, SIG_IGN);
    if (vgr_options_parse(&o, argc, argv, why, sizeof(why))) {
        fprintf(stderr, "vgr-device: %s\n", why);
        return EXIT_USAGE;
    }
    vgr_log_init("vgr-device", (enum vgr_log_level)o.log_level);
    if (!o.worker_path)
        o.worker_path = find_program("vgr-worker", worker, sizeof(worker));

    switch (o.mode) {
    case VGR_MODE_HELP:
        vgr_options_help(stdout);
        break;
    case VGR_MODE_VERSION:
        printf("vgr-device %s\n", VGR_VERSION);
        break;
    case VGR_MODE_PRINT_CAPABILITIES:
        /* "features" names optional command line options; of those that exist we have none. */
        printf("{\n  \"type\": \"gpu\",\n  \"features\": []\n}\n");
        break;
    case VGR_MODE_LIST_DEVICES:
        status = vgr_worker_list_devices(o.worker_path, o.devices, o.n_devices);
        if (status < 0) {
            vgr_error("cannot run %s: %s (see --worker)", o.worker_path, strerror(-status));
            return status_of(status);
        }
        return status;
    case VGR_MODE_SERVE:
        give_memory_back();
        return serve(&o);
    }
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
