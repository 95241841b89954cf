#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A guest whose GGML has other op numbers gets the same text: the host goes by the names.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
on_host 48 >"$VGR_SCRATCH/want"
"$vgr_run" --device CPU --by-path -- env GGML_BACKEND_PATH="$build/src/guest/libggml-virtgpu-permuted.so" \
    "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" ||
    fail "$(tail -n 5 "$VGR_SCRATCH/log")"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the text is wrong"
echo "identical"
