#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 400 13
#
# Two machines, each with a vgr-device of its own, run at the same time, and both get the right
# text.
. "$VGR_TOP/tests/lib.sh"

model tiny16
on_host 48 >"$VGR_SCRATCH/want"
completion "$model" 48
pids=()
for i in 1 2; do
    "$vm" --device CPU -- "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text.$i" \
        2>"$VGR_SCRATCH/log.$i" &
    pids+=($!)
done
for i in 1 2; do
    wait "${pids[i - 1]}" || {
        status=$?
        tail -n 5 "$VGR_SCRATCH/log.$i"
        fail "machine $i ended with status $status"
    }
    cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text.$i" || fail "machine $i's text is wrong"
done
echo "both texts right"
