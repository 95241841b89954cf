#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 180 4
#
# Rows that a matrix does not have are nobody else's bytes, on a GPU's driver: lavapipe here. On the CPU,
# the same program is a test of meson's.
. "$VGR_TOP/tests/direct/lib.sh"

host_gpu_env
export VGR_DEVICE=$vgr_device RAW_DEVICE=Vulkan0
"$build/tests/direct/wrong_indices" >"$VGR_SCRATCH/log" 2>&1 || {
    cat "$VGR_SCRATCH/log"
    fail "see above"
}
grep '^MiB behind' "$VGR_SCRATCH/log" || fail "nothing was looked up"
