#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 400 4
#
# An LLM on VirtGPU0 with Vulkan0 behind it gives the very text that Vulkan0 gives, in the strict sandbox too.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
completion "$model" 64
(
    host_gpu_env
    "$whole" "${completion[@]}" -dev Vulkan0 -ngl 99 >"$VGR_SCRATCH/want" 2>"$VGR_SCRATCH/log"
) || fail "$(tail -n 5 "$VGR_SCRATCH/log")"
mkdir -m 700 "$VGR_SCRATCH/shaders"
run=("$vgr_run" --device Vulkan0 --shader-cache "$VGR_SCRATCH/shaders")
VGR_STATS=1 "${run[@]}" -- "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 \
    >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" || fail "$(tail -n 5 "$VGR_SCRATCH/log")"
find "$VGR_SCRATCH/shaders" -type f | grep -q . || fail "no shader was kept"
"${run[@]}" --sandbox strict -- "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 \
    >"$VGR_SCRATCH/strict" 2>"$VGR_SCRATCH/log.strict" ||
    fail "strict: $(tail -n 5 "$VGR_SCRATCH/log.strict")"
[ "$(wc -c <"$VGR_SCRATCH/want")" -gt 64 ] || fail "Vulkan's own text is too short"
# The device has a say in the order of nodes: it was asked, and not for every token.
misses=$(sed -n 's/.* order_misses=\([0-9]*\).*/\1/p' "$VGR_SCRATCH/log")
[ "${misses:-0}" -ge 1 ] && [ "$misses" -le 16 ] || fail "asked for an order ${misses:-0} times"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the text is wrong"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/strict" || fail "strict: the text is wrong"
echo "$(wc -c <"$VGR_SCRATCH/text") bytes of text"
