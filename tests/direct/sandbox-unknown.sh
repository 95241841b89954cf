#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 4
#
# A driver that needs a system call which the strict sandbox does not know fails loudly: the guest
# and the log are told which call it was, vgr-device lives. In the relaxed sandbox it works.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
completion "$model" 300
for mode in strict relaxed; do
    LD_PRELOAD=$build/tests/direct/libstray_call.so serve --device CPU --sandbox "$mode"
    status=0
    on_device "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" ||
        status=$?
    wait_for 10 no_worker || fail "$mode: a worker is left"
    said="sandbox stopped system call [0-9]+"
    if [ "$mode" = strict ]; then
        # llama.cpp may lose the plugin's line when it exits; what the guest is told is in the log, too.
        [ "$status" -lt 128 ] || fail "the program died: status $status"
        grep -qE "context ends at command [0-9]+: the host's $said" "$VGR_SCRATCH/device.log" ||
            fail "$(cat "$VGR_SCRATCH/device.log")"
        grep -qE "the strict $said: this device needs --sandbox=relaxed" "$VGR_SCRATCH/device.log" ||
            fail "$(cat "$VGR_SCRATCH/device.log")"
        reason=$(grep -oE "$said" "$VGR_SCRATCH/device.log" | head -n 1)
    else
        [ "$status" -eq 0 ] || fail "relaxed: $(tail -n 5 "$VGR_SCRATCH/log")"
        [ "$(wc -c <"$VGR_SCRATCH/text")" -gt 300 ] || fail "relaxed: no text"
    fi
    stop_serving
done
echo "$reason"
