# SPDX-License-Identifier: MIT
"""What the remote device adds: counts, instructions, microseconds, memory.

Counts are differences between a long and a short run, so that loading and warm-up cancel out. They
do not depend on what else the machine does; where a figure can be a count, it is one.
"""

import collections
import glob
import json
import os
import re
import subprocess
import tempfile
import time

from .peers import LLAMA_BENCH, NAMES, die, median, ratio

MIB = 1 << 20
# A step of vgr-probe has 8 inputs so small that they travel in the ring, 64 bytes each.
STEP_PAYLOAD = 8 * 64


def difference(long, short, n):
    return {name: (long[name] - short[name]) / n for name in long if name in short}


# ---- Counters ----


def counters(bench):
    """Per token of steady decoding, and what it takes to load a model."""
    args, report, peers = bench.args, bench.report, bench.peers
    model = bench.preferred("tiny16")
    short, long = args.tokens

    def decode(path, tokens):
        run = peers.bench("ours", path, "-p", 0, "-n", tokens, "-r", 1, "--no-warmup").result()
        return run.stats if run else die(f"{path}: decoding {tokens} tokens takes too long")

    per_token = difference(decode(bench.models[model], long), decode(bench.models[model], short),
                           long - short)
    per_token.pop("waits_per_run", None)
    for name, value in per_token.items():
        report.put(f"counters.{name}_per_token", value)
    for name in ("waits", "doorbells", "ring_bytes"):
        report.put(f"{name}_per_token", per_token[name])
    report.table(f"counters of the guest library per token, {model} (difference of {long} and {short} "
                 "tokens)", ["counter", "per token"], sorted(per_token.items()))

    rows = []
    for name, path in bench.models.items():
        load = decode(path, 1)
        waits = load["waits"] - per_token["waits"]
        report.put(f"{args.key}.{name}.load.waits", waits)
        report.put("load_waits", waits)  # of the last, the largest model
        rows.append([name, os.path.getsize(path) / MIB, waits, load.get("op_misses"),
                     load.get("stalls")])
    report.table("waits while a model loads (all but those of one token)",
                 ["model", "MiB", "waits", "questions about ops", "of the waits: no room"], rows)

    rows = []
    steps_of = {}
    for state, pause in (("polls", 0), ("sleeps", 5000)):
        few, many = (peers.probe("ours", "--iterations", n, "--seconds", 60, "--pause-us", pause,
                                 "step") for n in (50, 250))
        steps = many["step"]["total"] - few["step"]["total"]
        per_step = steps_of[state] = difference(many["stats"], few["stats"], steps)
        report.put(f"doorbells_per_token_worker_{state}", per_step["doorbells"])
        report.put(f"waits_per_token_worker_{state}", per_step["waits"])
        report.put(f"sleeps_per_token_worker_{state}", per_step["sleeps"])
        rows.append([f"the worker {state} ({pause} us between two)", per_step["doorbells"],
                     per_step["waits"], per_step["sleeps"]])
    report.table("per empty step of vgr-probe", ["step", "doorbells", "waits", "sleeps"], rows)
    besides = steps_of["sleeps"]["ring_bytes"] - STEP_PAYLOAD
    report.put("ring_bytes_besides_payload_per_token", besides)
    report.say(f"  ring bytes of a step besides the inputs that lie in it: {besides:.0f}")


# ---- Instructions ----


# How often these run depends on how long the host takes, not on what the library does.
WAITING = re.compile("wait|reach|spin|sleep|alive|ring_done")


def callgrind_totals(path, library):
    """Instructions in `library`: its work, its waiting, and what others did when called from there
    (libc's memcmp and memcpy, mostly)."""
    names = {"ob": {}, "fn": {}}
    now = {"ob": "", "fn": ""}
    total = collections.Counter()
    callee, call = None, False
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            # "ob=(3) /usr/lib/x.so" names number 3, "ob=(3)" is it again; cob and cfn: of a callee.
            head = re.match(r"(c?)(ob|fn)=\((\d+)\) *(.*)", line)
            if head:
                called, kind, key, name = head.groups()
                name = names[kind].setdefault(key, name) or name
                if called:
                    callee = name if kind == "ob" else callee
                else:
                    now[kind] = name
            elif line.startswith("calls="):
                call = True
            elif line[0].isdigit() or line[0] in "+-*":
                cost = int(line.split()[1])
                if now["ob"].endswith(library):
                    waiting = WAITING.search(now["fn"])
                    if not call:
                        total["waiting" if waiting else "work"] += cost
                    elif not waiting and callee not in (None, now["ob"]):
                        total["called"] += cost
                if call:
                    callee, call = None, False
    if not total["work"]:
        die(f"{path}: callgrind saw nothing of {library}")
    return total


def traced(bench, command):
    """A program on ours under callgrind: the totals of the guest library."""
    with tempfile.TemporaryDirectory(prefix="vgr-bench.") as folder:
        out = os.path.join(folder, "out")
        bench.place.run(
            ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", *map(str, command)],
            bench.peers.environment("ours", OMP_NUM_THREADS="1"))
        return callgrind_totals(out, "libggml-virtgpu.so")


def instructions(bench):
    """By callgrind, in the client alone. The work is a count; the waiting depends on the host."""
    report, peers = bench.report, bench.peers
    model = bench.preferred("tiny16")
    short, long = bench.args.traced_tokens
    few, many = (traced(bench, [LLAMA_BENCH, "-m", bench.models[model], "-p", 0, "-n", n, "-r", 1,
                                "-t", 1, "--no-warmup", *peers.where("ours")])
                 for n in (short, long))
    per_token = difference(many, few, long - short)
    report.put("plugin_instructions_per_token", per_token["work"])
    report.put("plugin_called_instructions_per_token", per_token["called"])
    report.put("plugin_waiting_instructions_per_token", per_token["waiting"])
    report.table(f"instructions per token, {model} (callgrind, difference of {long} and {short} tokens)",
                 ["where", "per token"],
                 [["in libggml-virtgpu.so", per_token["work"]],
                  ["in libc, called from there", per_token["called"]],
                  ["in its waiting (not a cost: until the host is done)", per_token["waiting"]]])

    # A copy is libc's: what an upload from the host buffer type has it do, of what another one has. The
    # program may change its memory once a synchronous upload is back, so only an asynchronous one can
    # go without a copy.
    if peers.probe("ours", "--iterations", 2, "--bytes", 65536, "pinned")["pinned"]["p50"] is None:
        report.say("  VirtGPU0 has no host buffer type: nothing lies in it, all is copied")
        return
    called = {}
    for measure in ("upload", "pinned", "pinned_async"):
        few, many = (traced(bench, peers.probe_command("ours", "--iterations", n, "--bytes", 65536,
                                                       "--seconds", 60, measure)) for n in (2, 18))
        called[measure] = many["called"] - few["called"]
    report.put("host_buffer_copies", ratio(called["pinned_async"], called["upload"]))
    report.put("host_buffer_copies_synchronous", ratio(called["pinned"], called["upload"]))
    report.say("  copies of an upload of 64 KiB that lies in the host buffer type, of those of another "
               f"one: {called['pinned_async'] / called['upload']:.2f}, synchronous "
               f"{called['pinned'] / called['upload']:.2f}")


# ---- Round trips and transfers ----

MEASURES = ("rtt", "step", "issue", "upload", "pinned", "download", "memcpy")


def probe(bench):
    """The same calls on the device itself, on VirtGPU0 and on RPC0, in turns."""
    args, report, peers = bench.args, bench.report, bench.peers
    names = ("native", "ours", "rpc")
    got = {(p, m): collections.defaultdict(list) for p in names for m in MEASURES}
    for _ in range(args.rounds):
        for peer in names:
            found = peers.probe(peer, "--iterations", args.iterations, "--seconds", args.seconds,
                                "--bytes", args.bytes, *MEASURES)
            for measure in MEASURES:
                for name, value in found[measure].items():
                    if isinstance(value, (int, float)):
                        got[peer, measure][name].append(value)
    rows = []
    for measure in MEASURES[:-1]:
        row = {p: median(got[p, measure]["p50"]) for p in names}
        for peer in names:
            for name in ("p50", "p90", "p99"):
                report.put(f"probe.{measure}.{peer}.{name}", median(got[peer, measure][name]))
        unit = "GB/s" if measure in ("upload", "pinned", "download") else "us"
        rows.append([f"{measure}, {unit}", *row.values(), ratio(row["ours"], row["native"]),
                     ratio(row["rpc"], row["native"]), median(got["ours", measure]["p90"]),
                     median(got["ours", measure]["p99"])])
    copy = median([v for p in names for v in got[p, "memcpy"]["p50"]])
    rows.append(["memcpy, GB/s", copy, None, None, None, None, None, None])

    def middle(peer, measure):
        return median(got[peer, measure]["p50"])

    report.put("memcpy_gbps", copy)
    report.put("rtt_us", middle("ours", "rtt") - middle("native", "rtt"))
    report.put("rpc_rtt_us", middle("rpc", "rtt") - middle("native", "rtt"))
    report.put("added_us_per_token", middle("ours", "step") - middle("native", "step"))
    # What the guest program spends before it waits; the host's share is the rest of the step.
    report.put("guest_us_per_token", middle("ours", "issue"))
    report.put("rpc_guest_us_per_token", middle("rpc", "issue"))
    report.put("rpc_added_us_per_token", middle("rpc", "step") - middle("native", "step"))
    for name in ("upload", "download"):
        for peer, prefix in (("ours", ""), ("native", "native_"), ("rpc", "rpc_")):
            report.put(f"{prefix}{name}_over_memcpy", ratio(middle(peer, name), copy))
    report.table(f"vgr-probe on {args.device}, medians; {args.rounds} rounds in turns",
                 ["measure", *(NAMES[p] for p in names), "vgr/native", "rpc/native", "vgr p90",
                  "vgr p99"], rows)
    report.table("from these", ["figure", "vgr", "ggml-rpc"],
                 [[text, report.flat.get(key), report.flat.get("rpc_" + key)] for text, key in
                  (("round trip, us", "rtt_us"), ("added to an empty step, us", "added_us_per_token"),
                   ("a step until all is asked for, us", "guest_us_per_token"),
                   ("upload / memcpy", "upload_over_memcpy"),
                   ("download / memcpy", "download_over_memcpy"))])


# ---- Idle contexts: time and memory; the start of a worker ----


def cpu_seconds(pid):
    """Processor time of all threads of a process so far."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/[0-9]*/schedstat"):
        with open(path, encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def resident(pid):
    """MiB of a process: all, and by kind."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        kib = dict(re.findall(r"^(VmRSS|RssAnon|RssFile|RssShmem):\s+(\d+) kB", f.read(), re.M))
    return {name: int(value) / 1024 for name, value in kib.items()}


def idle_probe(bench, peer, seconds, look):
    """Runs vgr-probe's idle measure on a peer; returns what look(its process id) says meanwhile."""
    command = bench.peers.probe_command(peer, "--seconds", seconds, "idle")
    process = bench.place.start(command, bench.peers.environment(peer), stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            die(f"{' '.join(command)}: status {process.wait()}")
        return look(json.loads(line)["pid"])
    finally:
        process.kill()
        process.wait()


def idle(bench):
    args, report, peers = bench.args, bench.report, bench.peers

    def ours(client):
        pids = {"client": [client], "worker": peers.workers(), "front": [peers.front.pid]}
        time.sleep(1)  # let the polling run out
        begin = time.monotonic()
        before = {who: sum(map(cpu_seconds, pids[who])) for who in pids}
        time.sleep(args.idle)
        span = time.monotonic() - begin
        return ({who: 100 * (sum(map(cpu_seconds, pids[who])) - before[who]) / span for who in pids},
                {who: resident(pids[who][0]) for who in pids})

    percent, memory = idle_probe(bench, "ours", args.idle + 30, ours)
    native = idle_probe(bench, "native", 30, resident)
    for who, value in percent.items():
        report.put(f"idle_cpu_percent_{who}", value)
    report.put("idle_cpu_percent", sum(percent.values()))
    report.put("front_rss_mib", memory["front"]["VmRSS"])
    report.put("worker_rss_mib", memory["worker"]["VmRSS"])
    report.put("worker_arena_mib", memory["worker"]["RssShmem"])
    # Of what is not the arena, a process that opens the same device natively has the GPU library too.
    def own(m):
        return m["RssAnon"] + m["RssFile"]

    report.put("worker_rss_over_native_mib", own(memory["worker"]) - own(native))
    rows = [[f"{who} ({'guest program' if who == 'client' else 'host'})", percent[who],
             m["VmRSS"], m["RssAnon"], m["RssFile"], m["RssShmem"]] for who, m in memory.items()]
    rows.append(["native program", None, native["VmRSS"], native["RssAnon"], native["RssFile"],
                 native["RssShmem"]])
    report.table(f"an idle open context, for {args.idle} s", ["process", "CPU %", "resident MiB",
                                                              "anonymous", "files", "arena"], rows)

    times = {"native": [], "ours": []}
    for _ in range(args.rounds):
        for peer, kept in times.items():
            kept.append(peers.probe(peer, "open")["open"]["p50"])
    there, here = median(times["native"]), median(times["ours"])
    report.put("open_ms", here)
    report.put("worker_start_ms", here - there)
    report.table("opening a device in a fresh process, ms (the worker's start without the GPU library's "
                 "own: the difference)", ["", "native", "vgr", "difference"],
                 [["until the device is there", there, here, here - there]])
