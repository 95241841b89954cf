#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 14
#
# A guest program whose worker is killed on the host gets GGML's failure, and a new worker through the
# same virtio-gpu when it opens a backend anew; the front outlives them all.
. "$VGR_TOP/tests/lib.sh"

rounds=4
# The guest and this script take turns by way of files in the work folder.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
for i in $(seq "$2"); do
    while [ ! -e "/run/vgr/killed-$i" ]; do sleep 0.1; done
    echo go
done | "$1" "$2" >/run/vgr/out 2>/run/vgr/log
TEXT
"$vm" --device CPU --work "$VGR_SCRATCH" -- \
    bash -o pipefail /run/vgr/guest.sh "$VGR_TOP/build/obj/tests/direct/renew" $rounds \
    >"$VGR_SCRATCH/vm.log" 2>&1 &
machine=$!

ready() {
    [ "$(grep -c ready "$VGR_SCRATCH/out" 2>/dev/null)" -ge "$1" ] ||
        ! kill -0 $machine 2>/dev/null
}
for ((i = 1; i <= rounds; i++)); do
    wait_for 120 ready $i || fail "round $i: $(cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
    worker=$(pgrep -P "$(cat "$VGR_SCRATCH/vgr-device.pid")") ||
        fail "round $i: no worker: $(cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
    kill -KILL "$worker"
    touch "$VGR_SCRATCH/killed-$i"
done
wait $machine || fail "the guest: status $?: $(cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
read -r slowest fds now_fds maps now_maps < <(tail -n 1 "$VGR_SCRATCH/out")
[ "$slowest" -lt 1000 ] || fail "it took $slowest ms to fail"
[ "$fds" -eq "$now_fds" ] || fail "the program: $fds descriptors, then $now_fds"
[ $((now_maps - maps)) -le 2 ] || fail "the program: $maps mappings, then $now_maps"
echo "$rounds workers killed, at most $slowest ms to fail"
