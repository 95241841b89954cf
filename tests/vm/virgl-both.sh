#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 300 12
#
# A guest that has a vhost-user device and a bridge in its virtio-gpu with 3D graphics lists the devices
# of both, and computes on both, also on both in one program.
. "$VGR_TOP/tests/lib.sh"

cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
VGR_LOG=debug llama-bench --list-devices >/run/vgr/list 2>/run/vgr/log || exit 11
for device in VirtGPU0 VirtGPU1; do
    /usr/libexec/*/ggml/test-backend-ops test -b $device -o SCALE,SUM_ROWS || exit 12
done
"$@" -dev VirtGPU0,VirtGPU1 -ngl 99 >/run/vgr/text 2>>/run/vgr/log || exit 13
TEXT
model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16
"$vm" --front both --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$whole" \
    "${completion[@]}" >"$VGR_SCRATCH/out" 2>&1 || {
    status=$?
    tail -n 20 "$VGR_SCRATCH/out" "$VGR_SCRATCH/log"
    fail "the guest ended with status $status"
}
cat "$VGR_SCRATCH/list" "$VGR_SCRATCH/out"
grep -q 'renderD.*: bridged device' "$VGR_SCRATCH/log" || fail "no bridged device"
grep -q 'renderD.*: vgr device' "$VGR_SCRATCH/log" || fail "no vhost-user device"
[ "$(grep -c '^  VirtGPU[01]: ' "$VGR_SCRATCH/list")" -eq 2 ] || fail "not two devices"
cases=$(sed 's/\x1b\[[0-9;]*m//g' "$VGR_SCRATCH/out" |
    awk '/tests passed$/ { split($1, n, "/"); if (n[1] == n[2]) sum += n[1] } END { print sum + 0 }')
[ "$cases" -ge 10 ] || fail "fewer than ten cases passed"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the text is wrong"
echo "2 devices, $cases cases, the right text on both at once"
