#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# Two programs use the device at the same time, each with a worker of its own, and both get the
# right text.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
on_host 200 >"$VGR_SCRATCH/want"
serve --device CPU
pids=() most=0
for i in 1 2; do
    on_device "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text.$i" \
        2>"$VGR_SCRATCH/log.$i" &
    pids+=($!)
done
while kill -0 "${pids[@]}" 2>/dev/null; do
    count=$(workers | wc -w)
    [ "$count" -le "$most" ] || most=$count
    sleep 0.05
done
for i in 1 2; do
    wait "${pids[i - 1]}" || fail "program $i: status $?: $(tail -n 3 "$VGR_SCRATCH/log.$i")"
    cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text.$i" || fail "program $i's text is wrong"
done
[ "$most" -eq 2 ] || fail "at most $most workers were seen at once"
wait_for 10 no_worker || fail "workers are left"
stop_serving
echo "both texts right, $most workers at once"
