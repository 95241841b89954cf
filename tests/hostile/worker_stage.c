/* SPDX-License-Identifier: MIT */
#include "hostile/worker_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile/worker_fronts.h"

/* ---- /dev ---- */

static bool node(const char *path, unsigned major, unsigned minor)
{
    char folder[96];

    snprintf(folder, sizeof(folder), "%s", path);
    for (char *p = folder + 5; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        mkdir(folder, 0755);
    }
    return !mknod(path, S_IFCHR | 0666, makedev(major, minor)) && !chmod(path, 0666);
}

bool stage_devices(void)
{
    static const char *const null[] = {
        "/dev/null",
        "/dev/dri/card7",
        "/dev/dri/renderD135",
        "/dev/dri/by-path/pci-0000:07:00.0-card",
        "/dev/nvidia7",
        "/dev/nvidiactl",
        "/dev/nvidia-modeset",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/udmabuf",
        "/dev/kfd",
        "/dev/accel/accel7",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/kvm",
        "/dev/net/tun",
        "/dev/vhost-net",
        "/dev/vfio/vfio",
        "/dev/fuse",
        "/dev/loop-control",
        "/dev/dma_heap/system",
        "/dev/input/event7",
        "/dev/console",
    };
    char name[32];
    int terminals;
    bool well;

    if (unshare(CLONE_NEWNS))
        return false;
    /* In a chroot there is no mount point to be made private: then it is already. */
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    terminals = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    well = !mount("vgr-dev", "/dev", "tmpfs", MS_NOSUID, "mode=755") && !mkdir("/dev/shm", 01777) &&
           !chmod("/dev/shm", 01777) && !mkdir("/dev/pts", 0755) && node("/dev/zero", 1, 5) &&
           node("/dev/full", 1, 7) && node("/dev/random", 1, 8) && node("/dev/urandom", 1, 9) &&
           node("/dev/tty", 5, 0) && node("/dev/ptmx", 5, 2) &&
           !symlink("/proc/self/fd", "/dev/fd");
    for (size_t i = 0; i < sizeof(null) / sizeof(null[0]); i++)
        well = well && node(null[i], 1, 3);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", terminals);
    well = well && !mount(name, "/dev/pts", NULL, MS_BIND, NULL);
    close(terminals);
    return well;
}

/* ---- Other people ---- */

static bool file(const char *folder, const char *name, uid_t uid)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    return fd >= 0 && !fchmod(fd, 0666) && !fchown(fd, uid, (gid_t)-1) && !close(fd);
}

static bool listening(struct sockaddr_un *a, size_t len)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    return fd >= 0 && !bind(fd, (struct sockaddr *)a, (socklen_t)len) && !listen(fd, 100);
}

bool stage_folder(const char *folder, uid_t uid)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX}, abstract = {.sun_family = AF_UNIX};

    snprintf(path.sun_path, sizeof(path.sun_path), "%s/socket", folder);
    snprintf(abstract.sun_path + 1, sizeof(abstract.sun_path) - 1, "vgr-attack-%d", (int)getpid());
    unlink(path.sun_path);
    return !chmod(folder, 0777) && file(folder, "file", 0) && file(folder, "third", 0) &&
           file(folder, "own", uid) && listening(&path, sizeof(path)) &&
           !chmod(path.sun_path, 0777) &&
           listening(&abstract,
                     offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract.sun_path + 1));
}

static uint32_t *victim_hits;

static void hit(int sig)
{
    __atomic_fetch_add(victim_hits, 1, __ATOMIC_SEQ_CST);
}

pid_t stage_victim(uid_t uid, uint32_t *hits)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    pid_t pid = fork();

    if (pid)
        return pid;
    victim_hits = hits;
    for (int sig = 1; sig < 65; sig++)
        signal(sig, hit);
    setpgid(0, 0);
    /* No more than a worker or an ordinary QEMU has: capabilities would keep the worker off. */
    if ((uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))) ||
        syscall(SYS_capset, &header, none))
        _exit(1);
    prctl(PR_SET_DUMPABLE, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
}

/* ---- The log ---- */

static struct {
    pthread_mutex_t lock;
    int fd, copy;
    char text[1 << 20]; /* since the last look; what is more is counted only */
    size_t n;
} lines = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A worker may say so much between two looks: 100 lines of 1 KiB, and somewhat more. */
#define MOST (128u << 10)

static void *read_log(void *unused)
{
    char part[65536];
    ssize_t n;

    while ((n = read(lines.fd, part, sizeof(part))) > 0) {
        pthread_mutex_lock(&lines.lock);
        if (lines.n + (size_t)n < sizeof(lines.text))
            memcpy(lines.text + lines.n, part, (size_t)n);
        lines.n += (size_t)n;
        pthread_mutex_unlock(&lines.lock);
        (void)!write(lines.copy, part, (size_t)n < 4096 ? (size_t)n : 4096);
    }
    return NULL;
}

bool stage_log(int fd, const char *copy)
{
    pthread_t thread;

    lines.fd = fd;
    lines.copy = open(copy, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    return lines.copy >= 0 && !pthread_create(&thread, NULL, read_log, NULL);
}

/* Bytes of a character that may stand in a log, 0: it may not. */
static size_t plain(const unsigned char *p, size_t left)
{
    size_t n = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;

    if (*p == '\n' || (*p >= 0x20 && *p < 0x7f))
        return 1;
    if (n == 1 || *p < 0xc2 || *p > 0xf4 || n > left || (*p == 0xc2 && p[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

/* The context opened first is a neighbour's: nothing of an attacker may be said in its name. */
static bool says_whose(const char *line)
{
    unsigned context;

    return sscanf(line, "vgr-worker[%u]", &context) == 1 && context > 1;
}

const char *stage_log_trouble(void)
{
    const char *trouble = NULL, *line;
    size_t n, step;

    usleep(200000);
    pthread_mutex_lock(&lines.lock);
    n = lines.n < sizeof(lines.text) - 1 ? lines.n : sizeof(lines.text) - 1;
    if (lines.n > MOST)
        trouble = "too much";
    for (size_t i = 0; i < n && !trouble; i += step) {
        step = plain((unsigned char *)lines.text + i, n - i);
        if (!step)
            trouble = "control characters";
    }
    lines.text[n] = '\0';
    for (line = lines.text; line && *line && !trouble; line = strchr(line, '\n')) {
        const char *end, *forged;

        line += *line == '\n';
        end = strchr(line, '\n');
        forged = strstr(line, "FORGED");
        if (forged && (!end || forged < end) && !says_whose(line))
            trouble = "a forged line";
    }
    lines.n = 0;
    pthread_mutex_unlock(&lines.lock);
    return trouble;
}
