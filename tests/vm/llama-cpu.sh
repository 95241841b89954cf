#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 300 12
#
# An LLM in a guest on the host's CPU gives the very text that it gives on the host.
set -eu
"$VGR_TOP/tools/vgr-demo" --device CPU --model tiny16 --tokens 48 | tee "$VGR_SCRATCH/out"
tail -n 1 "$VGR_SCRATCH/out" | grep -q '^demo: VirtGPU0 (.*): 48 tokens, identical to the host: yes$'
