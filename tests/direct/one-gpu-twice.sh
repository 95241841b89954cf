#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 180 3
#
# One GPU that two of the host's backends reach: a program uses it as it does natively, once, and a host
# whose operator names no devices offers it once. GPUs with different ids, or with none, are all used.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny
completion "$model" 12
export GGML_MANY_DEVICES GGML_MANY_IDS

# used LOG: how many devices llama.cpp says that it uses
used() {
    grep -c 'llama_prepare_model_devices: using device' "$VGR_SCRATCH/$1" || true
}

tried=0
# offered and used by a program: IDS OFFERED USED OPTION...
try() {
    local ids=$1 offered=$2 use=$3 n
    shift 3
    GGML_MANY_DEVICES=3 GGML_MANY_IDS=$ids
    many_natively "$whole" "${completion[@]}" -ngl 99 -v >"$VGR_SCRATCH/native" \
        2>"$VGR_SCRATCH/native.log" </dev/null || fail "natively: $(tail -n 3 "$VGR_SCRATCH/native.log")"
    [ "$(used native.log)" -eq "$use" ] || fail "'$ids': $(used native.log) devices are used natively"

    serve_many "$@"
    n=$(on_device llama-bench --list-devices 2>/dev/null | grep -c '^  VirtGPU') || true
    [ "$n" -eq "$offered" ] || fail "'$ids' $*: $n devices are offered, not $offered"
    on_device "$whole" "${completion[@]}" -ngl 99 -v >"$VGR_SCRATCH/text" \
        2>"$VGR_SCRATCH/log" </dev/null || fail "$(tail -n 3 "$VGR_SCRATCH/log")"
    [ "$(used log)" -eq "$use" ] || fail "'$ids' $*: $(used log) devices are used, natively $use"
    cmp -s "$VGR_SCRATCH/native" "$VGR_SCRATCH/text" || fail "'$ids' $*: another text"
    stop_serving
    tried=$((tried + 1))
}

all=(--device Many0 --device Many1 --device Many2)
try 0000:01:00.0,0000:01:00.0,0000:02:00.0 3 2 "${all[@]}"
try 0000:01:00.0,0000:01:00.0,0000:02:00.0 2 2
try 0000:01:00.0,0000:02:00.0,0000:03:00.0 3 3
try '' 3 3
GGML_MANY_IDS=0000:01:00.0,0000:01:00.0 many_natively "$vgr_device" --worker "$VGR_WORKER" --list-devices \
    >"$VGR_SCRATCH/list" 2>&1
grep -q 'Many1 is the same GPU as Many0 (0000:01:00.0): not offered' "$VGR_SCRATCH/list" ||
    fail "--list-devices does not say what is left out: $(cat "$VGR_SCRATCH/list")"
# What is an id is the backend's affair, and what the guest sees of it is text.
try $'a\nb,a\nb,c' 2 2
echo "$tried sets of ids"
