#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 900 15
#
# A guest of one processor, which does not poll but sleeps on a fence for every answer, gets its
# answers through each front and each way to give a fence back, and a sleep is ended by its fence, not
# by the guest's patience (50 ms). Prints the times of a small graph. The synchronous way does not cost
# the 10 ms between two of QEMU's polls, which none of 200 graphs would be spared.
. "$VGR_TOP/tests/lib.sh"

cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
VGR_STATS=1 "$1" --device VirtGPU0 --iterations 200 --seconds 60 --pause-us 10000 step \
    >/run/vgr/times 2>/run/vgr/log
TEXT
told=()
# measure NAME FRONT: appends to ${told[@]}
measure() {
    "$vm" --front "$2" --cpus 1 --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh \
        "$VGR_TOP/build/obj/bench/vgr-probe" 2>"$VGR_SCRATCH/vm.log" ||
        fail "$1: status $?: $(tail -n 5 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
    cat "$VGR_SCRATCH/times" "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log"
    sleeps=$(sed -n 's/^vgr-stats: .* sleeps=\([0-9]*\) .*/\1/p' "$VGR_SCRATCH/log")
    [ "${sleeps:-0}" -ge 20 ] || fail "$1: only ${sleeps:-no} sleeps"
    told+=("$1 $(python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
assert r["p50"] < 40000, "fences are not given back"
assert r["best"] < 5000, "fences wait for a poll"
print(round(r["p50"]), "us, 90 %:", round(r["p90"]), "us,")' "$VGR_SCRATCH/times") $sleeps sleeps")
}
# Debian stable's QEMU knows the synchronous way only.
if [ -z "${VGR_MONITOR_ROOT-}" ]; then
    measure vhost-user vhost-user
    measure asynchronous virgl
fi
VGR_VIRGL_SYNC=1 measure synchronous virgl
printf '%s; ' "${told[@]}"
echo
