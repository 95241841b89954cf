#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 180 3
#
# Two devices of one host work on each other's results, in two threads at once and without a wait, and
# the numbers are those of GGML's own CPU backend. So it is in the strict sandbox, which lets a worker
# start the threads that it needs.
. "$VGR_TOP/tests/direct/lib.sh"

total=0
for sandbox in relaxed strict; do
    "$vgr_run" --device Vulkan0 --device CPU --sandbox "$sandbox" -- \
        timeout 80 "$build/tests/direct/cross_devices" >"$VGR_SCRATCH/rounds" 2>"$VGR_SCRATCH/log" ||
        fail "$sandbox: status $?: $(tail -n 3 "$VGR_SCRATCH/log")"
    rounds=$(tail -n 1 "$VGR_SCRATCH/rounds")
    [ "$rounds" -ge 4000 ] || fail "$sandbox: $rounds rounds"
    total=$((total + rounds))
done
echo "$total rounds, $(head -n 1 "$VGR_SCRATCH/rounds") in each sandbox"
