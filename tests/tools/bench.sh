#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 400 3
#
# The benchmark runs, its JSON has the promised names, and its counts are what counts must be. Times
# are printed for people and gate nothing.
set -euo pipefail

out=$VGR_SCRATCH/out
fail() {
    echo "failed: $*"
    exit 1
}

"$VGR_TOP/bench/run" --quick --out "$out" >"$VGR_SCRATCH/log" 2>&1 || {
    tail -n 20 "$VGR_SCRATCH/log"
    fail "bench/run"
}
cmp <(head -n -2 "$VGR_SCRATCH/log") "$out/bench.txt" || fail "bench.txt is not what was printed"

python3 - "$out/bench.json" <<'TEXT'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    figures = json.load(f)

promised = [f"cpu.tiny.{test}.{name}" for test in ("pp", "tg", "load")
            for name in ("native", "repack", "ours", "rpc", "ours_over_native", "rpc_over_native")]
# ggml-rpc need not serve two at once.
promised += [f"cpu.tiny.clients.{n}.{peer}.{what}" for n in (1, 2) for peer in ("native", "ours")
             for what in ("aggregate", "each")]
promised += [f"probe.{measure}.{peer}.{at}" for measure in ("rtt", "step", "upload", "download")
             for peer in ("native", "ours", "rpc") for at in ("p50", "p90", "p99")]
promised += """date device machine versions text_identical rtt_us added_us_per_token waits_per_token
doorbells_per_token ring_bytes_per_token ring_bytes_besides_payload_per_token
doorbells_per_token_worker_polls doorbells_per_token_worker_sleeps load_waits
plugin_instructions_per_token upload_over_memcpy download_over_memcpy idle_cpu_percent
worker_start_ms front_rss_mib worker_rss_mib worker_rss_over_native_mib""".split()

# What is counted, and the limits of what it can be if the counting is right.
sane = {
    "text_identical": (1, 1),
    "cpu.tiny.clients.2.ours.failed": (0, 0),
    "waits_per_token": (0.9, 1.3),
    "doorbells_per_token": (-0.5, 2), # what loading rings for may differ a little
    "doorbells_per_token_worker_polls": (-0.5, 1.6),
    "doorbells_per_token_worker_sleeps": (0.5, 1.6),
    "counters.graphs_run_per_token": (1, 1),
    "ring_bytes_per_token": (64, 4096),
    "ring_bytes_besides_payload_per_token": (64, 1024),
    "plugin_instructions_per_token": (1000, 1000000),
    "host_buffer_copies": (-0.05, 0.05),
    "host_buffer_copies_synchronous": (0.9, 1.1),
    "load_waits": (1, 200),
    "idle_cpu_percent": (0, 20),
    "front_rss_mib": (0.5, 64),
}
bad = [f"{name} is missing" for name in promised if name not in figures]
bad += [f"{name} is {figures.get(name)}" for name, (low, high) in sane.items()
        if not low <= figures.get(name, -1) <= high]
bad += [f"{name} is no number or text" for name, value in figures.items()
        if not isinstance(value, (int, float, str))]
bad += [f"{name} is not positive" for name in promised
        if name.startswith("cpu.tiny.") and not figures.get(name, 0) > 0]
print("\n".join(bad))
print(f"{len(promised)} names, {len(sane)} counts")
sys.exit(bool(bad))
TEXT

bad=0
refuse() {
    local status=0
    "$@" >"$VGR_SCRATCH/bad.out" 2>"$VGR_SCRATCH/bad.err" || status=$?
    [ "$status" -eq 2 ] || fail "status $status for: $*"
    [ "$(wc -l <"$VGR_SCRATCH/bad.err")" -eq 1 ] || fail "not one line for: $*"
    bad=$((bad + 1))
}
refuse "$VGR_TOP/bench/run" --models huge
refuse "$VGR_TOP/bench/run" --parts nothing
refuse "$VGR_TOP/bench/run" --rounds 0
refuse "$VGR_TOP/bench/run" --build /nonexistent
refuse "$VGR_TOP/bench/gpu.sh" --nonsense
refuse "$VGR_TOP/bench/gpu.sh" --models
refuse "$VGR_TOP/bench/gpu.sh" --bundle /nonexistent
probe=$VGR_TOP/build/obj/bench/vgr-probe
refuse "$probe"
refuse "$probe" nothing
refuse "$probe" --iterations 1 rtt
refuse "$probe" --bytes 64x upload
echo "$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$out/bench.json") figures," \
    "$bad bad inputs"
