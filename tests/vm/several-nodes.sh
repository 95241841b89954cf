#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 300 10
#
# In a guest that has other render nodes too, a stock virtio-gpu before ours and the kernel's vgem
# after it, VirtGPU0 is found and computes. A guest that has only the others lists no device, and
# the plugin does not say a word.
. "$VGR_TOP/tests/lib.sh"

cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
modprobe vgem || exit 11
ls /dev/dri/renderD* >/run/vgr/nodes
VGR_LOG=debug llama-bench --list-devices >/run/vgr/list 2>/run/vgr/debug || exit 12
if [ "$1" = compute ]; then
    exec /usr/libexec/*/ggml/test-backend-ops test -b VirtGPU0 -o SCALE,SUM_ROWS
fi
llama-bench --list-devices >/run/vgr/quiet-list 2>/run/vgr/log || exit 13
TEXT
# Without outputs, since QEMU's display draws for the first device that has some.
stock=(--qemu-arg -device --qemu-arg 'virtio-gpu-pci,max_outputs=0')
# boot OPTION...: sets $status
boot() {
    rm -f "$VGR_SCRATCH"/{nodes,list,quiet-list,debug,log}
    status=0
    "$vm" "${stock[@]}" --work "$VGR_SCRATCH" "$@" >"$VGR_SCRATCH/out" 2>&1 || status=$?
    cat "$VGR_SCRATCH"/{nodes,debug,list,out}
}

boot --device CPU -- bash /run/vgr/guest.sh compute
[ "$status" -eq 0 ] || fail "the guest ended with status $status"
[ "$(wc -l <"$VGR_SCRATCH/nodes")" -eq 3 ] || fail "not three render nodes"
grep -q 'renderD128: virtio-gpu without a vgr capset' "$VGR_SCRATCH/debug" ||
    fail "renderD128 is not another virtio-gpu"
grep -qE 'renderD129: (vgr|bridged) device' "$VGR_SCRATCH/debug" || fail "renderD129 is not ours"
[ "$(grep -c '^  [A-Za-z]*[0-9]*: ' "$VGR_SCRATCH/list")" -eq 1 ] || fail "not one device"
grep -q '^  VirtGPU0: ' "$VGR_SCRATCH/list" || fail "no VirtGPU0"
cases=$(sed 's/\x1b\[[0-9;]*m//g' "$VGR_SCRATCH/out" |
    sed -n 's|^ *\([0-9]*\)/\1 tests passed$|\1|p')
[ "${cases:-0}" -ge 5 ] || fail "fewer than five cases passed"

boot --front none -- bash /run/vgr/guest.sh look
[ "$status" -eq 0 ] || fail "the guest without ours ended with status $status"
[ "$(wc -l <"$VGR_SCRATCH/nodes")" -eq 2 ] || fail "not two render nodes"
grep -q '(none)' "$VGR_SCRATCH/list" && grep -q '(none)' "$VGR_SCRATCH/quiet-list" ||
    fail "a device is listed"
grep -q 'renderD128: virtio-gpu without a vgr capset' "$VGR_SCRATCH/debug" &&
    grep -q 'renderD129: another kind of GPU' "$VGR_SCRATCH/debug" || fail "it was not looked at"
! grep 'ggml-virtgpu: ' "$VGR_SCRATCH/log" || fail "the plugin says something"
echo "3 nodes: $cases cases; 2 foreign nodes: no device, no line"
