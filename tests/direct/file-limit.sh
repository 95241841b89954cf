#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A limit for files (ulimit -f) gives a program a smaller arena, or no device, and costs vgr-device its log or
# a context. It ends neither of them.
. "$VGR_TOP/tests/direct/lib.sh"

# limited KIB COMMAND...: runs it with that limit
limited() {
    (ulimit -f "$1" && shift && on_device "$@")
}

serve --device CPU --arena-size 64M
for try in 32768:32 5000:4 2048:2; do
    limited "${try%:*}" env VGR_LOG=debug "$build/tests/direct/interrupted" 100000 64 4 \
        >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" || fail "$try: status $?: $(cat "$VGR_SCRATCH/log")"
    grep -q "arena ${try#*:} MiB" "$VGR_SCRATCH/log" || fail "$try: $(grep arena "$VGR_SCRATCH/log")"
done
status=0
limited 512 "$build/tests/direct/interrupted" 100000 64 4 >"$VGR_SCRATCH/out" \
    2>"$VGR_SCRATCH/log" || status=$?
[ "$status" -eq 1 ] || fail "no room: status $status" # no device, by the program's word
[ "$(grep -c '^ggml-virtgpu: ' "$VGR_SCRATCH/log")" -eq 1 ] || fail "$(cat "$VGR_SCRATCH/log")"
grep -q '^ggml-virtgpu: no arena, .*: File too large$' "$VGR_SCRATCH/log" || fail "$(cat "$VGR_SCRATCH/log")"
stop_serving

# Room for the files that a worker gets, and not for the log.
(
    ulimit -f 16384
    exec setpriv --pdeathsig KILL "$vgr_device" --direct "$socket" --device CPU --log-level debug
) >>"$VGR_SCRATCH/device.log" 2>&1 &
device=$!
wait_for 10 listening "$socket" || fail "vgr-device with a limit: $(tail -n 3 "$VGR_SCRATCH/device.log")"
truncate -s 16M "$VGR_SCRATCH/device.log"
on_device "$build/tests/direct/interrupted" 100000 64 4 >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
    fail "full log: status $?: $(cat "$VGR_SCRATCH/log")"
stop_serving

# No room even for those.
(
    ulimit -f 0
    exec setpriv --pdeathsig KILL "$vgr_device" --direct "$socket" --device CPU
) >/dev/null 2>&1 &
status=0
wait $! || status=$?
[ "$status" -lt 128 ] || fail "vgr-device without room: status $status"
echo "three smaller arenas, no device, and a host with limits"
