#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# When vgr-device is killed in mid-run, its workers go with it, and the program is not killed and
# ends within seconds.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
serve --device CPU
endless
worker=$(workers)
kill -KILL "$device"
began=$SECONDS status=0
wait "$program" || status=$?
tail -n 3 "$VGR_SCRATCH/endless.log"
[ "$status" -lt 128 ] || fail "the program died of signal $((status - 128))"
[ $((SECONDS - began)) -le 10 ] || fail "the program took $((SECONDS - began)) s to end"
wait_for 5 eval "! kill -0 $worker 2>/dev/null" || fail "the worker is left"
serve --device CPU
on_device llama-completion --list-devices 2>/dev/null | grep -q '^  VirtGPU0: ' ||
    fail "a new vgr-device does not get the socket that the old one left"
stop_serving
echo "status $status, no worker left"
