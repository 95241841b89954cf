#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 600 12
#
# An LLM in a guest that has no device of ours but a bridge in its virtio-gpu with 3D graphics gives
# the very text that it gives on the host: with the arena in a blob, of a machine whose memory is not
# shared; and with the arena in the guest's memory, of a machine without a window for blobs.
. "$VGR_TOP/tests/lib.sh"

export VGR_VIRGL_LOG=info
# text NAME ARENA: the rest of the environment is the caller's
text() {
    "$VGR_TOP/tools/vgr-demo" --front virgl --device CPU --tokens 32 >"$VGR_SCRATCH/$1" 2>&1 ||
        { cat "$VGR_SCRATCH/$1" && fail "$1: status $?"; }
    cat "$VGR_SCRATCH/$1"
    grep -q "^vgr-virgl: guest context .* opens an arena of 64 MiB, $2\$" "$VGR_SCRATCH/$1" ||
        fail "$1: the arena is not $2"
    grep -q '^demo: VirtGPU0 (.*): 32 tokens, identical to the host: yes$' "$VGR_SCRATCH/$1" ||
        fail "$1: no text"
}
VGR_SHARE=off text blob 'a blob'
VGR_HOSTMEM=off text pages "in the guest's memory"
echo "2 arenas, 32 tokens, identical"
