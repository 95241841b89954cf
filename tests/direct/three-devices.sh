#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 6
#
# A model over three devices, in every way that llama.cpp splits one, gives the text that it gives natively on
# these devices. With fewer key/value heads than devices, some device has no elements of some tensors.
. "$VGR_TOP/tests/direct/lib.sh"

many=$build/tests/direct/libggml-many.so
n=0
# split SPLIT HEADS HEADS_KV LAYERS_ON_DEVICE
split() {
    local model=$VGR_SCRATCH/$2-$3.gguf from='' to='' i
    [ -e "$model" ] || "$build/tools/vgr-mkmodel" --layers 3 --heads "$2" --heads-kv "$3" -o "$model"
    completion "$model" 12
    completion+=(-sm "$1" -fa on -ngl "$4")
    for i in 0 1 2; do
        from=$from,Many$i to=$to,VirtGPU$i
    done
    GGML_BACKEND_PATH=$many "$whole" "${completion[@]}" -dev "${from#,}" \
        >"$VGR_SCRATCH/native" 2>"$VGR_SCRATCH/log" </dev/null ||
        fail "$*, natively: $(tail -n 3 "$VGR_SCRATCH/log")"
    GGML_BACKEND_PATH=$many "$vgr_run" --device Many0 --device Many1 --device Many2 -- \
        "$whole" "${completion[@]}" -dev "${to#,}" \
        >"$VGR_SCRATCH/vgr" 2>"$VGR_SCRATCH/log" </dev/null ||
        fail "$*: $(grep -v '^[0-9.]* I' "$VGR_SCRATCH/log" | tail -n 3)"
    [ "$(wc -c <"$VGR_SCRATCH/native")" -ge 60 ] || fail "$*: natively no text"
    cmp -s "$VGR_SCRATCH/native" "$VGR_SCRATCH/vgr" ||
        fail "$*: natively $(cat "$VGR_SCRATCH/native"), through vgr $(cat "$VGR_SCRATCH/vgr")"
    n=$((n + 1))
}

split tensor 8 2 99
split tensor 8 1 99
split tensor 8 4 99
split layer 8 2 99
split layer 8 2 2
echo "$n splits"
