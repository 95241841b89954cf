#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 180 4
#
# Device memory is zero to the last byte when a guest gets it, also on a GPU's driver, which does not
# care: on lavapipe here. On the CPU, the same program is a test of meson's.
. "$VGR_TOP/tests/direct/lib.sh"

host_gpu_env
export VGR_DEVICE=$vgr_device RAW_DEVICE=Vulkan0
"$build/tests/direct/fresh_memory" >"$VGR_SCRATCH/log" 2>&1 || {
    cat "$VGR_SCRATCH/log"
    fail "see above"
}
cases=$(grep -c '       OK ' "$VGR_SCRATCH/log" || true)
[ "$cases" -ge 8 ] || fail "$cases cases"
echo "$cases cases on Vulkan0, $(grep 'bytes of fresh' "$VGR_SCRATCH/log")"
