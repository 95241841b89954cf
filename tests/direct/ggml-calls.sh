#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# GGML's public calls on VirtGPU0, with the CPU and with lavapipe behind it, in both sandboxes.
. "$VGR_TOP/tests/direct/lib.sh"

n=0
for run in "CPU relaxed" "CPU strict" "Vulkan0 relaxed" "Vulkan0 strict"; do
    read -r name sandbox <<<"$run"
    "$vgr_run" --device "$name" --sandbox "$sandbox" -- "$build/tests/direct/ggml_calls" >"$VGR_SCRATCH/log" 2>&1 || {
        cat "$VGR_SCRATCH/log"
        fail "on $name, $sandbox"
    }
    graphs=$(sed -n 's/^\([0-9]*\) graphs$/\1/p' "$VGR_SCRATCH/log")
    n=$((n + graphs))
done
[ "$n" -gt 0 ] || fail "no graph ran"
echo "$n graphs"
