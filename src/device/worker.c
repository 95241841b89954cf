/* SPDX-License-Identifier: MIT */
#include "device/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "device/watchdog.h"
#include "protocol/sys.h"

extern char **environ;

/* The environment of a worker: ours, without our own variables. The caller frees the array; the
 * strings are the environment's own.
 *
 * VGR_NO_GUEST keeps the guest plugin, which may lie in the same backend folder, from opening a
 * device of its own in there. GOMP_SPINCOUNT is for GGML's CPU backend: by default its OpenMP threads
 * spin for milliseconds at every barrier, on processors that the VM's own threads are waiting for; a
 * token then takes a second. A microsecond is nearly as fast on an idle machine. */
static char **worker_environment(void)
{
    bool spin_set = getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY");
    size_t n = 0, out = 0;
    char **env;

    while (environ[n])
        n++;
    env = calloc(n + 3, sizeof(*env));
    if (!env)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(environ[i], "VGR_", 4))
            env[out++] = environ[i];
    }
    env[out++] = (char *)"VGR_NO_GUEST=1";
    if (!spin_set)
        env[out] = (char *)"GOMP_SPINCOUNT=300";
    return env;
}

/* SIGPIPE stays ignored for those who serve: whoever reads the log may go away. */
static void unblock_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child: puts the descriptors where boot.h wants them (-1: /dev/null), closes all others, becomes the
 * worker.
 * Every source is first moved above the targets, or a dup2() could overwrite one still needed. */
static void __attribute__((noreturn)) become_worker(const char *path, char **env, pid_t parent,
                                                    int log, const int *sources, unsigned n)
{
    char *argv[] = {(char *)"vgr-worker", (char *)"--boot", NULL};
    unsigned first_free = VGR_BOOT_FD + n;
    int null = VGR_SYS_AGAIN(open("/dev/null", O_RDWR | O_CLOEXEC));
    int moved[VGR_BOOT_FILES_FD + VGR_BOOT_MAX_FILES];

    unblock_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127); /* the front died before the line above */

    vgr_log_init("", vgr_log_level_get()); /* who reads `log` says whose lines these are */
    if (null < 0)
        goto fail;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (dup2(fd == STDIN_FILENO ? null : log, fd) < 0)
            goto fail;
    }
    for (unsigned i = 0; i < n; i++) {
        moved[i] = fcntl(sources[i] < 0 ? null : sources[i], F_DUPFD_CLOEXEC, (int)first_free);
        if (moved[i] < 0)
            goto fail;
    }
    for (unsigned i = 0; i < n; i++) {
        if (dup2(moved[i], (int)(VGR_BOOT_FD + i)) < 0)
            goto fail;
    }
    if (close_range(first_free, ~0u, 0) < 0)
        goto fail;
    execve(path, argv, env);
fail:
    vgr_error("cannot run %s: %s", path, strerror(errno));
    _exit(127);
}

/* fork(), but this process stands still until the other one has become another program, or ended. Until then
 * that has copies of all that we have open; so none of it can be closed by us, and the last copy of something
 * that a client makes linger (discard.h) left to a worker that is only starting. */
static pid_t fork_until_exec(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0L);
}

/* The boot file of context `number`, or -errno. */
static int make_boot_file(const struct vgr_worker_pool *pool, uint32_t number, unsigned slot,
                          const struct vgr_worker_job *job)
{
    const struct vgr_arena *arena = &job->arena;
    struct vgr_boot boot = {
        .magic = VGR_BOOT_MAGIC,
        .n_fds = arena->n_files,
        .n_runs = arena->n_runs,
        .log_level = vgr_log_level_get(),
        .arena_size = arena->size,
        .context = number,
        .n_devices = pool->n_devices,
        .account_slot = slot,
        .client = job->client,
        .memory_limit = pool->memory_limit,
        .context_memory_limit = pool->context_memory_limit,
        .sandbox = pool->sandbox,
    };
    int fd = vgr_sys_memfd("vgr-boot", MFD_CLOEXEC, 0, 0);
    int err;

    if (fd < 0)
        return fd;
    for (unsigned i = 0; i < pool->n_devices; i++)
        snprintf(boot.devices[i], sizeof(boot.devices[i]), "%s", pool->devices[i]);
    err = vgr_sys_write(fd, &boot, sizeof(boot));
    if (!err)
        err = vgr_sys_write(fd, arena->runs, arena->n_runs * sizeof(*arena->runs));
    if (!err && lseek(fd, 0, SEEK_SET) < 0)
        err = -errno;
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

/* The file for the worker's counters, or -errno. Sealed: the worker can neither cut it nor make it
 * grow. */
static int make_counts_file(void)
{
    return vgr_sys_memfd("vgr-counts", MFD_CLOEXEC, VGR_COUNTS_SIZE,
                         F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

int vgr_worker_pool_prepare(struct vgr_worker_pool *pool)
{
    int err;

    if (pool->account.pages)
        return 0;
    err = vgr_account_create(&pool->account);
    if (!err)
        pool->log.burst = VGR_WORKER_POOL_BURST;
    return err;
}

/* There is one for each process that the pool's limit allows. */
static int take_slot(struct vgr_worker_pool *pool, uint32_t *slot)
{
    for (uint32_t i = 0; i < VGR_ACCOUNT_SLOTS; i++) {
        if (!pool->slot_used[i]) {
            pool->slot_used[i] = true;
            vgr_account_use(&pool->account, i);
            *slot = i;
            return 0;
        }
    }
    return -EUSERS;
}

static void give_slot(struct vgr_worker_pool *pool, uint32_t slot)
{
    vgr_account_clear(&pool->account, slot);
    pool->slot_used[slot] = false;
}

static void forget(struct vgr_worker *w)
{
    struct vgr_worker_pool *pool = w->pool;

    vgr_worker_keep(w);
    if (w->refused)
        pool->refused++;
    else if (!w->killed)
        pool->failed++;
    if (w->prev)
        w->prev->next = w->next;
    else
        pool->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    pool->alive--;
    give_slot(pool, w->slot);
    w->pid = 0;
    close(w->counts_fd);
    w->counts_fd = -1;
    vgr_loop_close(pool->loop, &w->watch);
}

static void describe_end(const siginfo_t *si, char *text, size_t size)
{
    if (si->si_code == CLD_EXITED)
        snprintf(text, size, "exited with status %d", si->si_status);
    else
        snprintf(text, size, "was killed by signal %d (%s)", si->si_status,
                 strsignal(si->si_status));
}

static void process_ended(struct vgr_watch *watch, uint32_t events)
{
    struct vgr_worker *w = vgr_container_of(watch, struct vgr_worker, watch);
    siginfo_t si = {0};
    char reason[96];

    if (waitid(P_PIDFD, (id_t)watch->fd, &si, WEXITED | WNOHANG) < 0 || !si.si_pid)
        return;
    describe_end(&si, reason, sizeof(reason));
    w->refused = si.si_code == CLD_EXITED && si.si_status == VGR_BOOT_REFUSED;
    vgr_loop_charge(w->pool->loop, VGR_WORK_CALLS, VGR_COUNTS_QUEUES + 8);
    vgr_worker_log_close(&w->log); /* its last words come first */
    vgr_log_often(&w->pool->log, w->killed ? VGR_LOG_DEBUG : VGR_LOG_INFO, "worker %u (pid %d) %s",
                  w->number, (int)w->pid, reason);
    forget(w);
    w->exited(w, reason);
}

static void log_read(struct vgr_worker_log *l, enum vgr_cost_found found)
{
    vgr_worker_cost(vgr_container_of(l, struct vgr_worker, log), found);
}

int vgr_worker_start(struct vgr_worker_pool *pool, struct vgr_worker *w,
                     const struct vgr_worker_job *job,
                     void (*exited)(struct vgr_worker *w, const char *reason))
{
    const struct vgr_arena *arena = &job->arena;
    int sources[VGR_BOOT_FILES_FD + VGR_BOOT_MAX_FILES];
    unsigned n = 0;
    pid_t parent = getpid();
    char **env = NULL;
    int boot_fd = -1, pidfd = -1, log_fd = -1, err;

    memset(w, 0, sizeof(*w));
    w->watch.fd = w->counts_fd = -1;
    if (pool->alive >= pool->limit)
        return -EUSERS;
    err = vgr_worker_pool_prepare(pool);
    if (!err)
        err = take_slot(pool, &w->slot);
    if (err)
        return err;
    w->pool = pool;
    w->number = ++pool->last_number;
    w->exited = exited;
    w->arena_size = arena->size;
    w->started_ns = vgr_unix_ns();

    env = worker_environment();
    if (!env) {
        err = -ENOMEM;
        goto out;
    }
    boot_fd = make_boot_file(pool, w->number, w->slot, job);
    if (boot_fd < 0) {
        err = boot_fd;
        goto out;
    }
    w->counts_fd = make_counts_file();
    if (w->counts_fd < 0) {
        err = w->counts_fd;
        goto out;
    }
    log_fd = vgr_worker_log_open(&w->log, pool->loop, &pool->log_lines, w->number);
    if (log_fd < 0) {
        err = log_fd;
        goto out;
    }
    w->log.read = log_read;
    sources[n++] = boot_fd;
    sources[n++] = job->line;
    sources[n++] = w->counts_fd;
    sources[n++] = pool->account.read_fd;
    sources[n++] = pool->account.fd;
    if (job->client)
        sources[n++] = job->conn;
    for (unsigned i = 0; i < arena->n_files; i++)
        sources[n++] = arena->files[i];

    vgr_loop_charge(pool->loop, VGR_WORK_PROCESSES, 1);
    vgr_loop_charge(pool->loop, VGR_WORK_BYTES, arena->n_runs * sizeof(*arena->runs));
    w->pid = fork_until_exec();
    if (w->pid < 0) {
        err = -errno;
        w->pid = 0;
        goto out;
    }
    if (!w->pid)
        become_worker(pool->path, env, parent, log_fd, sources, n);

    pidfd = pidfd_open(w->pid, 0);
    err = pidfd < 0 ? -errno : vgr_loop_add(pool->loop, &w->watch, pidfd, EPOLLIN, process_ended);
    if (err) {
        /* Not supervised, not kept. It has not come far: this wait is short. */
        kill(w->pid, SIGKILL);
        VGR_SYS_AGAIN(waitpid(w->pid, NULL, 0));
        w->pid = 0;
        if (pidfd >= 0)
            close(pidfd);
        goto out;
    }
    w->next = pool->first;
    if (w->next)
        w->next->prev = w;
    pool->first = w;
    pool->alive++;
    pool->opened++;
    if (pool->watchdog)
        vgr_watchdog_started(pool->watchdog);
    vgr_debug("worker %u started, pid %d", w->number, (int)w->pid);
out:
    if (boot_fd >= 0)
        close(boot_fd);
    if (log_fd >= 0)
        close(log_fd);
    if (err)
        vgr_worker_log_close(&w->log);
    if (err && w->counts_fd >= 0)
        close(w->counts_fd);
    if (err)
        give_slot(pool, w->slot);
    free(env);
    return err;
}

bool vgr_worker_alive(const struct vgr_worker *w)
{
    return w->pid > 0;
}

void vgr_worker_kill(struct vgr_worker *w)
{
    if (!vgr_worker_alive(w) || w->killed)
        return;
    w->killed = true;
    pidfd_send_signal(w->watch.fd, SIGKILL, NULL, 0);
    vgr_worker_log_rest(&w->log); /* once it is gone, nobody waits at the other end */
}

void vgr_worker_cost(struct vgr_worker *w, enum vgr_cost_found found)
{
    if (found != VGR_COST_SHORT)
        vgr_loop_look(w->pool->loop);
    if (found == VGR_COST_TOO_MUCH)
        vgr_worker_over_limit(w, VGR_COST_TEXT);
}

void vgr_worker_over_limit(struct vgr_worker *w, const char *text)
{
    if (!vgr_worker_alive(w) || w->killed)
        return;
    snprintf(w->over_limit, sizeof(w->over_limit), "%s", text);
    vgr_log_often(&w->pool->log, VGR_LOG_WARN, "context %u ends: %s", w->number, text);
    vgr_worker_kill(w);
}

void vgr_worker_pool_finish(struct vgr_worker_pool *pool, uint32_t ms)
{
    uint64_t end = vgr_now_ms() + ms;

    for (struct vgr_worker *w = pool->first; w; w = w->next)
        vgr_worker_kill(w);
    while (pool->first) {
        struct pollfd p = {.fd = pool->first->watch.fd, .events = POLLIN};
        uint64_t now = vgr_now_ms();

        if (now >= end || vgr_sys_poll(&p, 1, (int64_t)(end - now) * INT64_C(1000000)) <= 0) {
            vgr_warn("worker %u does not end", pool->first->number);
            return;
        }
        process_ended(&pool->first->watch, EPOLLIN);
    }
    vgr_account_destroy(&pool->account);
}

/* Runs the program with these arguments, `boot_fd` in its place if there is one, and waits for it. */
static int run(const char *path, char *const *argv, int boot_fd)
{
    char **env = worker_environment();
    int status, err;
    pid_t pid;

    if (!env)
        return -ENOMEM;
    if (access(path, X_OK) < 0) {
        err = -errno;
        free(env);
        return err;
    }
    pid = fork();
    if (pid < 0) {
        err = -errno;
        free(env);
        return err;
    }
    if (!pid) {
        signal(SIGPIPE, SIG_DFL);
        unblock_signals();
        /* A descriptor that is in its place already stays there, but for its flag. */
        if (boot_fd < 0 || (boot_fd == VGR_BOOT_FD ? !fcntl(boot_fd, F_SETFD, 0)
                                                   : dup2(boot_fd, VGR_BOOT_FD) >= 0))
            execve(path, argv, env);
        vgr_error("cannot run %s: %s", path, strerror(errno));
        _exit(127);
    }
    free(env);
    if (VGR_SYS_AGAIN(waitpid(pid, &status, 0)) < 0)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -ECANCELED;
}

int vgr_worker_list_devices(const char *path, const char *const *devices, unsigned n_devices)
{
    char *argv[3 + VGR_BOOT_MAX_DEVICES] = {(char *)"vgr-worker", (char *)"--list-devices"};

    for (unsigned i = 0; i < n_devices; i++)
        argv[2 + i] = (char *)devices[i];
    return run(path, argv, -1);
}

int vgr_worker_probe(const struct vgr_worker_pool *pool)
{
    char *argv[] = {(char *)"vgr-worker", (char *)"--probe", NULL};
    const struct vgr_worker_job none = {0};
    int fd = make_boot_file(pool, 0, 0, &none);
    int ret;

    if (fd < 0)
        return fd;
    ret = run(pool->path, argv, fd);
    close(fd);
    return ret;
}
