# SPDX-License-Identifier: MIT
"""In a virtual machine: the vhost-user front, the bridge in a virtio-gpu with 3D graphics, ggml-rpc.

One guest has the devices of both fronts and a network card, and its programs take turns on them, so
that what disturbs the machine disturbs all. Each front has its own workers and nothing else differs.
"""

import collections
import contextlib
import glob
import json
import os
import re
import threading
import time

from .cost import difference
from .peers import TOP, die, median, ratio, stats_of

KINDS = {"ours": "vhost-user", "virgl": "bridge", "rpc": "ggml-rpc"}
FRONTS = ("ours", "virgl")
TRANSFERS = ("upload", "pinned", "download")

# The device that is found first is VirtGPU0; the library says which it is.
GUEST = """set -e
ours=VirtGPU0 virgl=VirtGPU1
case $(VGR_LOG=debug llama-bench --list-devices 2>&1 >/dev/null |
    grep -o -m 1 'bridged device\\|vgr device') in
bridged*) ours=VirtGPU1 virgl=VirtGPU0 ;;
vgr*) ;;
*) exit 9 ;;
esac
for front in ours virgl; do
    for n in {short} {long}; do
        echo counts $front $n
        VGR_STATS=1 {bench} -p 0 -n $n --no-warmup -dev ${{!front}} 2>&1 | grep ^vgr-stats:
    done
done
for round in $(seq {rounds}); do
    for front in ours virgl; do
        echo speed $front
        {bench} -p {pp} -n {tg} -dev ${{!front}} 2>/dev/null
        {probe} --device ${{!front}} rtt step issue upload pinned download
    done
    echo speed rpc
    {bench} -p {pp} -n {tg} --rpc {server} -dev RPC0 2>/dev/null
    {probe} --device RPC0 --rpc {server} rtt step
done
"""


def is_below(pid, ancestor):
    while pid > 1 and pid != ancestor:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            pid = int(f.read().rpartition(") ")[2].split()[1])
    return pid == ancestor


class Bridge(threading.Thread):
    """Looks, once a second, how much of the bridge is resident in the monitor below a process."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.most = process, None
        self.start()

    def run(self):
        while self.process.poll() is None:
            for path in glob.glob("/proc/[0-9]*/comm"):
                with contextlib.suppress(OSError):
                    self._look(path)
            time.sleep(1)

    def _look(self, path):
        pid = int(path.split("/")[2])
        with open(path, encoding="utf-8", errors="replace") as f:
            if not f.read().startswith("qemu-system") or not is_below(pid, self.process.pid):
                return
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
            parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", f.read(), flags=re.M)
        kib = sum(int(re.search(r"^Rss: *(\d+) kB", part, re.M)[1]) for part in parts
                  if "libvgr-virgl.so" in part.partition("\n")[0])
        self.most = max(self.most or 0, kib / 1024)


def run(bench, script):
    """What the guest printed, line by line, and how much of the bridge was resident."""
    command = [os.path.join(TOP, "tools/vgr-vm"), "--front", "both", "--net", "--device",
               bench.args.device, "--timeout", "2500", "--", "bash", "-c", script]
    process = bench.place.start(command, bench.place.host, stdout=-1, stderr=-1, text=True)
    bridge = Bridge(process)
    out, err = process.communicate(timeout=2600)
    bridge.join()
    if process.returncode:
        die(f"the guest: status {process.returncode}\n{out[-1000:]}\n{err[-1000:]}")
    return out.splitlines(), bridge.most


def parse(lines):
    """samples[peer][measure] of the rounds; counts[front] = {tokens: counters}"""
    samples = {p: collections.defaultdict(list) for p in KINDS}
    counts = {p: {} for p in FRONTS}
    for line in lines:
        if line.startswith(("speed ", "counts ")):
            what, peer, *n = line.split()
        elif line.startswith("vgr-stats:"):
            # A line for each device that was looked at; one of them has worked.
            told = counts[peer].setdefault(int(n[0]), collections.Counter())
            told.update(stats_of(line))
        elif line.startswith("{") and what == "speed":
            row = json.loads(line)
            if "measure" in row:
                samples[peer][row["measure"]].append(row["p50"])
            else:
                samples[peer]["pp" if row["n_prompt"] else "tg"] += row["samples_ts"]
    return samples, counts


def fronts(bench):
    args, report = bench.args, bench.report
    model = bench.preferred("tiny16")
    pp, tg = args.pp or 64, args.tg or 64
    short, long = 8, 72
    lines, bridge_mib = run(bench, GUEST.format(
        rounds=args.rounds, server=f"10.0.2.2:{bench.peers.rpc_port()}", pp=pp, tg=tg, short=short,
        long=long, bench=f"llama-bench -m {bench.models[model]} -ngl 99 -r 1 -o jsonl",
        probe=f"{bench.place.program('vgr-probe')} --iterations {args.iterations} --seconds 2 "
              f"--bytes {min(args.bytes, 16 << 20)}"))
    samples, counts = parse(lines)

    rows = []

    def row(label, key, m):
        for peer, value in m.items():
            report.put(f"vm.{key}.{peer}", value)
        over = ratio(m.get("virgl"), m.get("ours"))
        of_rpc = ratio(m.get("ours"), m.get("rpc"))
        report.put(f"vm.{key}.virgl_over_ours", over)
        report.put(f"vm.{key}.ours_over_rpc", of_rpc)
        rows.append([label, *(m.get(p) for p in KINDS), over, of_rpc])

    for test, label in (("pp", f"{model} pp{pp}, tokens/s"), ("tg", f"{model} tg{tg}, tokens/s"),
                        ("rtt", "round trip, us"), ("step", "empty step, us"),
                        ("issue", "of it, until all is asked for, us"),
                        *((name, f"{name}, GB/s") for name in TRANSFERS)):
        values = {p: [v for v in samples[p][test] if v is not None] for p in KINDS}
        row(label, f"{model}.{test}", {p: median(values[p]) for p in KINDS if values[p]})
        for peer in FRONTS:
            report.put(f"vm.{model}.{test}.{peer}_samples",
                       " ".join(f"{v:.6g}" for v in values[peer]))
    per_token = {p: difference(counts[p][long], counts[p][short], long - short) for p in FRONTS}
    for name in ("waits", "doorbells", "sleeps", "ring_bytes"):
        row(f"{name.replace('_', ' ')} a token", f"{name}_per_token",
            {p: per_token[p][name] for p in FRONTS})
    # Each of the two is a submission to the device, which costs an exit of the machine.
    row("submissions a token", "submits_per_token",
        {p: per_token[p]["doorbells"] + per_token[p]["sleeps"] for p in FRONTS})
    row("waits while the model loads", "load_waits",
        {p: counts[p][short]["waits"] - short * per_token[p]["waits"] for p in FRONTS})
    report.table(f"in a virtual machine, {args.device} on the host, medians of {args.rounds} rounds in "
                 "turns in one guest; counts: the guest library's",
                 ["test", *KINDS.values(), "bridge/vhost-user", "vhost-user/rpc"], rows)
    report.put("vm.bridge_rss_mib", bridge_mib)
    if bridge_mib is not None:
        report.say(f"  of the bridge, resident in QEMU besides arenas: {bridge_mib:.2f} MiB")
