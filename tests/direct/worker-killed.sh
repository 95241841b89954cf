#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# When the worker dies in mid-run, as by a crash in a GPU's driver, the program on it is not killed
# and ends within seconds; the next one works.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
serve --device CPU
for i in 1 2 3; do
    endless
    kill -KILL "$(workers)"
    began=$SECONDS status=0
    wait "$program" || status=$?
    tail -n 3 "$VGR_SCRATCH/endless.log"
    [ "$status" -lt 128 ] || fail "run $i: the program died of signal $((status - 128))"
    [ $((SECONDS - began)) -le 10 ] || fail "run $i: the program took $((SECONDS - began)) s to end"
    # llama.cpp may lose the line that says so when it exits; more than one is too many.
    [ "$(grep -c 'ggml-virtgpu: ' "$VGR_SCRATCH/endless.log")" -le 1 ] ||
        fail "run $i: more than one line about it"
    completion "$model" 16
    on_device "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" 2>/dev/null
    cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "run $i: the next program's text is wrong"
done
stop_serving
echo "status $status, the next one works"
