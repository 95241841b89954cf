#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A program under vgr-run finds the plugin among GGML's own backends and before the CPU, as where it is installed;
# with --by-path, behind it. What vgr-run itself is given as GGML_BACKEND_PATH is for the host alone.
. "$VGR_TOP/tests/direct/lib.sh"

devices=$build/tests/direct/registered
# order OPTION...: sets $order, the names of a program's devices
order() {
    order=$("$vgr_run" --device CPU "$@" -- "$devices" 2>"$VGR_SCRATCH/log") ||
        fail "$*: status $?: $(cat "$VGR_SCRATCH/log")"
}
order
[ "$order" = 'VirtGPU0 CPU' ] || fail "the devices are $order"
order --by-path
[ "$order" = 'CPU VirtGPU0' ] || fail "by path, the devices are $order"
backends=$(find "$VGR_SCRATCH" -maxdepth 1 -name 'vgr-run.*')
[ -z "$backends" ] || fail "left: $backends"
GGML_BACKEND_PATH=$build/tests/direct/libplanted.so order
[ "$order" = 'VirtGPU0 CPU' ] || fail "with a backend of the host's, the devices are $order"
# A program that computes on the first device and takes the last one to be the CPU's.
"$vgr_run" --device CPU -- /usr/libexec/*/llama.cpp-tests/test-opt >"$VGR_SCRATCH/opt" 2>&1 ||
    fail "test-opt: status $?: $(tail -n 5 "$VGR_SCRATCH/opt")"
sed 's/\x1b\[[0-9;]*m//g' "$VGR_SCRATCH/opt" | grep -E 'backends passed|OK|tests passed' | tail -n 2
