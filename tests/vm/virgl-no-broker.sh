#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 180 10
#
# A monitor whose bridge finds no broker says so in one line; its guest has graphics as ever, and
# lists no device of ours.
. "$VGR_TOP/tests/lib.sh"

bridge=$VGR_TOP/build/obj/src/virgl/libvgr-virgl.so
env LD_PRELOAD="$bridge" VGR_BROKER="$VGR_SCRATCH/nobody" "$vm" --front gl --work "$VGR_SCRATCH" \
    -- bash -c '
    ls /dev/dri/renderD128 && llama-bench --list-devices >/run/vgr/list 2>/run/vgr/log' \
    2>"$VGR_SCRATCH/vm.log" || { cat "$VGR_SCRATCH/vm.log" && fail "the guest: status $?"; }
cat "$VGR_SCRATCH/list" "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log"
grep -q '(none)' "$VGR_SCRATCH/list" || fail "a device is listed"
! grep 'ggml-virtgpu: ' "$VGR_SCRATCH/log" || fail "the plugin says something"
[ "$(grep -c '^vgr-virgl: ' "$VGR_SCRATCH/vm.log")" -eq 1 ] || fail "the bridge does not say one line"
grep -q '^vgr-virgl: warning: no broker at .*nobody.*: no tensor devices for this machine$' \
    "$VGR_SCRATCH/vm.log" || fail "another line"
echo "one line, no device"
