#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 600 14
#
# A guest's Vulkan device (venus) is the same with the bridge as without it, and computes beside
# VirtGPU0, which is in the same virtio-gpu.
. "$VGR_TOP/tests/lib.sh"

cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
export VK_DRIVER_FILES=/usr/share/vulkan/icd.d/virtio_icd.json GGML_VK_VISIBLE_DEVICES=0
llama-bench --list-devices >/run/vgr/list 2>/run/vgr/log || exit 11
for device in "$@"; do
    /usr/libexec/*/ggml/test-backend-ops test -b "$device" -o SCALE,SUM_ROWS &
done
for device in "$@"; do
    wait -n || exit 12
done
TEXT
# The render server of venus takes lavapipe, too, where there is no GPU.
export VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json
"$vm" --front gl --venus --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh ||
    fail "without the bridge: status $?: $(tail -n 5 "$VGR_SCRATCH/log")"
grep '^  Vulkan0: Virtio-GPU Venus' "$VGR_SCRATCH/list" >"$VGR_SCRATCH/want" || fail "no venus"
"$vm" --front virgl --venus --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh VirtGPU0 \
    Vulkan0 >"$VGR_SCRATCH/out" 2>&1 ||
    fail "with the bridge: status $?: $(tail -n 5 "$VGR_SCRATCH/log" "$VGR_SCRATCH/out")"
cat "$VGR_SCRATCH/list" "$VGR_SCRATCH/out"
grep '^  Vulkan0: ' "$VGR_SCRATCH/list" | sed 's/ (.*//' |
    cmp - <(sed 's/ (.*//' "$VGR_SCRATCH/want") || fail "another Vulkan device"
grep -q '^  VirtGPU0: ' "$VGR_SCRATCH/list" || fail "no VirtGPU0"
cases=$(sed 's/\x1b\[[0-9;]*m//g' "$VGR_SCRATCH/out" |
    awk '/tests passed$/ { split($1, n, "/"); if (n[1] == n[2]) sum += n[1] } END { print sum + 0 }')
[ "$cases" -ge 20 ] || fail "fewer than twenty cases passed"
echo "venus and VirtGPU0, $cases cases"
