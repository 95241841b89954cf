#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 400 14
#
# A guest program whose broker is killed on the host gets GGML's failure, and when the broker is back on
# the same path, a new worker through the same virtio-gpu; the machine does not notice.
. "$VGR_TOP/tests/vm/renewing.sh"

rounds=3 broker=
stop_broker() {
    [ -z "$broker" ] || kill -KILL "$broker" 2>/dev/null || true
}
trap stop_broker EXIT
start_renewing $rounds --front virgl
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
    killed $i
done
finish_renewing
echo "$rounds brokers killed, at most $slowest ms to fail"
