#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 3
#
# A program that uses two devices of one host: what goes from one to the other stays on the host, in
# order, and the program waits once a round.
. "$VGR_TOP/tests/direct/lib.sh"

VGR_STATS=1 "$vgr_run" --device Vulkan0 --device CPU -- "$build/tests/direct/two_devices" \
    >"$VGR_SCRATCH/rounds" 2>"$VGR_SCRATCH/log" || fail "$(tail -n 3 "$VGR_SCRATCH/log")"
rounds=$(cat "$VGR_SCRATCH/rounds")
[ "$rounds" -ge 100 ] || fail "$rounds rounds"
counter() {
    sed -n "s/^vgr-stats:.* $1=\([0-9]*\).*/\1/p" "$VGR_SCRATCH/log"
}
[ "$(counter waits)" -le $((rounds + 20)) ] || fail "$(counter waits) waits in $rounds rounds"
# One vector up and one down a round; the copy between the devices is in neither.
for way in upload download; do
    [ "$(counter ${way}_bytes)" -le $((rounds * 16384 + 65536)) ] ||
        fail "$(counter ${way}_bytes) bytes of $way"
done
echo "$rounds rounds, $(counter waits) waits"
