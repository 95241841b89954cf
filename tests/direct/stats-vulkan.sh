#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 120 4
#
# On a device that computes behind its calls, the time that the guest waits for it is told as the
# worker's time computing, wherever in GGML the worker spends it.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
stats=$VGR_SCRATCH/stats.sock
host_gpu_env
serve --device Vulkan0 --stats "$stats"
on_device env VGR_STATS=1 llama-bench -m "$model" -dev VirtGPU0 -ngl 99 -p 0 -n 16 -r 1 \
    >/dev/null 2>"$VGR_SCRATCH/bench.log" || fail "$(tail -n 3 "$VGR_SCRATCH/bench.log")"
wait_for 10 no_worker || fail "workers are left"
line=$(grep '^vgr-stats: ' "$VGR_SCRATCH/bench.log") || fail "VGR_STATS=1 says nothing"
echo "$line"
"$VGR_TOP/tests/direct/stats.py" idle "$stats"
"$VGR_TOP/tests/direct/stats.py" agree-async "$stats" "$line"
stop_serving
