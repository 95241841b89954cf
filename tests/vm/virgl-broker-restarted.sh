#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 400 14
#
# A guest program whose broker is killed on the host gets GGML's failure, and when the broker is back on
# the same path, a new worker through the same virtio-gpu; the machine does not notice.
. "$VGR_TOP/tests/lib.sh"

rounds=3 broker=
stop_broker() {
    [ -z "$broker" ] || kill -KILL "$broker" 2>/dev/null || true
}
trap stop_broker EXIT
# The guest and this script take turns by way of files in the work folder.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
for i in $(seq "$2"); do
    while [ ! -e "/run/vgr/killed-$i" ]; do sleep 0.1; done
    echo go
done | "$1" "$2" >/run/vgr/out 2>/run/vgr/log
TEXT
"$vm" --front virgl --device CPU --work "$VGR_SCRATCH" -- \
    bash -o pipefail /run/vgr/guest.sh "$VGR_TOP/build/obj/tests/direct/renew" $rounds \
    >"$VGR_SCRATCH/vm.log" 2>&1 &
machine=$!

ready() {
    [ "$(grep -c ready "$VGR_SCRATCH/out" 2>/dev/null)" -ge "$1" ] ||
        ! kill -0 $machine 2>/dev/null
}
told() {
    cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log"
}
for ((i = 1; i <= rounds; i++)); do
    wait_for 120 ready $i && kill -0 $machine || fail "round $i: $(told)"
    broker=${broker:-$(cat "$VGR_SCRATCH/vgr-device.pid")}
    [ -n "${command-}" ] || mapfile -d '' -t command <"/proc/$broker/cmdline"
    kill -KILL "$broker"
    setpriv --pdeathsig KILL "${command[@]}" </dev/null >>"$VGR_SCRATCH/vm.log" 2>&1 &
    broker=$!
    path=$(printf '%s\n' "${command[@]}" | grep -A 1 -x -e --broker | tail -n 1)
    listens() {
        [ "$(awk -v path="$path" '$4 == "00010000" && $8 == path' /proc/net/unix | wc -l)" -ge 1 ]
    }
    sleep 0.2
    wait_for 30 listens || fail "round $i: the broker is not back: $(told)"
    touch "$VGR_SCRATCH/killed-$i"
done
wait $machine || fail "the guest: status $?: $(told)"
read -r slowest fds now_fds maps now_maps < <(tail -n 1 "$VGR_SCRATCH/out")
[ "$fds" -eq "$now_fds" ] || fail "the program: $fds descriptors, then $now_fds"
[ $((now_maps - maps)) -le 2 ] || fail "the program: $maps mappings, then $now_maps"
echo "$rounds brokers killed, at most $slowest ms to fail"
