#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 600 14
#
# A guest that resets the virtio-gpu in which the bridge is, by taking its driver away while a program
# computes, ends that program's worker; the program gets GGML's failure and ends; and when the driver
# is back the next program gives the right text. With arenas in blobs and in the guest's memory.
#
# Linux's driver (7.2) may be taken away while its interrupt still looks through the queue; then the guest's
# kernel stops in the middle of that ("kernel BUG at drivers/virtio/virtio_ring.c"), and its new driver gets
# no answers. That says nothing of ours: such a guest is booted anew, twice at most.
. "$VGR_TOP/tests/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
whole=$1
shift
completion=("$@" -dev VirtGPU0 -ngl 99)
driver=/sys/bus/virtio/drivers/virtio_gpu
device=$(basename "$driver"/virtio*)
give_up() {
    ! dmesg | grep -A 40 'kernel BUG at drivers/virtio/' >/run/vgr/kernel-bug || exit 77
    exit "$1"
}
for i in 1 2; do
    : >/run/vgr/endless
    "${completion[@]}" -n 100000 -c 0 >/run/vgr/endless 2>/run/vgr/log &
    pid=$!
    until [ "$(stat -c %s /run/vgr/endless)" -ge 60 ]; do
        kill -0 $pid || give_up 11
        sleep 0.1
    done
    echo "$device" >"$driver/unbind" || give_up 12
    wait $pid
    echo "ended with status $?" >>/run/vgr/ended
    echo "$device" >"$driver/bind" || give_up 13
    "$whole" "${completion[@]}" >/run/vgr/text-$i 2>/run/vgr/log || give_up 14
done
TEXT
boots=0
for hostmem in 256M off; do
    status=77
    for ((n = 0; n < 3 && status == 77; n++)); do
        rm -f "$VGR_SCRATCH"/{ended,endless,text-1,text-2}
        boots=$((boots + 1)) status=0
        VGR_HOSTMEM=$hostmem "$vm" --front virgl --device CPU --work "$VGR_SCRATCH" -- \
            bash /run/vgr/guest.sh "$whole" "${completion[@]}" >"$VGR_SCRATCH/vm.log" 2>&1 || status=$?
        [ $status -ne 77 ] || cat "$VGR_SCRATCH/kernel-bug"
    done
    [ $status -eq 0 ] || {
        cat "$VGR_SCRATCH/vm.log"
        tail -n 5 "$VGR_SCRATCH/log"
        fail "hostmem=$hostmem: the guest ended with status $status"
    }
    cat "$VGR_SCRATCH/ended" "$VGR_SCRATCH/vm.log"
    for i in 1 2; do
        cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text-$i" || fail "hostmem=$hostmem: text $i is wrong"
    done
done
echo "4 resets, 4 texts right, $boots boots"
