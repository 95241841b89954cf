#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 400 12
#
# An LLM in a guest on the host's Vulkan0 gives the very text that it gives on the host.
set -eu
"$VGR_TOP/tools/vgr-demo" --device Vulkan0 --model tiny16 --tokens 32 | tee "$VGR_SCRATCH/out"
tail -n 1 "$VGR_SCRATCH/out" | grep -q '^demo: VirtGPU0 (.*): 32 tokens, identical to the host: yes$'
