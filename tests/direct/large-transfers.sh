#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 200 4
#
# Large transfers arrive whole and in order. A device that can reach the arena writes what is read by
# itself; the worker does it for one that cannot.
. "$VGR_TOP/tests/direct/lib.sh"

n=0
host_gpu_env
stats=$VGR_SCRATCH/stats.sock
for name in CPU Vulkan0; do
    serve --device $name --stats "$stats"
    on_device "$build/tests/direct/large_transfers" >"$VGR_SCRATCH/log" 2>&1 || {
        cat "$VGR_SCRATCH/log"
        fail "on $name"
    }
    wait_for 10 no_worker || fail "workers are left"
    n=$((n + $(sed -n 's/^\([0-9]*\) transfers$/\1/p' "$VGR_SCRATCH/log")))
    copies=$("$VGR_TOP/tests/direct/stats.py" idle "$stats" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["device_copies"])')
    case $name in
    CPU) [ "$copies" -eq 0 ] || fail "$name: $copies copies by the device" ;;
    *) [ "$copies" -ge 250 ] || fail "$name: $copies copies by the device" ;;
    esac
    stop_serving
done
echo "$n transfers, $copies of them by the device itself"
