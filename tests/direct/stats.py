#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""For direct/stats*.sh and vm/stats.sh: asks a --stats socket in both formats, takes the answers apart strictly, and compares.

  stats.py idle SOCKET                   no context; prints the totals as JSON
  stats.py watch SOCKET PID MODEL        asks until the process ends, checks every answer; prints how
                                         often a context was seen, and at how many different graphs
  stats.py agree SOCKET VGR-STATS-LINE   the context has ended; the totals are the guest's own figures
  stats.py agree-async SOCKET LINE       the same, on a device that computes behind its calls
  stats.py library PLUGIN                opens a connection and asks the library, in this process
  stats.py has SOCKET NAME=VALUE...      the totals or figures of vgr-device are so, in both formats
  stats.py turns SOCKET                  prints what the turns of vgr-device took; none had too much work
  stats.py vm SOCKET vm|bridge           waits for a VM's context to come and go, attached that way;
                                         prints the totals
  stats.py vm-agrees FILE vm|bridge LINE what that printed is what the guest in the VM counts
"""

import ctypes
import http.client
import json
import os
import re
import socket
import sys
import time

MOST_TURN_WORK = 3 << 20  # VGR_LOOP_MOST_UNITS of src/device/loop.h
NAME = r"[a-z_][a-z0-9_]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:{NAME}="(?:[^"\\\n]|\\["\\n])*",?)+)\}})? (\d+(?:\.\d+)?)')
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("vgr", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def check(condition, what):
    if not condition:
        sys.exit(f"stats.py: {what}")


def get(path, target, want_type):
    connection = Unix(path)
    connection.request("GET", target)
    response = connection.getresponse()
    check(response.status == 200, f"{target}: status {response.status}")
    check(response.headers["Content-Type"].startswith(want_type), f"{target}: type")
    text = response.read().decode("ascii")
    connection.close()
    return text


def parse_prometheus(text):
    """{name: {labels: value}}, after the rules of the text format, and of how metrics are named."""
    check(text.endswith("\n"), "the last line has no end")
    metrics, name, kind, helped = {}, None, None, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            match = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line)
            check(match and match[1] not in metrics, f"bad or second HELP: {line}")
            helped = match[1]
            continue
        if line.startswith("# TYPE "):
            match = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line)
            check(match and match[1] == helped, f"bad TYPE, or not after its HELP: {line}")
            name, kind = match[1], match[2]
            check((kind == "counter") == name.endswith("_total"), f"name and type: {line}")
            check(name.startswith("vgr_"), f"foreign name: {line}")
            metrics[name] = {}
            continue
        match = SAMPLE.fullmatch(line)
        check(match, f"no sample: {line!r}")
        check(match[1] == name, f"a sample away from its metric: {line}")
        labels = tuple(LABEL.findall(match[2] or ""))
        check(len(dict(labels)) == len(labels), f"a label twice: {line}")
        check(labels not in metrics[name], f"a series twice: {line}")
        metrics[name][labels] = float(match[3])
    return metrics


def ask(path):
    stats = json.loads(get(path, "/stats", "application/json"))
    metrics = parse_prometheus(get(path, "/metrics", "text/plain; version=0.0.4"))
    return stats, metrics


def prometheus_name(name):
    level = name in ("contexts", "buffer_bytes")
    return "vgr_" + name + ("" if level else "_total")


def compare(stats, metrics):
    """The later answer, Prometheus', has all that the earlier one has, and no less of it."""
    for name, value in stats["totals"].items():
        later = metrics[prometheus_name(name)][()]
        check(later >= value or not prometheus_name(name).endswith("_total"),
              f"{name}: {value}, then {later}")
    for context in stats["contexts"]:
        labels = (("context", str(context["context"])), ("device", ",".join(context["devices"])))
        for name in ("commands", "upload_bytes", "computing_seconds"):
            series = metrics[f"vgr_context_{name}_total"]
            if labels in series:  # else it ended, or learnt its device's name, in between
                check(series[labels] >= context[name], f"context: {name} went down")


def idle(path):
    stats, metrics = ask(path)
    compare(stats, metrics)
    check(stats["contexts"] == [] and stats["totals"]["contexts"] == 0, "there is a context")
    check(not any("context" in dict(labels) for series in metrics.values() for labels in series),
          "there is a series of a context")
    return stats["totals"]


def ends(path, context):
    """The worker ended after it was asked about: the next answers do not name it any more."""
    for _ in range(20):
        contexts = json.loads(get(path, "/stats", "application/json"))["contexts"]
        if all(c["context"] != context["context"] for c in contexts):
            return True
        time.sleep(0.1)
    return False


def watch(path, pid, model):
    seen, graphs, before, scrapes, most = 0, set(), {}, 0, 0
    while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().split()[2] != "Z":
        stats, metrics = ask(path)
        scrapes += 1
        compare(stats, metrics)
        for name, value in before.items():
            check(stats["totals"][name] >= value or name in ("contexts", "buffer_bytes"),
                  f"total of {name} went down")
        before = stats["totals"]
        check(len(stats["contexts"]) <= 1, "more than one context")
        for context in stats["contexts"]:
            age = time.time() - context["start_time_seconds"]
            check(-1 < age < 300, f"a context of {age} seconds")
            check(context["attached"] == "direct", "not attached directly")
            check(context["devices"] in ([], ["CPU"]), f"devices: {context['devices']}")
            check(context["arena_bytes"] == 64 << 20, "the arena's size")
            check(os.path.exists(f"/proc/{context['worker_pid']}") or ends(path, context),
                  "no such worker")
            check(context["computing_seconds"] + context["asleep_seconds"] <= age + 0.1,
                  "more time than there was")
            seen += 1
            most = max(most, context["buffer_bytes"])
            if context["graphs_run"]:
                graphs.add(context["graphs_run"])
                check(context["computing_seconds"] > 0, "graphs that took no time")
        time.sleep(0.1)
    check(most >= os.path.getsize(model) / 2, f"at most {most} bytes of buffers")
    return scrapes, seen, len(graphs)


def documented(names):
    with open(os.path.join(os.path.dirname(__file__), "../../docs/counters.md")) as f:
        text = f.read()
    for name in names:
        check(f"`{name}`" in text or f"`totals.{name}`" in text, f"docs/counters.md lacks {name}")


def parse_line(line):
    pairs = (pair.split("=") for pair in line.split(":", 1)[1].split())
    return {name: float(value) for name, value in pairs}


def same_figures(guest, totals):
    equal = ["upload_bytes", "download_bytes", "graphs_defined", "graphs_patched", "graphs_run",
             "op_misses"]
    for name in equal:
        check(guest[name] == totals[name] and (guest[name] or name == "graphs_patched"),
              f"{name}: the guest counts {guest[name]:.0f}, the worker {totals[name]}")
    # The guest's last words, frees, may find the worker gone; its last doorbell too.
    for name, slack in (("commands", 100), ("ring_bytes", 10000), ("doorbells", 5)):
        check(0 <= guest[name] - totals[name] <= slack,
              f"{name}: the guest counts {guest[name]:.0f}, the worker {totals[name]}")
    check(totals["computing_seconds"] > 0 and totals["asleep_seconds"] > 0, "times of the worker")
    return len(equal) + 3


def agree(path, line):
    totals, guest = idle(path), parse_line(line)
    documented({*guest, *totals})
    check(guest["waits"] >= guest["spun"] and guest["waiting_seconds"] > 0, "waits of the guest")
    check(guest["graphs_same"] + guest["graphs_known"] + guest["graphs_patched"] +
          guest["graphs_defined"] == guest["graphs_run"], "graphs of the guest")
    return same_figures(guest, totals)


def agree_async(path, line):
    totals, guest = idle(path), parse_line(line)
    same_figures(guest, totals)
    check(totals["syncs"] and totals["uploads_staged"], "waits for the device, or staged uploads")
    share = totals["computing_seconds"] / guest["waiting_seconds"]
    check(share > 0.5, f"the worker says that it computed in {share:.2f} of the guest's wait")
    return f"{share:.2f} of the guest's wait was computing"


def has(path, *wanted):
    stats, metrics = ask(path)
    figures = {**stats, **stats["totals"]}
    for pair in wanted:
        name, value = pair.split("=")
        check(figures.get(name) == float(value), f"{name}: {figures.get(name)} instead of {value}")
        series = metrics.get("vgr_" + name) or metrics.get(f"vgr_{name}_total")
        check(series == {(): float(value)}, f"{name}: {series} instead of {value}")


def turns(path):
    stats = ask(path)[0]
    figures = ["longest_turn_us"] + [f"most_turn_{kind}" for kind in
                                     ("work", "entries", "bytes", "calls", "processes")]
    documented({"turns", *figures})
    print(", ".join(f"{name} {stats[name]}" for name in ["turns", *figures]))
    check(stats["turns"] and 0 < stats["most_turn_work"] <= MOST_TURN_WORK,
          f"a turn of {stats['most_turn_work']} units")


def vm(path, attached):
    end, seen = time.time() + 200, 0
    while time.time() < end:
        time.sleep(0.1)
        try:
            stats, metrics = ask(path)
        except (FileNotFoundError, ConnectionRefusedError):
            check(not seen, "vgr-device is gone")
            continue
        for context in stats["contexts"]:
            seen += 1
            check(context["attached"] == attached, f"says {context}")
            check(("fences_held" in context) == (attached == "vm"), f"says {context}")
        if seen and not stats["contexts"]:
            return stats["totals"]
    sys.exit("stats.py: no context came and went")


def vm_agrees(path, attached, line):
    totals, guest = json.load(open(path)), parse_line(line)
    figures = same_figures(guest, totals)
    if attached == "bridge":  # which relays without telling
        check(totals["front_doorbells"] == totals["fences"] == totals["front_wakeups"] == 0, "relays")
        check(0 < totals["doorbells"] <= guest["doorbells"], "doorbells")
        return figures + 2
    for name, one, other in (("doorbells", guest["doorbells"], totals["front_doorbells"]),
                             ("sleeps", guest["sleeps"], totals["fences"])):
        check(one and abs(one - other) <= 5, f"{name}: the guest counts {one:.0f}, the front {other}")
    check(0 < totals["front_wakeups"] <= totals["wakeups"], "wake-ups")
    check(totals["fences_expired"] <= totals["fences_held"] <= totals["fences"], "fences")
    return figures + 2


def library(path):
    lib = ctypes.CDLL(path)
    lib.ggml_backend_virtgpu_reg.restype = ctypes.c_void_p
    find = lib.ggml_backend_reg_get_proc_address  # of libggml-base, which the library needs
    find.restype = ctypes.c_void_p
    find.argtypes = ctypes.c_void_p, ctypes.c_char_p
    reg = lib.ggml_backend_virtgpu_reg()
    check(not find(reg, b"ggml_backend_virtgpu_other"), "a function that does not exist")
    address = find(reg, b"ggml_backend_virtgpu_stats")
    check(address, "no such function")
    stats = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)(address)
    text = ctypes.create_string_buffer(4096)
    length = stats(text, 4096)
    check(re.fullmatch(rb"vgr-stats:( [a-z_]+=[0-9.]+){15,}\n", text.value), f"said {text.value}")
    check(length == len(text.value), f"length {length}")
    check(stats(text, 20) == 19 and len(text.value) == 19, "not cut")
    check(stats(text, 0) == 0, "no room, and yet")


def main():
    command, path, *rest = sys.argv[1:]
    if command == "idle":
        print(json.dumps(idle(path)))
    elif command == "watch":
        print(*watch(path, *rest))
    elif command == "agree-async":
        print(agree_async(path, *rest))
    elif command == "has":
        has(path, *rest)
    elif command == "turns":
        turns(path)
    elif command == "library":
        library(path)
    elif command == "vm":
        print(json.dumps(vm(path, *rest)))
    elif command == "vm-agrees":
        print(vm_agrees(path, *rest), "figures agree")
    else:
        print(agree(path, *rest))


main()
