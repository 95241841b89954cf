#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 900 15
#
# vgr-device is killed while guest programs compute, and started again, at once or after a while: QEMU and the
# guest live on and log nothing, the programs get GGML's failure within seconds (printed; a busy machine takes
# longer) and none of them sleeps where no signal reaches it, and new programs work, without a step in the
# guest. The same when it is ended in peace, and when vgr-keeper was killed before.
. "$VGR_TOP/tests/direct/lib.sh"

rounds=4
model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16
vm_socket=$VGR_SCRATCH/vm.sock
start_front() {
    setpriv --pdeathsig KILL "$vgr_device" --socket-path "$vm_socket" --device CPU \
        >>"$VGR_SCRATCH/device.log" 2>&1 &
    device=$!
    wait_for 10 listening "$vm_socket" || fail "no vgr-device: $(cat "$VGR_SCRATCH/device.log")"
}

# The guest and this script take turns by way of files in the work folder. In each round a llama.cpp and
# a single long graph run; then, while the host says so, others try to begin.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
whole=$1 limits=$2 rounds=$3
shift 3
completion=("$@" -dev VirtGPU0 -ngl 99)
run() {
    "${@:2}"
    echo "$?" >"/run/vgr/status.tmp-$1" && mv "/run/vgr/status.tmp-$1" "/run/vgr/status-$1"
}
# Processes in a sleep that only the device ends. (One that waits for the shared root looks the same from
# outside, and may be killed.)
watch_for_stuck() {
    while [ ! -e /run/vgr/over ]; do
        for p in /proc/[0-9]*; do
            [[ $(cat "$p/stat" 2>/dev/null) == *') D '* ]] || continue
            stack=$(cat "$p/stack" 2>/dev/null)
            [[ $stack == *virtio_gpu* || $stack == *drm_* || $stack == *dma_fence* ]] || continue
            sleep 0.7
            [[ $(cat "$p/stat" 2>/dev/null) == *') D '* ]] || continue
            [ "$stack" != "$(cat "$p/stack" 2>/dev/null)" ] || echo "$(cat "$p/comm"): $stack" >>/run/vgr/stuck
        done
        sleep 0.5
    done
}
before=$(dmesg | wc -l)
watch_for_stuck &
for i in $(seq "$rounds"); do
    "$whole" "${completion[@]}" >"/run/vgr/text-$i" 2>>/run/vgr/log || exit 11
    : >/run/vgr/endless # or the text of an earlier one is taken for its own
    run "llama-$i" "${completion[@]}" -n 100000 -c 0 >/run/vgr/endless 2>>/run/vgr/log </dev/null &
    run "graph-$i" "$limits" >"/run/vgr/graph-$i" 2>>/run/vgr/log <<<$'compute 20000' &
    while [ "$(stat -c %s /run/vgr/endless)" -lt 60 ]; do sleep 0.1; done
    touch "/run/vgr/busy-$i"
    while [ ! -e "/run/vgr/ended-$i" ]; do sleep 0.1; done
    if [ -e "/run/vgr/gap-$i" ]; then
        for j in 1 2 3; do
            run "late-$j" llama-bench --list-devices >/dev/null 2>>/run/vgr/log &
        done
    fi
    while [ ! -e "/run/vgr/next-$i" ]; do sleep 0.1; done
done
"$whole" "${completion[@]}" >/run/vgr/text-last 2>>/run/vgr/log || exit 12
touch /run/vgr/over
dmesg | tail -n "+$((before + 1))" >/run/vgr/dmesg
TEXT

start_front
setpriv --pdeathsig TERM "$vm" --socket "$vm_socket" --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$whole" \
    "$build/tests/direct/limits" $rounds "${completion[@]}" >"$VGR_SCRATCH/vm.log" 2>&1 &
machine=$!

# there FILE: the guest has made it, or the machine has ended
there() {
    wait_for "$1" eval "[ -e '$VGR_SCRATCH/$2' ] || ! kill -0 $machine 2>/dev/null" || true
    [ -e "$VGR_SCRATCH/$2" ] || {
        tail -n 20 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log" "$VGR_SCRATCH/device.log"
        fail "no $2"
    }
}
keeper() {
    pgrep -f "^vgr-keeper $vm_socket$"
}

other_keeper() {
    local now
    now=$(keeper) && [ "$now" != "$1" ]
}

slowest=0
for ((i = 1; i <= rounds; i++)); do
    there 300 "busy-$i"
    wait_for 10 eval '[ "$(workers | wc -w)" -eq 2 ]' || fail "workers: $(workers)"
    kept=$(keeper) || fail "no vgr-keeper"
    if [ $i -eq 3 ]; then
        kill -KILL "$kept"
        wait_for 10 other_keeper "$kept" || fail "no other vgr-keeper"
    fi
    old=$(workers)
    signal=KILL
    [ $i -ne 4 ] || signal=TERM
    began=${EPOCHREALTIME/./}
    kill -$signal "$device"
    wait "$device" || true
    if [ $i -ne 2 ]; then
        start_front
    fi
    there 60 "status-llama-$i"
    there 60 "status-graph-$i"
    took=$(((${EPOCHREALTIME/./} - began) / 1000))
    [ $took -le 20000 ] || fail "round $i: the programs took $took ms to fail"
    [ $took -le $slowest ] || slowest=$took
    [ "$(cat "$VGR_SCRATCH/status-llama-$i")" -lt 128 ] || fail "round $i: llama.cpp died"
    grep -q '^failed' "$VGR_SCRATCH/graph-$i" || fail "round $i: the graph did not fail"
    [ $i -ne 2 ] || touch "$VGR_SCRATCH/gap-$i"
    touch "$VGR_SCRATCH/ended-$i"
    if [ $i -eq 2 ]; then
        for j in 1 2 3; do
            there 90 "status-late-$j"
        done
        start_front
    fi
    for p in $old; do
        wait_for 5 eval "! kill -0 $p 2>/dev/null" || fail "round $i: worker $p is left"
    done
    touch "$VGR_SCRATCH/next-$i"
done
wait $machine || fail "the guest: status $?: $(tail -n 5 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
for i in $(seq $rounds) last; do
    cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text-$i" || fail "text $i is wrong"
done
cat "$VGR_SCRATCH/device.log" "$VGR_SCRATCH/dmesg" "$VGR_SCRATCH/vm.log"
[ ! -e "$VGR_SCRATCH/stuck" ] || fail "in unkillable sleep: $(cat "$VGR_SCRATCH/stuck")"
[ ! -s "$VGR_SCRATCH/vm.log" ] || fail "QEMU logged something"
[ ! -s "$VGR_SCRATCH/dmesg" ] || fail "the guest's kernel logged something"
[ "$(grep -c 'VM taken over' "$VGR_SCRATCH/device.log")" -eq $rounds ] || fail "not taken over"
kill "$device"
wait "$device" || fail "vgr-device ends with status $?"
wait_for 5 eval '! keeper' || fail "vgr-keeper outlives its machine"
[ ! -e "$vm_socket.keeper" ] || fail "vgr-keeper's socket is left"
echo "$rounds times, at most $slowest ms to fail"
