#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 400 14
#
# A guest that resets the virtio-gpu in which the bridge is, by taking its driver away while a program
# computes, ends that program's worker; the program gets GGML's failure and ends; and when the driver
# is back the next program gives the right text. With arenas in blobs and in the guest's memory.
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
for i in 1 2; do
    : >/run/vgr/endless
    "${completion[@]}" -n 100000 -c 0 >/run/vgr/endless 2>/run/vgr/log &
    pid=$!
    until [ "$(stat -c %s /run/vgr/endless)" -ge 60 ]; do
        kill -0 $pid || exit 11
        sleep 0.1
    done
    echo "$device" >"$driver/unbind" || exit 12
    wait $pid
    echo "ended with status $?" >>/run/vgr/ended
    echo "$device" >"$driver/bind" || exit 13
    "$whole" "${completion[@]}" >/run/vgr/text-$i 2>/run/vgr/log || exit 14
done
TEXT
for hostmem in 256M off; do
    rm -f "$VGR_SCRATCH"/{ended,endless,text-1,text-2}
    VGR_HOSTMEM=$hostmem "$vm" --front virgl --device CPU --work "$VGR_SCRATCH" -- \
        bash /run/vgr/guest.sh "$whole" "${completion[@]}" >"$VGR_SCRATCH/vm.log" 2>&1 || {
        status=$?
        cat "$VGR_SCRATCH/vm.log"
        tail -n 5 "$VGR_SCRATCH/log"
        fail "hostmem=$hostmem: the guest ended with status $status"
    }
    cat "$VGR_SCRATCH/ended" "$VGR_SCRATCH/vm.log"
    for i in 1 2; do
        cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text-$i" || fail "hostmem=$hostmem: text $i is wrong"
    done
done
echo "4 resets, 4 texts right"
