/* SPDX-License-Identifier: MIT
 *
 * worker_drive.c - holds a front to an attacking worker (worker.h) and prints what came of each attempt.
 *
 * Usage: worker_drive FRONT SANDBOX DEVICE ATTACKER FOLDER [USER [OTHER]]
 *
 * FRONT is vhost-user, direct or broker; SANDBOX as of vgr-device; OTHER the process of another VM's vgr-device. With SANDBOX "off" the controls are run instead:
 * each has to succeed.
 *
 * A neighbour, a context of the same front with a real worker, computes all the time; each result is compared.
 * In a process of its own so that a front or a monitor that hangs is one attempt's failure: the next process
 * goes on behind it with new ones.
 */
#include <errno.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cost.h"
#include "hostile/worker_clients.h"
#include "hostile/worker_fronts.h"
#include "hostile/worker_report.h"
#include "hostile/worker_stage.h"

#define ROUNDS 200u
#define GO_ON                                                                                      \
    3 /* exit status: the front is lost, the attempts behind are to be made with another one */
#define SILENCE_MS 120000

static struct attack_record *all;

static struct {
    enum front_kind kind;
    const char *sandbox, *device, *attacker, *folder;
    uint32_t landlock;
    uid_t uid;
    char *user;
    int other;
} how;

static volatile uint64_t secret = ATTACK_SECRET;
static struct front front;
static struct guest neighbour;
static volatile bool enough;

/* ---- The neighbour ---- */

static int by_size(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double round_trip(void)
{
    double begin = now_us();
    int ret = guest_computes(&neighbour);

    all->rounds++;
    all->wrong += ret == 0;
    all->silent += ret < 0;
    return now_us() - begin;
}

static double median(double *times, size_t n)
{
    qsort(times, n, sizeof(*times), by_size);
    return n ? times[n / 2] : 0;
}

static void *compute_on(void *unused)
{
    static double times[100000];
    size_t n = 0;

    while (!enough && !front.lost && !all->silent) {
        double t = round_trip();

        if (n < sizeof(times) / sizeof(times[0]))
            times[n++] = t;
        usleep(2000);
    }
    all->silent -= front.lost && all->silent; /* that is the front's */
    if (n > ROUNDS || !all->during)
        all->during = median(times, n);
    return NULL;
}

/* ---- Questions of the attacker's ---- */

static bool fresh_context(bool odd)
{
    struct guest g;
    bool well = guest_open(&g, &front, 2, odd) && guest_ready(&g) && guest_prepare(&g) &&
                guest_computes(&g) == 1;

    return guest_close(&g) && well;
}

static bool rings_and_answers(struct guest *g, bool vexed)
{
    for (int i = 0; i < 300; i++) {
        if (!guest_bell(g))
            return false;
    }
    if (vexed)
        front_vex(&front);
    return front_answers(&front);
}

static void answer(struct guest *g, struct attack_page *p)
{
    uint32_t ask = __atomic_exchange_n(&p->ask, ASK_NOTHING, __ATOMIC_SEQ_CST);
    const char *trouble = NULL;
    bool well = true;

    if (ask == ASK_NOTHING)
        return;
    switch (ask) {
    case ASK_FRONT:
    case ASK_MOUTH:
        well = rings_and_answers(g, ask == ASK_MOUTH);
        break;
    case ASK_OPEN:
        well = fresh_context(false) && front_answers(&front);
        break;
    case ASK_GUEST:
        well = fresh_context(true);
        /* fall through */
    case ASK_LOG:
        well = !(trouble = stage_log_trouble()) && well;
        break;
    case ASK_TAP:
        well = client_with_tap(&front);
        break;
    case ASK_REFUSED:
        well = client_refused(&front);
        break;
    case ASK_SERVED:
        well = client_served(&front);
        break;
    default:
        break;
    }
    if (trouble)
        printf("# the log: %s\n", trouble);
    __atomic_store_n(&p->answer, well ? ANSWER_WELL : ANSWER_HARMED, __ATOMIC_SEQ_CST);
}

/* ---- A context that attacks ---- */

static void set_scene(const struct guest *g, struct attack_page *p, pid_t victim,
                      pid_t other_worker)
{
    struct stat st;

    fstat(front.kind == FRONT_DIRECT ? g->file : front.ram_fd, &st);
    memset(p, 0, sizeof(*p));
    p->first = all->next;
    p->control = !strcmp(how.sandbox, "off");
    p->relaxed = !strcmp(how.sandbox, "relaxed");
    p->landlock = how.landlock;
    p->user = how.uid != 0;
    p->victim = victim;
    p->monitor = getpid();
    p->front = front.pid;
    p->other_worker = other_worker;
    p->other_front = how.other ? how.other : front.pid;
    p->secret_at = (uintptr_t)&secret;
    p->ram_dev = st.st_dev;
    p->ram_ino = st.st_ino;
    snprintf(p->folder, sizeof(p->folder), "%s", how.folder);
    __atomic_store_n(&p->magic, ATTACK_MAGIC, __ATOMIC_SEQ_CST);
}

static uint32_t processors_of(pid_t pid)
{
    cpu_set_t set;

    return sched_getaffinity(pid, sizeof(set), &set) ? 0 : (uint32_t)CPU_COUNT(&set);
}

static bool is_stopped(pid_t pid)
{
    char name[64], text[256] = "", *state;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    f = fopen(name, "re");
    if (!f)
        return false;
    state = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
    fclose(f);
    return state && state[2] == 'T';
}

/* Copies what the page says; returns the first attempt that was begun and not ended, or -1. */
static int collect(const struct attack_page *p)
{
    int open = -1;

    all->n = p->n < ATTACK_MAX ? p->n : ATTACK_MAX;
    for (uint32_t i = p->first; i < all->n; i++) {
        all->result[i] = p->result[i];
        if (p->result[i].begun)
            all->next = i + 1;
        if (p->result[i].begun && !p->result[i].ended)
            open = (int)i;
    }
    for (uint32_t i = 0; i < p->first && !all->result[i].name[0]; i++)
        all->result[i] = p->result[i];
    return open;
}

/* Until the attacker has ended, one way or another. False: it hangs, or the front does. */
static bool watch(struct guest *g, struct attack_page *p)
{
    uint64_t end = front_now_ms() + SILENCE_MS;
    unsigned fds, workers;
    int before = -1, now;
    pid_t pid = 0;

    while (guest_state(g) != VGR_STATE_FAILED && !front.lost) {
        __atomic_store_n(&p->hits, __atomic_load_n(&all->hits, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
        p->cpus[0] = processors_of(p->victim);
        p->cpus[1] = processors_of(p->front);
        p->cpus[2] = processors_of(p->other_worker);
        answer(g, p);
        now = collect(p);
        if (now != before)
            end = front_now_ms() + SILENCE_MS;
        if (now != before && now >= 0 && getenv("ATTACK_TRACE"))
            printf("# %llu ms, longest turn %llu us: %s\n", (unsigned long long)front_now_ms(),
                   (unsigned long long)front_longest_turn(&front), p->result[now].name);
        before = now;
        if (now >= 0 && !pid)
            front_holds(&front, &fds, &workers, &pid);
        if (now >= 0 && is_stopped(pid)) {
            p->result[now].outcome = HARMLESS;
            p->result[now].ended = 1;
            return true;
        }
        if (front_now_ms() > end)
            return false;
        front_nap();
    }
    return !front.lost;
}

/* True: there is more to be done. */
static bool attack(pid_t victim)
{
    unsigned fds, workers;
    struct attack_page *p;
    pid_t other = 0;
    struct guest g;
    bool well, more;
    int open;

    front_holds(&front, &fds, &workers, &other);
    if (!guest_open(&g, &front, 0, false))
        exit(1);
    p = (struct attack_page *)(g.arena + ATTACK_OFFSET);
    set_scene(&g, p, victim, other);
    if (!guest_start(&g))
        exit(1);
    well = watch(&g, p);
    open = collect(p);
    if (!p->n) {
        printf("# the attacker has not come far: %.200s\n", g.ctl->error_text);
        exit(1);
    }
    if (open >= 0 && !all->result[open].ended) {
        bool killed = strstr(g.ctl->error_text, "signal 31");
        bool ended = strstr(g.ctl->error_text, VGR_COST_TEXT); /* the front has parted from it */

        all->result[open].outcome = front.lost ? 0
                                    : !well    ? DIED
                                    : killed   ? KILLED
                                    : ended    ? HARMLESS
                                               : DIED;
        all->result[open].ended = 1;
        if (all->result[open].outcome == DIED)
            printf("# %s: %s\n", all->result[open].name, well ? g.ctl->error_text : "hangs");
    }
    more = !p->done && all->next < all->n;
    if (front.lost || !guest_close(&g) || !front_answers(&front)) {
        printf("# the front is lost\n");
        if (open < 0 && all->next)
            all->result[all->next - 1].outcome = 0;
        all->lost++;
        kill(front.pid, SIGKILL);
        exit(GO_ON);
    }
    return more;
}

static void measure(void)
{
    static double times[ROUNDS];

    for (unsigned i = 0; i < ROUNDS; i++)
        times[i] = round_trip();
    if (!all->before)
        all->before = median(times, ROUNDS);
}

/* One front, from its start to its end or its loss. */
static void stand(void)
{
    char worker[256], log[128],
        *arguments[] = {(char *)"--worker",
                        worker,
                        (char *)"--device",
                        (char *)"CPU",
                        (char *)"--log-level",
                        (char *)"warn",
                        (char *)"--sandbox",
                        (char *)how.sandbox,
                        how.user ? (char *)"--worker-user" : NULL,
                        how.user,
                        NULL};
    unsigned fds[2], workers[2];
    pthread_t thread;
    pid_t victim;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(worker, sizeof(worker), "%s", how.attacker);
    snprintf(log, sizeof(log), "%s/log", how.folder);
    victim = stage_victim(how.uid, &all->hits);
    if (!stage_folder(how.folder, how.uid) ||
        !front_start(&front, how.kind, how.folder, how.device, arguments) ||
        !stage_log(front.log, log)) {
        printf("# the front does not start\n");
        exit(1);
    }
    if (!guest_open(&neighbour, &front, 1, false) || !guest_ready(&neighbour) ||
        !guest_prepare(&neighbour) || !fresh_context(false)) {
        printf("# no context: %.200s\n", neighbour.ctl->error_text);
        exit(1);
    }
    measure();
    for (int ms = 0; ms < 5000; ms++) { /* until the fresh context's worker is gone */
        front_holds(&front, &fds[0], &workers[0], NULL);
        if (workers[0] <= 1)
            break;
        front_nap();
    }
    pthread_create(&thread, NULL, compute_on, NULL);
    while (attack(victim)) {
    }
    enough = true;
    pthread_join(thread, NULL);
    all->health = fresh_context(false);
    for (int ms = 0; ms < 5000; ms++) {
        front_holds(&front, &fds[1], &workers[1], NULL);
        if (fds[1] <= fds[0] && workers[1] <= workers[0])
            break;
        front_nap();
    }
    memcpy(all->fds, fds, sizeof(fds));
    memcpy(all->workers, workers, sizeof(workers));
    all->turn = front_longest_turn(&front);
    all->whole = front_memory_is_whole(&front);
    all->alive = !kill(victim, 0) && !waitpid(victim, NULL, WNOHANG) && !is_stopped(victim);
    guest_close(&neighbour);
    all->health = all->health && front_stop(&front);
    kill(victim, SIGKILL);
    exit(0);
}

/* That of this kernel, or what the attacker will say it is. */
static uint32_t landlock_in_force(void)
{
    long real = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const char *cap = getenv("ATTACK_LANDLOCK");
    long most = cap ? strtol(cap, NULL, 10) : real;

    return real < 0 ? 0 : (uint32_t)(most < real ? most : real);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"vhost-user", "direct", "broker"};
    bool control;
    char name[96];
    int status;

    if (argc < 6 || geteuid())
        return 2;
    setlinebuf(stdout);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 3; i++) {
        if (!strcmp(argv[1], kinds[i]))
            how.kind = (enum front_kind)i;
    }
    how.sandbox = argv[2];
    control = !strcmp(how.sandbox, "off");
    how.device = argv[3];
    how.attacker = argv[4];
    how.folder = argv[5];
    how.landlock = landlock_in_force();
    how.user = argc > 6 && argv[6][0] ? argv[6] : NULL;
    how.other = argc > 7 ? atoi(argv[7]) : 0;
    if (how.user) {
        const struct passwd *pw = getpwnam(how.user);

        if (!pw)
            return 2;
        how.uid = pw->pw_uid;
    }
    all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || !stage_devices())
        return 2;
    snprintf(name, sizeof(name), "%s/%s/%s/landlock-%u", argv[1], how.sandbox,
             how.user ? how.user : "root", how.landlock);
    do {
        uint32_t before = all->next;
        pid_t pid = fork();

        if (!pid)
            stand();
        if (waitpid(pid, &status, 0) != pid)
            return 2;
        if (WIFEXITED(status) && WEXITSTATUS(status) == GO_ON && all->next == before)
            return 2;
    } while (WIFEXITED(status) && WEXITSTATUS(status) == GO_ON);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        printf("FAIL %s: it ends early (status %x)\n", name, (unsigned)status);
        attack_report(all, name, control);
        return 1;
    }
    return attack_report(all, name, control) ? 1 : 0;
}
