#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# GGML's public calls on VirtGPU0, with the CPU and with lavapipe behind it.
. "$VGR_TOP/tests/direct/lib.sh"

n=0
for name in CPU Vulkan0; do
    "$vgr_run" --device "$name" -- "$build/tests/direct/ggml_calls" >"$VGR_SCRATCH/log" 2>&1 || {
        cat "$VGR_SCRATCH/log"
        fail "on $name"
    }
    graphs=$(sed -n 's/^\([0-9]*\) graphs$/\1/p' "$VGR_SCRATCH/log")
    n=$((n + graphs))
done
[ "$n" -gt 0 ] || fail "no graph ran"
echo "$n graphs"
