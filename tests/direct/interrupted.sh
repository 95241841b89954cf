#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A program that gets a signal each millisecond, as a profiler sends them, finds its device and works, each time
# that it is started; also while vgr-device and its worker are stopped and go on, which interrupts their calls.
. "$VGR_TOP/tests/direct/lib.sh"

serve --device CPU
before=$(holdings)
starts=20 signals=0
# nudge: stops and continues whatever serves, a hundred times a second
nudge() {
    local pid
    while :; do
        for pid in "$device" $(workers); do
            kill -STOP "$pid" 2>/dev/null || true
            kill -CONT "$pid" 2>/dev/null || true
        done
        sleep 0.01
    done
}
for ((i = 0; i < starts; i++)); do
    [ "$i" -ne $((starts / 2)) ] || { nudge & }
    on_device "$build/tests/direct/interrupted" 1000 64 4 >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
        fail "start $i: status $?: $(cat "$VGR_SCRATCH/out" "$VGR_SCRATCH/log")"
    n=$(sed -n 's/^status 0, \([0-9]*\) signals$/\1/p' "$VGR_SCRATCH/out")
    signals=$((signals + n))
done
on_device "$build/tests/direct/interrupted" 1000 512 24 >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
    fail "a long graph: status $?: $(cat "$VGR_SCRATCH/out" "$VGR_SCRATCH/log")"
kill %2
wait %2 2>/dev/null || true
kill -CONT "$device"
[ "$signals" -gt "$starts" ] || fail "$signals signals only"
same_holdings "$before"
stop_serving
echo "$starts starts, $signals signals"
