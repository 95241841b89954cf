#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 4
#
# VGR_ARENA over the host's limit gets the limit, one that is no size is named in one line and the
# host's proposal used; either way the program works.
. "$VGR_TOP/tests/direct/lib.sh"

serve --device CPU --arena-size 8M --arena-max 16M
for try in 2G:16 16M:16 4M:4 nonsense:8; do
    on_device env VGR_LOG=debug VGR_ARENA="${try%:*}" /usr/libexec/*/ggml/test-backend-ops \
        -b VirtGPU0 -o SQR >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" ||
        fail "VGR_ARENA=$try: status $?"
    grep -q '6/6 tests passed' "$VGR_SCRATCH/text" || fail "VGR_ARENA=$try: no computation"
    grep -q "arena ${try#*:} MiB" "$VGR_SCRATCH/log" ||
        fail "VGR_ARENA=$try: $(grep -i virtgpu "$VGR_SCRATCH/log")"
done
[ "$(grep -c 'VGR_ARENA=nonsense is not a size' "$VGR_SCRATCH/log")" -eq 1 ] ||
    fail "nothing, or too much, was said"
stop_serving
echo "limits kept"
