#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 14
#
# A guest suspends to RAM while the host computes for a program in it, and is woken. Its kernel does not
# bring the device's queues back, so: the program gets GGML's failure, and so does a new one, within seconds;
# once the driver is bound anew, which gives the node another name, both work. On the host nothing of the
# context is left, and vgr-device holds in the end what it held before.
. "$VGR_TOP/tests/direct/lib.sh"

front=${VGR_FRONT:-vhost-user} vm_socket=$VGR_SCRATCH/vm.sock qmp=$VGR_SCRATCH/qmp
: >"$VGR_SCRATCH/device.log"
if [ "$front" = vhost-user ]; then
    setpriv --pdeathsig KILL "$vgr_device" --socket-path "$vm_socket" --device CPU \
        >"$VGR_SCRATCH/device.log" 2>&1 &
    device=$!
    wait_for 10 listening "$vm_socket" || fail "no vgr-device: $(cat "$VGR_SCRATCH/device.log")"
    before=$(holdings)
    attach=(--socket "$vm_socket")
else # it lives as long as the machine
    attach=(--device CPU --work "$VGR_SCRATCH")
fi
setpriv --pdeathsig TERM "$vm" "${attach[@]}" --qemu-arg -global --qemu-arg ICH9-LPC.disable_s3=0 \
    --qemu-arg -qmp --qemu-arg "unix:$qmp,server=on,wait=off" --timeout 240 \
    -- "$build/tests/vm/suspend_guest" >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/vm.log" &
machine=$!
said() {
    grep -q "^$1" "$VGR_SCRATCH/out"
}
# until_said SECONDS LINE: the guest says LINE, or what went wrong
until_said() {
    wait_for "$1" eval "said '$2' || said end || ! kill -0 $machine 2>/dev/null" || true
    said "$2" || {
        cat "$VGR_SCRATCH/out" "$VGR_SCRATCH/device.log"
        tail -n 9 "$VGR_SCRATCH/vm.log"
        fail "the guest did not say: $2"
    }
}
wait_for 60 test -S "$qmp" || fail "no QEMU: $(tail -n 9 "$VGR_SCRATCH/vm.log")"
[ "$front" = vhost-user ] || device=$(cat "$VGR_SCRATCH/vgr-device.pid")
timeout 200 "$VGR_TOP/tests/vm/qmp-wake.py" "$qmp" "$VGR_SCRATCH/asleep" "$VGR_SCRATCH/wake" \
    >"$VGR_SCRATCH/qmp.log" 2>&1 &
waker=$!
until_said 120 computing
wait_for 60 test -e "$VGR_SCRATCH/asleep" ||
    fail "the guest does not suspend: $(cat "$VGR_SCRATCH/qmp.log" "$VGR_SCRATCH/out")"
# A device of 3D graphics is reset when the machine wakes, the other one when it falls asleep.
[ "$front" = virgl ] || wait_for 10 no_worker || fail "a worker runs for a guest that sleeps"
touch "$VGR_SCRATCH/wake"
wait $waker || fail "the guest is not woken: $(cat "$VGR_SCRATCH/qmp.log")"
until_said 60 'open context fails'
wait_for 10 no_worker || fail "a worker outlives its context"
until_said 120 'same program works'
! grep failed: "$VGR_SCRATCH/out" || fail "see above"
# The program that is still there keeps its connection.
wait_for 10 one_worker || fail "workers of closed contexts: $(workers)"
kill $machine
wait $machine || true
if [ "$front" = vhost-user ]; then
    same_holdings "$before"
    kill "$device"
    wait "$device" || fail "vgr-device ends with status $?: $(cat "$VGR_SCRATCH/device.log")"
fi
echo "$(grep -E 'fails|works' "$VGR_SCRATCH/out" | paste -sd, | sed 's/,/, /g')"
