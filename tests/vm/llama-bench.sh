#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 12
#
# llama-bench runs in a guest, and generates at least three times as fast as ggml-rpc does over
# QEMU's user-mode network (measured: 55 tokens/s), in a guest without KVM.
. "$VGR_TOP/tests/vm/lib.sh"

model tiny16
"$vm" --device CPU -- llama-bench -m "$model" -dev VirtGPU0 -ngl 99 -p 32 -n 64 -r 3 -o jsonl \
    >"$VGR_SCRATCH/out"
cat "$VGR_SCRATCH/out"
[ "$(grep -c '"avg_ts"' "$VGR_SCRATCH/out")" -eq 2 ] || fail "not two results"
grep -q '"backends": "[^"]*VirtGPU' "$VGR_SCRATCH/out" || fail "not on VirtGPU"
speed=$(sed -n 's/.*"n_gen": 64.*"avg_ts": \([0-9]*\).*/\1/p' "$VGR_SCRATCH/out")
[ "$speed" -ge 165 ] || fail "$speed tokens/s, 165 are wanted"
echo "$speed tokens/s"
