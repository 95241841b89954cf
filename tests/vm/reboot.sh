#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 900 15
#
# A guest is reset by QEMU and by its own kernel while programs compute, stops programs for longer than any
# limit and lets them go on, has no memory for an arena, and kills a program to get some; at last QEMU
# is killed. Each time the workers of what is gone are gone, what lives goes on with the right
# text, and new programs work, in the same machine or the next one, on the same vgr-device.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
on_host 400 >"$VGR_SCRATCH/want-long"
completion "$model" 16
vm_socket=$VGR_SCRATCH/vm.sock
setpriv --pdeathsig KILL "$vgr_device" --socket-path "$vm_socket" --device CPU --graph-timeout 5 \
    >"$VGR_SCRATCH/device.log" 2>&1 &
device=$!
wait_for 10 listening "$vm_socket" || fail "no vgr-device: $(cat "$VGR_SCRATCH/device.log")"
before=$(holdings)

# The guest begins anew after each reset, and goes on by what it finds in the work folder, where it and this
# script take turns.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
cd /run/vgr
whole=$1
shift
completion=("$@" -dev VirtGPU0 -ngl 99)
# busy NAME: an endless completion, which computes; sets $program
busy() {
    : >endless # or the text of an earlier one is taken for its own
    "${completion[@]}" -n 100000 -c 0 >endless 2>>log </dev/null &
    program=$!
    while [ "$(stat -c %s endless)" -lt 60 ]; do sleep 0.1; done
    touch "$1"
}
works() {
    "$whole" "${completion[@]}" >"text-$1" 2>>log || exit 11
}
# until the host says so
turn() {
    touch "$1"
    while [ ! -e "$2" ]; do sleep 0.1; done
}
if [ ! -e busy-1 ]; then
    busy tmp
    busy busy-1
    sleep 600 # QEMU resets the machine
elif [ ! -e busy-2 ]; then
    works 1
    busy busy-2
    while [ ! -e reset-2 ]; do sleep 0.1; done
    echo b >/proc/sysrq-trigger
    sleep 600
fi
works 2
# Stopped in mid-run, for longer than the program waits for the host and than a graph may take.
"$whole" "${completion[@]}" -n 400 >text-long 2>>log &
program=$!
until grep -aq 'n_predict = 400' log; do sleep 0.05; done
stops=0
for i in 1 2; do
    sleep 0.3
    pkill -STOP -x llama-completio && stops=$((stops + 1))
    sleep 7
    pkill -CONT -x llama-completio
done
echo "$stops" >stops
wait "$program" || exit 12
# An arena larger than the machine's memory: a smaller one is taken, or none; the program lives.
VGR_ARENA=3G timeout 120 "$whole" "${completion[@]}" >text-arena 2>arena.log
echo "$?" >arena
# The kernel needs memory, and this program is the one to go.
busy tmp-2
turn busy-3 go-3
echo 1000 >"/proc/$program/oom_score_adj"
timeout 120 python3 -c '
blocks = []
while True:
    blocks.append(bytearray(64 << 20))
    if not __import__("os").path.exists("/proc/'$program'/mem") or \
            open("/proc/'$program'/stat").read().split(") ")[1][0] == "Z":
        break' 2>>log
wait "$program"
echo "$?" >oom
turn oom-over go-4
works 3
busy busy-4
sleep 600 # QEMU is killed
TEXT

boot() {
    setpriv --pdeathsig TERM "$vm" --socket "$vm_socket" --work "$VGR_SCRATCH" \
        --qemu-arg -action --qemu-arg reboot=reset \
        --qemu-arg -qmp --qemu-arg "unix:$VGR_SCRATCH/qmp,server=on,wait=off" \
        -- "$@" >"$VGR_SCRATCH/vm.log" 2>&1 &
    machine=$!
}
qmp() {
    python3 - "$VGR_SCRATCH/qmp" "$1" <<'TEXT'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
f.readline()
for command in "qmp_capabilities", sys.argv[2]:
    f.write(json.dumps({"execute": command}) + "\n")
    f.flush()
    while "return" not in json.loads(f.readline()):
        pass
TEXT
}
there() {
    wait_for "$1" eval "[ -e '$VGR_SCRATCH/$2' ] || ! kill -0 $machine 2>/dev/null" || true
    [ -e "$VGR_SCRATCH/$2" ] || {
        tail -n 20 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log" "$VGR_SCRATCH/device.log"
        fail "no $2"
    }
}
working() {
    [ "$(workers | wc -w)" -eq "$1" ]
}
# has N: as many workers are there
has() {
    wait_for 10 working "$1" || {
        tail -n 20 "$VGR_SCRATCH/log" "$VGR_SCRATCH/device.log"
        fail "not $1 workers: $(workers)"
    }
}

boot bash /run/vgr/guest.sh "$whole" "${completion[@]}"
there 120 busy-1
has 2
qmp system_reset
wait_for 20 no_worker || fail "workers outlive QEMU's reset: $(workers)"
there 120 busy-2
has 1
touch "$VGR_SCRATCH/reset-2"
wait_for 20 no_worker || fail "workers outlive the kernel's reset: $(workers)"
there 300 busy-3
cat "$VGR_SCRATCH/arena" "$VGR_SCRATCH/arena.log"
has 1
touch "$VGR_SCRATCH/go-3"
there 180 oom-over
wait_for 10 no_worker || fail "the worker outlives the program that the kernel killed"
touch "$VGR_SCRATCH/go-4"
there 120 busy-4
has 1
pkill -KILL -f "^qemu-system.*unix:$VGR_SCRATCH/qmp,server" || fail "no QEMU"
wait_for 10 no_worker || fail "workers outlive QEMU: $(workers)"
wait $machine || true
wait_for 5 eval 'grep -q "VM gone" "$VGR_SCRATCH/device.log"' || fail "vgr-device has not noticed"

cat "$VGR_SCRATCH/device.log"
for i in 1 2 3; do
    cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text-$i" || fail "text $i is wrong"
done
cmp "$VGR_SCRATCH/want-long" "$VGR_SCRATCH/text-long" || fail "the stopped program's text is wrong"
[ "$(cat "$VGR_SCRATCH/stops")" -eq 2 ] || fail "it was not stopped twice"
[ "$(cat "$VGR_SCRATCH/arena")" -ne 0 ] || cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text-arena" ||
    fail "text-arena is wrong"
[ "$(cat "$VGR_SCRATCH/oom")" -eq 137 ] || fail "the kernel did not kill it: $(cat "$VGR_SCRATCH/oom")"

boot bash -c '"$@" -dev VirtGPU0 -ngl 99 >/run/vgr/text-next 2>>/run/vgr/log' sh "$whole" "${completion[@]}"
wait $machine || fail "the next machine: status $?: $(tail -n 5 "$VGR_SCRATCH/vm.log")"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text-next" || fail "the next machine's text is wrong"
same_holdings "$before"
kill "$device"
wait "$device" || fail "vgr-device ends with status $?"
echo "2 resets, 2 stops, 1 without memory, 1 killed for memory, QEMU killed, and the next machine"
