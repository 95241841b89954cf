#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# An LLM on VirtGPU0 with the CPU behind it gives the very text that the CPU gives. The prompt is
# longer than a batch, and the text crosses the 256 tokens at which its graphs change shape.
# So it does in the strict sandbox.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
prompt=$(printf 'the quick brown fox jumps over the lazy dog, %.0s' 1 2 3 4)
completion "$model" 300
completion+=(-p "$prompt" -b 64 -ub 32)
"$whole" "${completion[@]}" -dev none --no-repack -t "$(nproc)" >"$VGR_SCRATCH/want" 2>/dev/null
[ "$(wc -c <"$VGR_SCRATCH/want")" -gt 300 ] || fail "the CPU's own text is too short"
for sandbox in relaxed strict; do
    "$vgr_run" --device CPU --sandbox "$sandbox" -- "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 \
        >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" || fail "$sandbox: $(tail -n 5 "$VGR_SCRATCH/log")"
    cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "$sandbox: the text is wrong"
done
echo "$(wc -c <"$VGR_SCRATCH/text") bytes of text"
