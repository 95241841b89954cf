#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 600 12
#
# The same as llama-vulkan, through the bridge in a virtio-gpu with 3D graphics.
set -eu
"$VGR_TOP/tools/vgr-demo" --front virgl --device Vulkan0 --model tiny16 --tokens 32 |
    tee "$VGR_SCRATCH/out"
tail -n 1 "$VGR_SCRATCH/out" | grep -q '^demo: VirtGPU0 (.*): 32 tokens, identical to the host: yes$'
