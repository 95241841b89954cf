#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 13
#
# Two programs in one guest use the device at the same time, and both get the right text.
. "$VGR_TOP/tests/lib.sh"

model tiny16
on_host 48 >"$VGR_SCRATCH/want"
completion "$model" 48
"$vm" --device CPU --work "$VGR_SCRATCH" -- bash -c '
    for i in 1 2; do
        "$@" -dev VirtGPU0 -ngl 99 >/run/vgr/text.$i 2>/run/vgr/log.$i &
    done
    wait -n && wait -n' sh "$whole" "${completion[@]}" || {
    status=$?
    tail -n 5 "$VGR_SCRATCH"/log.*
    fail "status $status"
}
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text.1" || fail "the first one's text is wrong"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text.2" || fail "the second one's text is wrong"
echo "both texts right"
