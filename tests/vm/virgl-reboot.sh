#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 600 14
#
# A machine with the bridge in its virtio-gpu is reset by QEMU, and one by its own kernel too, while a
# program computes. The worker is gone before the guest runs again, since what it writes to may be another
# kernel's memory then; new programs in the same QEMU give the right text; the broker holds what it held
# before. With arenas in blobs and in the guest's memory.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16
# The guest begins anew after each reset, and goes on by what it finds in the work folder.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
cd /run/vgr
resets=$1 whole=$2
shift 2
completion=("$@" -dev VirtGPU0 -ngl 99)
busy() {
    : >endless # or the text of an earlier one is taken for its own
    "${completion[@]}" -n 100000 -c 0 >endless 2>>log </dev/null &
    while [ "$(stat -c %s endless)" -lt 60 ]; do
        kill -0 $! || exit 12
        sleep 0.1
    done
    touch "$1"
}
works() {
    touch "boot-$1"
    "$whole" "${completion[@]}" >"text-$1" 2>>log || exit 11
}
if [ ! -e busy-1 ]; then
    while [ ! -e go ]; do sleep 0.1; done
    busy busy-1
    sleep 600 # QEMU resets the machine
fi
if [ ! -e busy-2 ]; then
    works 1
    if [ "$resets" -eq 2 ]; then
        busy busy-2
        while [ ! -e reset-2 ]; do sleep 0.1; done
        echo b >/proc/sysrq-trigger
        sleep 600
    fi
else
    works 2
fi
touch rests
while [ ! -e end ]; do sleep 0.1; done
TEXT
# Returns when the machine has been reset: its guest may run from then on.
qmp_reset() {
    timeout 30 python3 - "$work/qmp" <<'TEXT'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
f.readline()
for command in "qmp_capabilities", "system_reset":
    f.write(json.dumps({"execute": command}) + "\n")
    f.flush()
    while True:
        answer = json.loads(f.readline())
        if command == "system_reset" and answer.get("event") == "RESET" or \
                command != "system_reset" and "return" in answer:
            break
TEXT
}
told() {
    tail -n 20 "$work/log" "$VGR_SCRATCH/vm.log"
}
there() {
    wait_for 240 eval "[ -e '$work/$1' ] || ! kill -0 $machine 2>/dev/null" || true
    [ -e "$work/$1" ] || { told && fail "$hostmem: no $1"; }
}

all=0
for hostmem in 256M off; do
    resets=1 kind='a blob'
    [ $hostmem = 256M ] || resets=2 kind="in the guest's memory"
    work=$VGR_SCRATCH/$hostmem
    mkdir "$work"
    cp "$VGR_SCRATCH/guest.sh" "$work"
    VGR_HOSTMEM=$hostmem VGR_VIRGL_LOG=info setpriv --pdeathsig TERM "$vm" --front virgl --device CPU \
        --work "$work" --qemu-arg -action --qemu-arg reboot=reset \
        --qemu-arg -qmp --qemu-arg "unix:$work/qmp,server=on,wait=off" \
        -- bash /run/vgr/guest.sh $resets "$whole" "${completion[@]}" >"$VGR_SCRATCH/vm.log" 2>&1 &
    machine=$!
    there vgr-device.pid
    device=$(cat "$work/vgr-device.pid")
    before=$(holdings)
    touch "$work/go"
    there busy-1
    one_worker || fail "$hostmem: not one worker: $(workers)"
    qmp_reset || fail "$hostmem: no reset"
    # In a blob it may write a moment longer: that is nobody's memory.
    [ $hostmem = 256M ] || no_worker || fail "a worker has memory of the machine after its reset"
    wait_for 5 no_worker || fail "$hostmem: workers outlive QEMU's reset: $(workers)"
    [ ! -e "$work/boot-1" ] || fail "$hostmem: the guest runs again already"
    if [ $resets -eq 2 ]; then
        there busy-2
        one_worker || fail "$hostmem: not one worker: $(workers)"
        touch "$work/reset-2"
        wait_for 20 no_worker || fail "$hostmem: workers outlive the kernel's reset: $(workers)"
        [ ! -e "$work/boot-2" ] || fail "$hostmem: the guest runs again already"
    fi
    there rests
    same_holdings "$before"
    touch "$work/end"
    wait $machine || { told && fail "$hostmem: the guest failed"; }
    cat "$VGR_SCRATCH/vm.log"
    ! grep -E 'vgr-virgl: (warning|error)' "$VGR_SCRATCH/vm.log" || fail "$hostmem: the bridge complains"
    n=$(grep -c "^vgr-virgl: guest context .* opens an arena of 64 MiB, $kind\$" "$VGR_SCRATCH/vm.log")
    [ "$n" -eq $((2 * resets)) ] || fail "$hostmem: $n arenas are $kind, not $((2 * resets))"
    for ((i = 1; i <= resets; i++)); do
        cmp "$VGR_SCRATCH/want" "$work/text-$i" || fail "$hostmem: text $i is wrong"
        all=$((all + 1))
    done
done
echo "$all resets, $all texts right, the broker holds $before"
