#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A program killed in mid-run leaves nothing behind in vgr-device: no worker, descriptor, mapping or
# memory; the next one works.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
serve --device CPU
completion "$model" 4
on_device "${completion[@]}" -dev VirtGPU0 -ngl 99 >/dev/null 2>&1
wait_for 10 no_worker || fail "a worker is left"
before=$(holdings)
for i in 1 2 3; do
    endless
    kill -KILL "$program"
    wait "$program" || true
    same_holdings "$before"
done
completion "$model" 16
on_device "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" 2>/dev/null
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the next program's text is wrong"
same_holdings "$before"
stop_serving
echo "holds $before as before"
