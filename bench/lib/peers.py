# SPDX-License-Identifier: MIT
"""The peers of a comparison, and how their programs are started.

Four peers run the same programs on the same device of the host:

  native  the device itself; on a CPU with its weights as they are in the file (--no-repack), which
          is all that a remote device can have
  repack  on a CPU only: as llama.cpp runs by default, weights repacked for the processor
  ours    VirtGPU0, through vgr-device's direct front
  rpc     RPC0, through a ggml-rpc-server on loopback

A Place says where the programs are: in the tool box, or, on a machine that has nothing but a GPU's
driver, behind a prefix such as a chroot.
"""

import collections
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
LLAMA_BENCH = "/usr/bin/llama-bench"
LLAMA_COMPLETION = "/usr/bin/llama-completion"
RPC_SERVER = "/usr/libexec/x86_64-linux-gnu/llama/bin/ggml-rpc-server"
NAMES = {"native": "native", "repack": "repack", "ours": "vgr", "rpc": "ggml-rpc"}


def die(text, status=1):
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(status)


def median(values):
    return statistics.median(values) if values else None


def ratio(a, b):
    return a / b if a is not None and b else None


class Place:
    """Where programs are and what they need in their environment."""

    def __init__(self, prefix, build):
        # No program outlives the benchmark, however that ends.
        self.prefix = ["setpriv", "--pdeathsig", "KILL", *prefix] if shutil.which("setpriv") else prefix
        self.build = build
        self.host = {k: v for k, v in os.environ.items() if not k.startswith("VGR_")}
        if not prefix:
            self.host.update(self._lavapipe())
        # A client's own GPUs are hidden: it would spend its start on them.
        self.client = {k: v for k, v in self.host.items() if k != "GGML_VK_VISIBLE_DEVICES"}
        self.client.update(VK_DRIVER_FILES="/dev/null", CUDA_VISIBLE_DEVICES="")

    @staticmethod
    def _lavapipe():
        """The variables that show Vulkan on the CPU where there is no GPU (tools/common.sh)."""
        script = "source tools/common.sh && host_gpu_env && env -0"
        out = subprocess.run(["bash", "-c", script, "bench"], cwd=TOP, check=True,
                             capture_output=True, text=True).stdout
        env = dict(pair.split("=", 1) for pair in out.split("\0") if "=" in pair)
        return {k: env[k] for k in ("GGML_VK_VISIBLE_DEVICES", "VK_DRIVER_FILES") if k in env}

    def program(self, name):
        return os.path.join(self.build, {
            "vgr-device": "src/device/vgr-device",
            "vgr-worker": "src/worker/vgr-worker",
            "plugin": "src/guest/libggml-virtgpu.so",
            "vgr-probe": "bench/vgr-probe",
            "vgr-mkmodel": "tools/vgr-mkmodel",
        }[name])

    def start(self, command, env, **options):
        return subprocess.Popen(self.prefix + command, env=env, stdin=subprocess.DEVNULL, **options)

    def run(self, command, env, timeout=600):
        """What a program printed on stdout and stderr; the benchmark ends if it fails."""
        try:
            done = subprocess.run(self.prefix + command, env=env, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, errors="surrogateescape",
                                  timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            die(f"{' '.join(command)}: not done after {timeout} seconds")
        if done.returncode:
            die(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}")
        return done


def stats_of(stderr):
    """The counters that the guest library printed (VGR_STATS=1), by name, whatever they are."""
    found = re.findall(r"^vgr-stats: (.*)$", stderr, re.M)
    if not found:
        die("the library printed no counters")
    return {name: float(value) for name, value in re.findall(r"(\w+)=([-\d.e+]+)", found[-1])}


Bench = collections.namedtuple("Bench", "pp tg load first end stats")


class BenchRun:
    """A llama-bench that is running. The moments at which it says what it does are kept."""

    def __init__(self, place, command, env, timeout):
        self.command, self.timeout = command, timeout
        self.begin = time.monotonic()
        self.process = place.start(command, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace")
        self.lines, self.problem = [], None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.late = False
        self.timer = threading.Timer(timeout, self._stop)
        self.timer.daemon = True
        self.timer.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append((time.monotonic(), line))

    def _stop(self):
        self.late = True
        self.process.kill()

    def _moments(self, pattern):
        found = [at for at, line in self.lines if re.search(pattern, line)]
        return found or die(f"{' '.join(self.command)}: no progress")

    def result(self, must=True):
        """Tokens a second of each repetition, seconds until the model was ready, when the first
        repetition began and the last ended. None: it took too long or, if it need not work, failed;
        then `problem` says how."""
        rows = [json.loads(line) for line in self.process.stdout if line.startswith("{")]
        status = self.process.wait()
        self.timer.cancel()
        self.reader.join()
        stderr = "".join(line for _, line in self.lines)
        if status and self.late:
            self.problem = f"took more than {self.timeout} s"
            return None
        if status and must:
            die(f"{' '.join(self.command)}: status {status}\n{stderr[-2000:]}")
        if status:
            errors = re.findall(r"^.*(?:[Ff]ail|[Ee]rror).*$", stderr, re.M) or ["no word"]
            self.problem = f"status {status}: {errors[-1][:100]}"
            return None
        ready, runs = self._moments("warmup|run 1/")[0], self._moments(r"run \d+/")
        return Bench(
            pp=[v for row in rows if row["n_prompt"] for v in row["samples_ts"]],
            tg=[v for row in rows if row["n_gen"] for v in row["samples_ts"]],
            load=ready - self.begin, first=runs[0],
            end=runs[-1] + rows[-1]["samples_ns"][-1] / 1e9,
            stats=stats_of(stderr) if "vgr-stats:" in stderr else None)


class Peers:
    """The peers on one device. Servers are started when first needed and live until close()."""

    def __init__(self, place, device, names):
        self.place, self.device = place, device
        self.cpus = os.cpu_count()
        self.on_cpu = device == "CPU"
        self.names = [name for name in names if self.on_cpu or name != "repack"]
        self._stack = contextlib.ExitStack()
        self._socket = self._port = None
        self.front = None

    def close(self):
        self._stack.close()

    # ---- Servers ----

    def _serve(self, command, env, ready):
        process = self.place.start(command, env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True)
        errors = collections.deque(maxlen=20)
        threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True).start()
        self._stack.callback(process.wait)
        self._stack.callback(process.send_signal, signal.SIGTERM)
        end = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                time.sleep(0.2)
                die(f"{' '.join(command)} does not serve: {' '.join(errors)[-500:]}")
            time.sleep(0.05)
        return process

    def direct_socket(self):
        """The path of the direct front's socket."""
        if not self._socket:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vgr-bench."))
            self._socket = path = os.path.join(folder, "direct.sock")

            def ready():
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    return s.connect_ex(path) == 0

            # Where the device itself finds compiled shaders on the disk, its workers should too.
            cache = self.place.host.get("__GL_SHADER_DISK_CACHE_PATH")
            self.front = self._serve(
                [self.place.program("vgr-device"), "--direct", path, "--device", self.device,
                 "--worker", self.place.program("vgr-worker"), "--log-level", "warn",
                 *(["--shader-cache", cache] if cache else [])],
                self.place.host, ready)
        return self._socket

    def rpc_port(self):
        if not self._port:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                self._port = port = s.getsockname()[1]

            def ready():
                with socket.socket() as s:
                    return s.connect_ex(("127.0.0.1", port)) == 0

            self._serve([RPC_SERVER, "-H", "127.0.0.1", "-p", str(port), "-d", self.device,
                         "-t", str(self.cpus)], self.place.host, ready)
        return self._port

    # ---- Commands ----

    def environment(self, peer, **more):
        if peer in ("native", "repack"):
            return {**self.place.host, **more}
        if peer == "rpc":
            return {**self.place.client, **more}
        return {**self.place.client, "VGR_DIRECT": self.direct_socket(), "VGR_STATS": "1",
                "GGML_BACKEND_PATH": self.place.program("plugin"), **more}

    def where(self, peer):
        """llama-bench's options that put a model on the peer's device."""
        if peer == "ours":
            return ["-dev", "VirtGPU0", "-ngl", "99"]
        if peer == "rpc":
            return ["--rpc", f"127.0.0.1:{self.rpc_port()}", "-dev", "RPC0", "-ngl", "99"]
        if self.on_cpu:
            return ["-dev", "none", "--repack", str(int(peer == "repack")), "-t", str(self.cpus)]
        return ["-dev", self.device, "-ngl", "99"]

    def bench(self, peer, model, *options, timeout=300, **more):
        """A llama-bench on a peer, running."""
        command = [LLAMA_BENCH, "-m", model, "-o", "jsonl", "--progress", *map(str, options),
                   *self.where(peer)]
        return BenchRun(self.place, command, self.environment(peer, **more), timeout)

    def probe_command(self, peer, *options):
        at = {"native": ["--device", self.device],
              "ours": ["--device", "VirtGPU0", "--plugin", self.place.program("plugin")],
              "rpc": ["--device", "RPC0"]}[peer]
        if peer == "rpc":
            at += ["--rpc", f"127.0.0.1:{self.rpc_port()}"]
        return [self.place.program("vgr-probe"), *at, *map(str, options)]

    def probe(self, peer, *options):
        """What vgr-probe measured on a peer, by measure; the counters as "stats" if it is ours."""
        done = self.place.run(self.probe_command(peer, *options), self.environment(peer))
        found = {m["measure"]: m for m in map(json.loads, done.stdout.splitlines())}
        if peer == "ours":
            found["stats"] = stats_of(done.stderr)
        return found

    def workers(self):
        """The process ids of the front's workers."""
        found = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as f:
                pid, rest = f.read().split(" (", 1)
                if int(rest.rpartition(") ")[2].split()[1]) == self.front.pid:
                    found.append(int(pid))
        return found
