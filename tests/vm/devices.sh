#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 120 10
#
# The guest's programs list the host's devices, by the names of ours, with the host's descriptions.
. "$VGR_TOP/tests/lib.sh"

list=$("$vm" --device CPU --device Vulkan0 -- llama-completion --list-devices)
echo "$list"
grep -q '^  VirtGPU0: ' <<<"$list" || fail "no VirtGPU0"
grep -q '^  VirtGPU1: ' <<<"$list" || fail "no VirtGPU1"
[ "$(grep -c '^  [A-Za-z]*[0-9]*: ' <<<"$list")" -eq 2 ] || fail "not two devices"
echo "VirtGPU0 and VirtGPU1"
