#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 240 10
#
# A guest's program whose user may not open the render node lists no device, gets one line that says
# why, and does its work on the CPU. The same user in the group of the node has the device.
. "$VGR_TOP/tests/lib.sh"

model tiny
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
chown root:render /dev/dri/renderD128
chmod 660 /dev/dri/renderD128
as() {
    setpriv --reuid=65534 --regid=65534 "$@"
}
as --clear-groups llama-bench --list-devices >/run/vgr/list 2>/run/vgr/log || exit 11
as --clear-groups llama-bench -m "$1" -p 4 -n 2 -r 1 -o jsonl >/run/vgr/speeds 2>/dev/null || exit 12
as --groups render llama-bench --list-devices >/run/vgr/list2 2>/run/vgr/log2 || exit 13
TEXT
status=0
"$vm" --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$model" || status=$?
cat "$VGR_SCRATCH"/{list,log,speeds,list2,log2} || true
[ "$status" -eq 0 ] || fail "the guest ended with status $status"
grep -q '(none)' "$VGR_SCRATCH/list" || fail "a device is listed"
[ "$(grep -c 'ggml-virtgpu: ' "$VGR_SCRATCH/log")" -eq 1 ] || fail "not one line"
grep -q "ggml-virtgpu: no permission to open /dev/dri/renderD128 (is the user in the group 'render'?)" \
    "$VGR_SCRATCH/log" || fail "another line"
[ "$(grep -c '"avg_ts"' "$VGR_SCRATCH/speeds")" -eq 2 ] || fail "the program does not work"
grep -q '^  VirtGPU0: ' "$VGR_SCRATCH/list2" || fail "no VirtGPU0 in the group"
! grep 'ggml-virtgpu: ' "$VGR_SCRATCH/log2" || fail "a line where all is well"
echo "one line, no device; in the group: VirtGPU0"
