/* SPDX-License-Identifier: MIT
 *
 * worker_processes.c - attempts by the files that the kernel has of each process: of others, which must not
 * open, and of itself, where some say more than about itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostile/worker.h"

static int of(int pid, const char *file, int flags)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/proc/%d/%s", pid, file);
    fd = open(name, flags | O_CLOEXEC);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int write_of(int pid, const char *file, const char *text)
{
    char name[64];
    int fd, err;

    snprintf(name, sizeof(name), "/proc/%d/%s", pid, file);
    fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    err = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    return err;
}

#define OF(function, whose, file, flags)                                                           \
    static int function(void)                                                                      \
    {                                                                                              \
        return of(scene.page->whose, file, flags);                                                 \
    }
#define WRITE_OF(function, whose, file, text)                                                      \
    static int function(void)                                                                      \
    {                                                                                              \
        return write_of(scene.page->whose, file, text);                                            \
    }

OF(command_line, monitor, "cmdline", O_RDONLY)
OF(status, monitor, "status", O_RDONLY)
OF(folder_of, front, "", O_RDONLY | O_DIRECTORY)
OF(threads, front, "task", O_RDONLY | O_DIRECTORY)
OF(descriptors, victim, "fd", O_RDONLY | O_DIRECTORY)
OF(mappings, victim, "map_files", O_RDONLY | O_DIRECTORY)
OF(root_of, victim, "root/etc/passwd", O_RDONLY)
OF(folder_of_work, victim, "cwd/.", O_RDONLY | O_DIRECTORY)
OF(program, front, "exe", O_RDONLY)
OF(namespace_of, victim, "ns/net", O_RDONLY)
OF(page_map, victim, "pagemap", O_RDONLY)
WRITE_OF(name_of, victim, "comm", "forged")
WRITE_OF(kill_first, victim, "oom_score_adj", "500")
WRITE_OF(core_filter, victim, "coredump_filter", "0x33")
WRITE_OF(forget_pages, victim, "clear_refs", "1")
WRITE_OF(slack, victim, "timerslack_ns", "50001")
WRITE_OF(user_map, victim, "uid_map", "0 0 1")

static int itself(const char *file, const char *text)
{
    int err = write_of((int)getpid(), file, text);

    return err ? err : HARMLESS;
}

static int own_core_filter(void)
{
    return itself("coredump_filter", "0x33");
}

static int own_refs(void)
{
    return itself("clear_refs", "1");
}

static int own_name(void)
{
    return itself("comm", "vgr-device");
}

static int own_slack(void)
{
    return itself("timerslack_ns", "50000");
}

static int own_map(void)
{
    int err = itself("uid_map", "0 0 1");

    return err == HARMLESS ? 0 : err;
}

static int own_groups(void)
{
    int err = itself("setgroups", "deny");

    return err == HARMLESS ? 0 : err;
}

static int own_login(void)
{
    int err = itself("loginuid", "0");

    return err == HARMLESS ? 0 : err;
}

static int shown(void)
{
    return own_core_filter() == HARMLESS ? 0 : errno;
}

/* The numbers of pages in the machine's memory are what an attack on the memory's rows begins with. */
static int own_page_map(void)
{
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);

    if (fd < 0)
        return errno;
    if (pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)scene.arena / 4096 * 8)) < 0)
        return errno;
    return entry & ((1ull << 55) - 1) ? 0 : EPERM;
}

static int other_by_thread_self(void)
{
    char name[96];

    snprintf(name, sizeof(name), "/proc/thread-self/../../../%d/mem", scene.page->monitor);
    return attack_errno(open(name, O_RDONLY));
}

static int other_by_self(void)
{
    char name[96];
    int own = open("/proc/self", O_PATH | O_DIRECTORY);

    snprintf(name, sizeof(name), "../%d/environ", scene.page->monitor);
    return own < 0 ? errno : attack_errno(openat(own, name, O_RDONLY));
}

static int by_first(void)
{
    return of(1, "environ", O_RDONLY);
}

static int all_processes(void)
{
    return attack_errno(open("/proc", O_RDONLY | O_DIRECTORY));
}

static int kernel_addresses(void)
{
    return attack_errno(open("/proc/kallsyms", O_RDONLY));
}

static int kernel_memory(void)
{
    return attack_errno(open("/proc/kcore", O_RDONLY));
}

static int pages_of_all(void)
{
    return attack_errno(open("/proc/kpagecount", O_RDONLY));
}

static int drop_caches(void)
{
    return attack_errno(open("/proc/sys/vm/drop_caches", O_WRONLY));
}

/* Those of its namespace: the heading, and none. */
static int sockets_of_all(void)
{
    char text[4096];
    int fd = open("/proc/net/unix", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n < 0)
        return errno;
    text[n] = '\0';
    close(fd);
    return strchr(text, '\n') && strchr(text, '\n')[1] ? 0 : HARMLESS;
}

static int mounts(void)
{
    int fd = open("/proc/self/mountinfo", O_RDONLY);

    return fd < 0 ? errno : HARMLESS;
}

static const struct attempt list[] = {
    {"the monitor's command line", command_line, 0, NULL, NULL, 1},
    {"the monitor's status", status, 0, NULL, NULL, 1},
    {"the front's folder", folder_of, 0, NULL, NULL, 1},
    {"the front's threads", threads, 0, NULL, NULL, 1},
    {"another's descriptors", descriptors, 0, NULL, NULL, 1},
    {"another's mappings", mappings, 0, NULL, NULL, 1},
    {"a file around another's root", root_of, 0, NULL, NULL, 1},
    {"a file around another's working folder", folder_of_work, 0, NULL, NULL, 1},
    {"the front's program", program, 0, NULL, NULL, 1},
    {"another's namespace", namespace_of, 0, NULL, NULL, 1},
    {"another's page map", page_map, 0, NULL, NULL, 1},
    {"another's name", name_of, 0, NULL, shown, 1},
    {"another's turn when memory is short", kill_first, 0, NULL, NULL, 1},
    {"another's core filter", core_filter, 0, NULL, NULL, 1},
    {"another's page references", forget_pages, 0, NULL, NULL, 1},
    {"another's timer slack", slack, 0, NULL, NULL, 1},
    {"another's map of users", user_map, 0, NULL, shown, 1},
    {"its own core filter", own_core_filter, MAY_HARMLESS, "it leaves no core", shown, 0},
    {"its own page references", own_refs, MAY_HARMLESS, "its own pages", shown, 0},
    {"the front's name for itself", own_name, MAY_HARMLESS, "the front goes by pidfd, not by name",
     shown, 0},
    {"its own timer slack", own_slack, MAY_HARMLESS, "its own timers", shown, 0},
    {"its own map of users", own_map, 0, NULL, shown, 0},
    {"its own right to groups", own_groups, 0, NULL, shown, 0},
    {"its own login", own_login, 0, NULL, shown, 1},
    {"its own page map: places in the machine's memory", own_page_map, 0, NULL, NULL, 0},
    {"another process around /proc/thread-self", other_by_thread_self, 0, NULL, NULL, 1},
    {"another process around /proc/self", other_by_self, 0, NULL, NULL, 1},
    {"the first process", by_first, 0, NULL, command_line, 1},
    {"the list of all processes", all_processes, 0, NULL, NULL, 1},
    {"addresses in the kernel", kernel_addresses, 0, NULL, NULL, 1},
    {"memory of the kernel", kernel_memory, 0, NULL, shown, 1},
    {"all pages of the machine", pages_of_all, 0, NULL, NULL, 1},
    {"drop the machine's caches", drop_caches, 0, NULL, NULL, 1},
    {"the machine's sockets", sockets_of_all, MAY_HARMLESS, "its network has none", NULL, 1},
    {"its own mounts", mounts, MAY_HARMLESS, "names of folders", shown, 0},
};
ATTEMPTS(attack_processes, "processes", list);
