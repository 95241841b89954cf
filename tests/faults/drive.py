#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""drive.py - makes each call fail, one at a time, and tells what came of it

  drive.py [--every N] [--offset K] [--only REGEX] [--sites] BUILD FOLDER [SCENARIO...]

First a scenario runs without a fault, and the calls that each of our binaries makes are counted, by kind
(inject.h). Then it runs once for each call and each way in which it can fail: with --every for every Nth, from
the Kth on; with --sites for the first and the last call from each place in the code; with --only for those whose
name, SCENARIO/PROCESS/CALL-N-ERROR as failures are printed, matches. All of these are in order:

  right     the fault made no difference
  refused   the program was told, by GGML's means or the front's, and the next one gets what it wants
  late      the call was not made in this run: how often one waits, differs

Whatever else there is, a crash, an abort, something that hangs or stays behind, a wrong result, a front that
does not serve the next guest, is a failure. Prints a table, and exits with 1 if there was one.
"""
import argparse
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
import time

WHO = ["guest", "front", "worker", "probe", "keeper", "bridge"]
SITES = 256
TIMES = 3  # guests of a front; the fault may be the last but one's
EINTR, EAGAIN, ENOMEM, EMFILE, SHORT = 4, 11, 12, 24, 10000
ERRORS = {"EINTR": EINTR, "EAGAIN": EAGAIN, "ENOMEM": ENOMEM, "EMFILE": EMFILE, "short": SHORT}
# How each kind of call can fail, in the order of inject.h.
KINDS = {
    "poll": ["EINTR", "ENOMEM"],
    "receive": ["EINTR", "EAGAIN", "ENOMEM", "short"],
    "send": ["EINTR", "EAGAIN", "ENOMEM", "short"],
    "connect": ["EINTR", "EAGAIN", "ENOMEM"],
    "ioctl": ["EINTR", "ENOMEM"],
    "mmap": ["EAGAIN", "ENOMEM"],
    "memfd_create": ["ENOMEM", "EMFILE"],
    "ftruncate": ["EINTR", "ENOMEM"],
    "eventfd": ["ENOMEM", "EMFILE"],
    "pthread_create": ["EAGAIN"],
    "fork": ["EAGAIN", "ENOMEM"],
    "malloc": ["ENOMEM"],
    "socket": ["ENOMEM", "EMFILE"],
    "accept": ["EINTR", "ENOMEM", "EMFILE"],  # while somebody waits there is no EAGAIN
    "open": ["EINTR", "ENOMEM", "EMFILE"],
    "dup": ["EINTR", "EMFILE"],
    "epoll": ["ENOMEM", "EMFILE"],
    "epoll_wait": ["EINTR"],
    "pidfd_open": ["ENOMEM", "EMFILE"],
}
# Calls of these kinds, by all the names that libc has for them. What our binaries import of them, inject.c exports.
NAMES = {
    "poll": "poll ppoll select pselect epoll_wait epoll_pwait epoll_pwait2",
    "receive": "read readv pread preadv preadv2 recv recvfrom recvmsg recvmmsg",
    "send": "write writev pwrite pwritev pwritev2 send sendto sendmsg sendmmsg sendfile splice",
    "connect": "connect",
    "ioctl": "ioctl drmIoctl",
    "mmap": "mmap mremap shmat",
    "memfd": "memfd_create shm_open tmpfile mkstemp mkostemp",
    "ftruncate": "ftruncate truncate fallocate posix_fallocate",
    "eventfd": "eventfd signalfd timerfd_create inotify_init1",
    "thread": "pthread_create thrd_create",
    "fork": "fork vfork clone clone3 posix_spawn posix_spawnp system popen execve syscall",
    "malloc": "malloc calloc realloc reallocarray aligned_alloc posix_memalign memalign strdup strndup asprintf "
              "vasprintf getline getdelim open_memstream fopen fdopen opendir fdopendir scandir realpath",
    "socket": "socket socketpair pipe pipe2",
    "accept": "accept accept4",
    "open": "open openat creat",
    "dup": "dup dup2 dup3 fcntl",
    "epoll": "epoll_create epoll_create1 epoll_ctl",
    "pidfd": "pidfd_open",
}
BINARIES = ["src/guest/libggml-virtgpu.so", "src/device/vgr-device", "src/worker/vgr-worker", "src/keeper/vgr-keeper",
            "src/virgl/libvgr-virgl.so"]
# Left out: no scenario has a virtio-gpu of a VM; with a name in its second argument realpath() allocates nothing, and
# else it is for --shader-cache and for that virtio-gpu.
LEFT_OUT = {"drmIoctl", "realpath"}
SEEN = ["right", "refused", "late", "failed"]
LIMIT = 90  # seconds for a run; what waits in it by hand gives up after 60


class Page:
    """The page of inject.h."""

    HEAD = struct.Struct("=5I")

    def __init__(self, path):
        size = self.HEAD.size + 4 * len(WHO) * len(KINDS) * (1 + SITES)
        with open(path, "wb") as f:
            f.truncate(size)
        self.path = path
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), size)

    def arm(self, who=0, kind=0, nth=0, error=0):
        self.map[:] = bytes(len(self.map))
        self.HEAD.pack_into(self.map, 0, who, kind, nth, error, 0)

    def injected(self):
        return self.HEAD.unpack_from(self.map, 0)[4]

    def site(self, who, kind, nth):
        """What stands for the place of a call in the code; None: it was not remembered."""
        if nth > SITES:
            return None
        at = len(WHO) * len(KINDS) + (who * len(KINDS) + kind) * SITES + nth - 1
        return struct.unpack_from("=I", self.map, self.HEAD.size + 4 * at)[0]

    def calls(self, who, kind):
        return struct.unpack_from("=I", self.map, self.HEAD.size + 4 * (who * len(KINDS) + kind))[0]


def processes(session):
    """Those of a session that are alive."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                stat = f.read()
        except OSError:
            continue
        state, _, _, sid = stat[stat.rindex(")") + 2:].split()[:4]
        if int(sid) == session and state != "Z":
            found.append(int(pid))
    return found


class Scenario:
    """What is run, and whose calls are made to fail in it."""

    def __init__(self, build, folder, page):
        self.build, self.folder, self.page = build, folder, page
        self.env = dict(os.environ, LD_PRELOAD=f"{build}/tests/faults/libinject.so", INJECT=page.path,
                        VGR_WORKER=f"{build}/src/worker/vgr-worker", VK_DRIVER_FILES="/dev/null",
                        OMP_WAIT_POLICY="passive", CUDA_VISIBLE_DEVICES="")
        self.env.pop("GGML_VK_VISIBLE_DEVICES", None)
        self.holds = None

    def command(self, command, env=None):
        """Status (negative: a signal; None: it hung) and output; nothing of it is left."""
        p = subprocess.Popen(command, env=env or self.env, stdin=subprocess.DEVNULL, text=True, errors="replace",
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            out, _ = p.communicate(timeout=LIMIT)
            status = p.returncode
        except subprocess.TimeoutExpired:
            status = None
        left = processes(p.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if status is None:
            out, _ = p.communicate()
        elif left:
            return 1, f"{out}{len(left)} processes are left"
        return status, out

    def close(self):
        pass


class Whole(Scenario):
    """A front from its start to its end, with guests by hand."""

    def __init__(self, build, folder, page, kind):
        super().__init__(build, folder, page)
        self.kind = kind

    def run(self, times):
        status, out = self.command([f"{self.build}/tests/faults/whole", self.kind, self.folder,
                                    f"{self.build}/src/device/vgr-device", str(times), self.holds or "0"])
        held = re.search(r"holds (\d+)", out)
        if held and self.holds is None:
            self.holds = held[1]
        return status, out


class Program(Scenario):
    """A program on a front that lasts."""

    def __init__(self, build, folder, page):
        super().__init__(build, folder, page)
        self.socket = f"{folder}/program.sock"
        env = {k: v for k, v in self.env.items() if k not in ("LD_PRELOAD", "INJECT")}
        self.front = subprocess.Popen([f"{build}/src/device/vgr-device", "--direct", self.socket, "--device", "CPU",
                                       "--log-level", "error"], env=env)
        while not os.path.exists(self.socket):
            time.sleep(0.01)
        self.env.update(VGR_DIRECT=self.socket, GGML_BACKEND_PATH=f"{build}/src/guest/libggml-virtgpu.so")

    def held(self):
        """The front's descriptors once nothing is served, None if that does not come."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            with open(f"/proc/{self.front.pid}/task/{self.front.pid}/children") as f:
                if not f.read():
                    return len(os.listdir(f"/proc/{self.front.pid}/fd"))
            time.sleep(0.002)
        return None

    def run(self, times):
        status, out = self.command([f"{self.build}/tests/faults/program"])
        if self.front.poll() is not None:
            return 1, f"{out}the front is gone"
        held = self.held()
        if self.holds is None:
            self.holds = held
        end = time.monotonic() + 10  # a connection is closed by a process of its own
        while held != self.holds and time.monotonic() < end:
            time.sleep(0.01)
            held = self.held()
        if held != self.holds:
            return 1, f"{out}the front holds {held}, not {self.holds}"
        return status, out

    def close(self):
        self.front.terminate()
        self.front.wait()


SCENARIOS = {
    "program": (lambda *args: Program(*args), ["guest"]),
    "direct": (lambda *args: Whole(*args, "direct"), ["front", "worker", "probe"]),
    "vhost": (lambda *args: Whole(*args, "vhost"), ["front", "worker", "keeper"]),
    "broker": (lambda *args: Whole(*args, "broker"), ["front", "bridge"]),
}


def ends(page, key, n):
    """Of `n` calls the first and the last from each place in the code."""
    first, last = {}, {}
    for nth in range(1, n + 1):
        site = page.site(WHO.index(key[0]), list(KINDS).index(key[1]), nth)
        first.setdefault(site, nth)
        last[site] = nth
    return sorted(set(first.values()) | set(last.values()))


def symbols(path, which):
    out = subprocess.run(["nm", "-D", which, path], check=True, capture_output=True, text=True).stdout
    return {re.sub(r"@.*", "", line.split()[-1]) for line in out.splitlines()}


def forgotten(build):
    """What our binaries call of NAMES and inject.c does not stand before; and how many functions it does."""
    names = {name for family in NAMES.values() for name in family.split()} - LEFT_OUT
    ours = set().union(*(symbols(f"{build}/{b}", "--undefined-only") for b in BINARIES))
    wanted = {name for name in ours if re.sub("64$", "", name) in names}
    return sorted(wanted - symbols(f"{build}/tests/faults/libinject.so", "--defined-only")), len(wanted)


def try_fault(scenario, page, name, who, kind, nth, error):
    """What came of it, a key of SEEN; None: such a call cannot fail in this way."""
    page.arm(WHO.index(who), list(KINDS).index(kind), nth, ERRORS[error])
    status, out = scenario.run(TIMES)
    if status not in (0, 3) or (status and not page.injected()):
        why = "it hung" if status is None else f"status {status}"
        print(f"FAIL {name}/{who}/{kind}-{nth}-{error} ({why}: {' '.join(out.split())[-300:]})", flush=True)
        return "failed"
    if page.injected():
        return "refused" if status else "right"
    return None if error in ("short", "EAGAIN") else "late"


def drive(name, args, page, number):
    """All faults of a scenario. Returns the number of the last one, of those tried, and of failures."""
    make, whos = SCENARIOS[name]
    page.arm()
    scenario = make(args.build, args.folder, page)
    status, out = scenario.run(1)
    if status != 0:
        print(f"FAIL {name} (without a fault: {status}: {' '.join(out.split())[-300:]})")
        scenario.close()
        return number, 0, 1
    calls = {(who, kind): page.calls(WHO.index(who), k) for who in whos for k, kind in enumerate(KINDS)}
    tried_calls = {key: ends(page, key, n) if args.sites else range(1, n + 1) for key, n in calls.items()}
    total = failures = 0
    for who in whos:
        sums = dict.fromkeys(SEEN, 0)
        for kind, errors in KINDS.items():
            seen = dict.fromkeys(SEEN, 0)
            for nth, error in ((nth, error) for nth in tried_calls[who, kind] for error in errors):
                number += 1
                if (number + args.offset) % args.every:
                    continue
                if args.only and not re.search(args.only, f"{name}/{who}/{kind}-{nth}-{error}"):
                    continue
                verdict = try_fault(scenario, page, name, who, kind, nth, error)
                if verdict:
                    seen[verdict] += 1
            if any(seen.values()):
                print(f"| {name} | {who} | {kind} | {calls[who, kind]} | {sum(seen.values()) - seen['late']} | "
                      + " | ".join(map(str, seen.values())) + " |", flush=True)
            for verdict in SEEN:
                sums[verdict] += seen[verdict]
        tried = sum(sums.values()) - sums["late"]
        total += tried
        failures += sums["failed"]
        if tried and not sums["failed"]:
            print(f"ok {name}/{who} ({tried} faults)", flush=True)
        elif not tried and not args.only:
            print(f"FAIL {name}/{who} (no call was made to fail)")
            failures += 1
    scenario.close()
    return number, total, failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--sites", action="store_true")
    parser.add_argument("--only", metavar="REGEX")
    parser.add_argument("build")
    parser.add_argument("folder")
    parser.add_argument("scenario", nargs="*")
    args = parser.parse_args()
    page = Page(f"{args.folder}/inject")
    missing, found = forgotten(args.build)
    if missing or not found:
        print(f"FAIL imports (inject.c does not export: {' '.join(missing)})")
        return 1
    print(f"ok imports ({found} functions, each can be made to fail)")
    number = total = failures = 0
    print("| scenario | process | call | calls | faults | " + " | ".join(SEEN) + " |")
    print("|---" * (5 + len(SEEN)) + "|")
    for name in args.scenario or SCENARIOS:
        number, tried, failed = drive(name, args, page, number)
        total += tried
        failures += failed
    print(f"{total} faults, {failures} failures")
    return failures > 0 or not total


if __name__ == "__main__":
    sys.exit(main())
