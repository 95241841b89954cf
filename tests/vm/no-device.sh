#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 180 10
#
# With our plugin installed but without our device, a guest's programs list no device and work on
# the CPU; the plugin says at most one line.
. "$VGR_TOP/tests/lib.sh"

model tiny
completion "$model" 3
"$vm" --front none --work "$VGR_SCRATCH" -- bash -c '
    set -e
    ls /usr/lib/*/ggml/backends*/libggml-virtgpu.so
    llama-completion --list-devices >/run/vgr/list 2>/run/vgr/log
    "$@" >/run/vgr/text 2>/dev/null' sh "$whole" "${completion[@]}"
cat "$VGR_SCRATCH/list" "$VGR_SCRATCH/log"
grep -q '(none)' "$VGR_SCRATCH/list" || fail "a device is listed"
[ "$(grep -ic virtgpu "$VGR_SCRATCH/log")" -le 2 ] || fail "more than the loader's line and ours"
[ -s "$VGR_SCRATCH/text" ] || fail "no text"
echo "no devices, the program works"
