#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 300 3
#
# While one device of a host computes for seconds, a program's small work on another one gets done, from
# the same thread and from another.
. "$VGR_TOP/tests/direct/lib.sh"

"$vgr_run" --device Vulkan0 --device CPU -- "$build/tests/direct/busy_device" \
    >"$VGR_SCRATCH/rounds" 2>"$VGR_SCRATCH/log" || fail "$(tail -n 3 "$VGR_SCRATCH/log")"
cat "$VGR_SCRATCH/rounds"
rounds=$(tail -n 1 "$VGR_SCRATCH/rounds")
[ "$rounds" -eq 400 ] || fail "$rounds rounds"
echo "$rounds rounds beside a long graph"
