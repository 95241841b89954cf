/* SPDX-License-Identifier: MIT
 *
 * Each attempt runs in a process of its own, which confines itself as a worker does and then tries
 * what a worker must not be able to do. It is run without the sandbox as well, where it has to
 * succeed: a denial that came from elsewhere would prove nothing.
 */
#include "vgr_test.h"

#include <dlfcn.h>
#include <fnmatch.h>
#include <pthread.h>
#include <seccomp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "sandbox_attempts_all.h"
#include "worker/sandbox_table.h"

/* ---- Processes ---- */

static void stopped(int nr)
{
    _exit(STOPPED - 900);
}

static void confine(uint32_t mode)
{
    f.config.mode = mode;
    if (vgr_sandbox_begin(&f.sandbox, &f.config) || vgr_sandbox_finish(&f.sandbox, 1, stopped))
        _exit(99);
}

/* Runs `run` in a confined process of its own. */
static int outcome(uint32_t mode, int (*run)(void))
{
    pid_t pid;
    int status;

    unlink(f.new_file);
    rmdir(f.new_file);
    if (run == remove_tmp)
        close(open(f.new_file, O_CREAT | O_WRONLY, 0600));
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        confine(mode);
        _exit(run());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? KILLED : 2000 + WTERMSIG(status);
    return WEXITSTATUS(status) == STOPPED - 900 ? STOPPED : WEXITSTATUS(status);
}

static void try_all(uint32_t mode, const char *name)
{
    unsigned tried = 0, wrong = 0;

    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        int want = mode == VGR_SANDBOX_OFF      ? attempts[i].off
                   : mode == VGR_SANDBOX_STRICT ? attempts[i].strict
                                                : attempts[i].relaxed;
        int got;

        if (want == NOT_RUN)
            continue;
        got = outcome(mode, attempts[i].run);
        tried++;
        if (got != want) {
            print_error("%s: %s: %d, not %d\n", name, attempts[i].name, got, want);
            wrong++;
        }
    }
    print_message("%u attempts, %s\n", tried, name);
    assert_true(tried > 100);
    assert_int_equal(wrong, 0);
}

static void attempts_succeed_without(void **state)
{
    try_all(VGR_SANDBOX_OFF, "off");
}

static void relaxed_denies(void **state)
{
    try_all(VGR_SANDBOX_RELAXED, "relaxed");
}

static void strict_denies(void **state)
{
    try_all(VGR_SANDBOX_STRICT, "strict");
}

static void the_front_stays_where_it_is(void **state)
{
    static const uint32_t modes[] = {VGR_SANDBOX_OFF, VGR_SANDBOX_RELAXED, VGR_SANDBOX_STRICT};
    cpu_set_t all, now;

    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    assert_true(CPU_COUNT(&all) > 1);
    while (!CPU_ISSET(f.processor, &all))
        f.processor++;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(outcome(modes[i], move_front), 0);
        assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
        assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
        assert_int_equal(CPU_EQUAL(&all, &now), modes[i] != VGR_SANDBOX_OFF);
    }
}

static void each_call_is_in_one_row(void **state)
{
    static char seen[1024][32];
    size_t n = 0;

    for (size_t i = 0; i < vgr_sandbox_n_calls; i++) {
        char *names = strdup(vgr_sandbox_calls[i].calls), *rest = names, *name;

        assert_non_null(names);
        while ((name = strsep(&rest, " "))) {
            assert_true(n < 1024 && strlen(name) > 2 && strlen(name) < sizeof(seen[0]));
            for (size_t j = 0; j < n; j++)
                assert_string_not_equal(seen[j], name);
            strcpy(seen[n++], name);
        }
        free(names);
        assert_true(strlen(vgr_sandbox_calls[i].why) > 5);
    }
    assert_true(n > 250);
    print_message("%zu calls\n", n);
}

/* ---- What has to work ---- */

/* Asks for its own stack, as runtimes of other languages do. */
static void *add_one(void *arg)
{
    pthread_attr_t own;

    *(int *)arg += !pthread_getattr_np(pthread_self(), &own);
    return NULL;
}

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__ % 80 + 1;                                                              \
    } while (0)

/* As CUDA does, which has no device without it. */
static bool name_thread(void)
{
    char path[64], name[16] = "";
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", (int)gettid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    return fd >= 0 && write(fd, "by-proc", 7) == 7 && !prctl(PR_GET_NAME, name) &&
           !strcmp(name, "by-proc");
}

static int work(void)
{
    static const char *const files[] = {"/proc/self/status", "/proc/self/maps",  "/proc/meminfo",
                                        "/proc/cpuinfo",     "/etc/ld.so.cache", "/dev/urandom"};
    struct timespec ts = {.tv_nsec = 1000};
    struct rlimit rl;
    pthread_attr_t placed;
    pthread_t thread;
    cpu_set_t cpus;
    uint64_t n = 7;
    int sum = 0, fd;
    char *p;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        NEED(!try_open(files[i], O_RDONLY));
    NEED(!try_open("/dev/null", O_RDWR));
    NEED(dlopen("libz.so.1", RTLD_NOW));

    p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED && !mprotect(p, 4096, PROT_READ | PROT_EXEC));
    NEED(!madvise(p, 1 << 20, MADV_DONTNEED) && !munmap(p, 1 << 20));
    p = malloc(64 << 20);
    NEED(p);
    memset(p, 7, 64 << 20);
    p = realloc(p, 128 << 20);
    NEED(p && p[0] == 7 && p[(64 << 20) - 1] == 7);
    free(p);
    fd = memfd_create("test", MFD_CLOEXEC);
    NEED(fd >= 0 && !ftruncate(fd, 4096));

    for (int i = 0; i < 4; i++)
        NEED(!pthread_create(&thread, NULL, add_one, &sum) && !pthread_join(thread, NULL));
    NEED(sum == 4);
    NEED(!sched_getaffinity(0, sizeof(cpus), &cpus) && !pthread_attr_init(&placed));
    NEED(!pthread_attr_setaffinity_np(&placed, sizeof(cpus), &cpus));
    NEED(!pthread_create(&thread, &placed, add_one, &sum) && !pthread_join(thread, NULL));
    NEED(sum == 5);
    NEED(!sched_getaffinity(0, sizeof(cpus), &cpus) && !sched_setaffinity(0, sizeof(cpus), &cpus));
    sched_yield();
    NEED(!prctl(PR_SET_NAME, "vgr-test"));
    NEED(name_thread());

    NEED(!clock_gettime(CLOCK_MONOTONIC, &ts) && !clock_getres(CLOCK_MONOTONIC, &ts));
    ts = (struct timespec){.tv_nsec = 1000};
    NEED(!nanosleep(&ts, NULL));
    fd = eventfd(0, 0);
    NEED(fd >= 0 && write(fd, &n, sizeof(n)) == sizeof(n) && read(fd, &n, sizeof(n)) == sizeof(n));
    NEED(n == 7 && fcntl(fd, 1027 /* F_DUPFD_QUERY */, fd) != 0);

    NEED(!kill(getpid(), 0) && !getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_max <= 4096);
    NEED(!getrlimit(RLIMIT_CORE, &rl) && rl.rlim_max == 0);
    NEED(prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    vgr_debug("a log line");
    return 0;
}

static int give_up(void)
{
    abort();
}

static void workers_can_work(void **state)
{
    f.config.nodes = VGR_NODES_NVIDIA;
    assert_int_equal(outcome(VGR_SANDBOX_RELAXED, work), 0);
    assert_int_equal(outcome(VGR_SANDBOX_STRICT, work), 0);
    assert_int_equal(outcome(VGR_SANDBOX_RELAXED, give_up), 2000 + SIGABRT);
    assert_int_equal(outcome(VGR_SANDBOX_STRICT, give_up), 2000 + SIGABRT);
    f.config.nodes = 0;
}

/* ---- A thread that a library started before the second stage ---- */

static pthread_barrier_t confined;
static int thread_result;

static void *old_thread(void *arg)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_barrier_wait(&confined);
    thread_result = read_shadow() == EACCES && tcp_connect() == EPERM && signal_front() == EPERM;
    return NULL;
}

static void older_threads_are_confined(void **state)
{
    static const uint32_t modes[] = {VGR_SANDBOX_RELAXED, VGR_SANDBOX_STRICT};
    int status;

    for (size_t i = 0; i < 2; i++) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (!pid) {
            pthread_t thread;

            f.config.mode = modes[i];
            pthread_barrier_init(&confined, NULL, 2);
            if (vgr_sandbox_begin(&f.sandbox, &f.config) ||
                pthread_create(&thread, NULL, old_thread, NULL) ||
                vgr_sandbox_finish(&f.sandbox, 1, stopped))
                _exit(99);
            pthread_barrier_wait(&confined);
            pthread_join(thread, NULL);
            _exit(thread_result ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* ---- Options ---- */

static int cache_is_writable(void)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/cache/entry", f.folder);
    fd = open(path, O_CREAT | O_RDWR, 0700);
    NEED(fd >= 0 && !ftruncate(fd, 10) && !flock(fd, LOCK_EX) && !unlink(path));
    NEED(create_tmp() == EACCES);
    NEED(!strncmp(getenv("MESA_SHADER_CACHE_DIR"), f.folder, strlen(f.folder)));
    return 0;
}

static int no_cache(void)
{
    NEED(!strcmp(getenv("MESA_SHADER_CACHE_DISABLE"), "true"));
    return 0;
}

static void a_cache_only_where_named(void **state)
{
    struct vgr_boot_sandbox before = f.config;

    assert_int_equal(outcome(VGR_SANDBOX_STRICT, no_cache), 0);
    snprintf(f.config.shader_cache, sizeof(f.config.shader_cache), "%s/cache", f.folder);
    assert_int_equal(mkdir(f.config.shader_cache, 0700), 0);
    assert_int_equal(outcome(VGR_SANDBOX_RELAXED, cache_is_writable), 0);
    assert_int_equal(outcome(VGR_SANDBOX_STRICT, cache_is_writable), 0);
    assert_int_equal(rmdir(f.config.shader_cache), 0);
    f.config = before;
}

static int is_another_user(void)
{
    gid_t groups[8];
    int sig = 0;

    NEED(getuid() == 65534 && geteuid() == 65534 && getgid() == 65534 && getegid() == 65534);
    NEED(getgroups(8, groups) == 2 && groups[0] == 40 && groups[1] == 41);
    NEED(!prctl(PR_GET_PDEATHSIG, &sig) && sig == SIGKILL);
    NEED(!prctl(PR_GET_DUMPABLE));
    NEED(!try_open("/proc/self/status", O_RDONLY) && !try_open("/proc/self/maps", O_RDONLY));
    NEED(name_thread());
    NEED(lower_oom_by_thread() == EACCES && write_own_memory() == EACCES);
    return 0;
}

static void a_user_of_its_own(void **state)
{
    struct vgr_boot_sandbox before = f.config;

    f.config.has_user = 1;
    f.config.nodes = VGR_NODES_NVIDIA;
    f.config.uid = f.config.gid = 65534;
    f.config.n_groups = 2;
    f.config.groups[0] = 40;
    f.config.groups[1] = 41;
    assert_int_equal(outcome(VGR_SANDBOX_RELAXED, is_another_user), 0);
    f.config = before;
}

/* ---- The machine ---- */

static int is_offered(void)
{
    char text[8] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY);

    NEED(fd >= 0 && read(fd, text, sizeof(text) - 1) == 5 && !strcmp(text, "1000\n"));
    return 0;
}

static void workers_end_first_without_memory(void **state)
{
    assert_int_equal(outcome(VGR_SANDBOX_OFF, is_offered), 0);
    assert_int_equal(outcome(VGR_SANDBOX_RELAXED, is_offered), 0);
    assert_int_equal(outcome(VGR_SANDBOX_STRICT, is_offered), 0);
}

static int nothing(void)
{
    return 0;
}

/* From version 7 on the kernel writes each denial to the machine's audit log, unless it is told not to. Here it
 * refuses to confine a process that has not told it so. */
static void denials_do_not_flood_the_audit_log(void **state)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    int status;
    pid_t pid;

    assert_non_null(filter);
    assert_int_equal(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EXDEV), SYS_landlock_restrict_self, 1,
                                      SCMP_A1(version < 7 ? SCMP_CMP_NE : SCMP_CMP_EQ, 0, 0)),
                     0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(seccomp_load(filter) ? 98 : outcome(VGR_SANDBOX_STRICT, nothing));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    seccomp_release(filter);
}

/* Whether a worker with devices of these kinds opens the node, whether or not this machine has it. */
static bool opens(const char *node, uint32_t nodes)
{
    for (size_t i = 0; i < vgr_sandbox_n_paths; i++) {
        const struct vgr_path_row *row = &vgr_sandbox_paths[i];
        char copy[512], *rest = copy, *pattern;

        if (row->access != VGR_PATH_DEVICE || (row->nodes && !(row->nodes & nodes)))
            continue;
        assert_true(strlen(row->paths) < sizeof(copy));
        strcpy(copy, row->paths);
        while ((pattern = strsep(&rest, " "))) {
            if (!fnmatch(pattern, node, FNM_PATHNAME))
                return true;
        }
    }
    return false;
}

static void nodes_of_offered_devices_only(void **state)
{
    static const struct {
        const char *node;
        uint32_t nodes; /* which open it */
    } cases[] = {
        {"/dev/null", VGR_NODES_ALL},
        {"/dev/dri/renderD128", VGR_NODES_DRM},
        {"/dev/dri/renderD200", VGR_NODES_DRM},
        {"/dev/dri/card0", 0},
        {"/dev/dri/controlD64", 0},
        {"/dev/nvidiactl", VGR_NODES_NVIDIA},
        {"/dev/nvidia0", VGR_NODES_NVIDIA},
        {"/dev/nvidia15", VGR_NODES_NVIDIA},
        {"/dev/nvidia-uvm", VGR_NODES_NVIDIA},
        {"/dev/nvidia-uvm-tools", 0},
        {"/dev/nvidia-modeset", 0},
        {"/dev/nvidia-nvswitch0", 0},
        {"/dev/nvidia-nvswitchctl", 0},
        {"/dev/nvidia-caps/nvidia-cap1", 0},
        {"/dev/nvidia-caps/nvidia-cap2", 0},
        {"/dev/nvidia-caps/nvidia-cap3", VGR_NODES_NVIDIA},
        {"/dev/nvidia-caps/nvidia-cap12", VGR_NODES_NVIDIA},
        {"/dev/nvidia-caps-imex-channels/channel0", 0},
        {"/dev/kfd", VGR_NODES_KFD},
        {"/dev/udmabuf", 0},
        {"/dev/kvm", 0},
        {"/dev/vhost-net", 0},
        {"/dev/net/tun", 0},
        {"/dev/mem", 0},
        {"/dev/sda", 0},
        {"/dev/tty", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (uint32_t bit = 1; bit <= VGR_NODES_ALL; bit <<= 1) {
            if (opens(cases[i].node, bit) != !!(cases[i].nodes & bit))
                fail_msg("%s, devices %u", cases[i].node, bit);
        }
    }
}

/* ---- The stage ---- */

static void hear(int sig)
{
    eventfd_write(f.heard, 1);
}

static int set_up(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, ends[2];

    if (geteuid() != 0) {
        print_error("only root can try what root's worker must not do: run this as root\n");
        return -1;
    }
    vgr_log_init("test", VGR_LOG_ERROR);
    strcpy(f.folder, "/tmp/vgr-test-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    snprintf(f.file, sizeof(f.file), "%s/file", f.folder);
    snprintf(f.new_file, sizeof(f.new_file), "%s/new", f.folder);
    snprintf(f.socket, sizeof(f.socket), "%s/socket", f.folder);
    close(open(f.file, O_CREAT | O_WRONLY, 0600));
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f.socket);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 100), 0);
    f.guest_ram = memfd_create("guest", 0);
    f.tty = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(f.guest_ram >= 0 && f.tty >= 0);
    assert_int_equal(ftruncate(f.guest_ram, 8192), 0);
    assert_int_equal(pwrite(f.guest_ram, "s", 1, 4096), 1);
    assert_int_equal(pipe(ends), 0);
    f.pipe = ends[0];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    f.stream = ends[0];
    f.file_fd = open(f.file, O_RDONLY);
    f.folder_fd = open(f.folder, O_RDONLY | O_DIRECTORY);
    f.heard = eventfd(0, EFD_NONBLOCK);
    assert_true(f.file_fd >= 0 && f.folder_fd >= 0 && f.heard >= 0);
    f.parent = getpid();
    f.front = (int)syscall(SYS_pidfd_open, f.parent, 0);
    assert_true(f.front >= 0);
    f.other = fork();
    if (!f.other) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGUSR1, hear);
        for (;;)
            pause();
    }
    return f.other < 0;
}

static int tear_down(void **state)
{
    kill(f.other, SIGKILL);
    waitpid(f.other, NULL, 0);
    unlink(f.file);
    unlink(f.new_file);
    rmdir(f.new_file);
    unlink(f.socket);
    return rmdir(f.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_succeed_without),
        cmocka_unit_test(relaxed_denies),
        cmocka_unit_test(strict_denies),
        cmocka_unit_test(the_front_stays_where_it_is),
        cmocka_unit_test(each_call_is_in_one_row),
        cmocka_unit_test(workers_can_work),
        cmocka_unit_test(older_threads_are_confined),
        cmocka_unit_test(a_cache_only_where_named),
        cmocka_unit_test(a_user_of_its_own),
        cmocka_unit_test(workers_end_first_without_memory),
        cmocka_unit_test(denials_do_not_flood_the_audit_log),
        cmocka_unit_test(nodes_of_offered_devices_only),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
