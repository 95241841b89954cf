#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 180 10
#
# QEMU without shared guest memory: vgr-device, or the bridge, says what to add, once, and the guest's
# programs list no device and end by themselves.
. "$VGR_TOP/tests/lib.sh"

# The bridge's own blobs would do without the guest's memory.
VGR_SHARE=off VGR_HOSTMEM=off "$vm" --device CPU --work "$VGR_SCRATCH" -- bash -c '
    llama-bench --list-devices >/run/vgr/list 2>/run/vgr/log' 2>"$VGR_SCRATCH/vm.log" || {
    cat "$VGR_SCRATCH/vm.log"
    fail "the guest's program did not end well"
}
cat "$VGR_SCRATCH/list" "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log"
grep -q '(none)' "$VGR_SCRATCH/list" || fail "a device is listed"
told=$(grep -cE 'guest memory is not shared: add share=on|memory backend needs share=on' \
    "$VGR_SCRATCH/vm.log" || true)
[ "$told" -eq 1 ] || fail "told $told times"
echo "told once, no devices"
