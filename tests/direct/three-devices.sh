#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 6
#
# A model over three devices, in every way that llama.cpp splits one, gives the text that it gives natively on
# these devices. With fewer key/value heads than devices, some device has no elements of some tensors.
. "$VGR_TOP/tests/direct/lib.sh"

n=0
# split SPLIT HEADS HEADS_KV LAYERS_ON_DEVICE
split() {
    local model=$VGR_SCRATCH/$2-$3.gguf
    [ -e "$model" ] || "$build/tools/vgr-mkmodel" --layers 3 --heads "$2" --heads-kv "$3" -o "$model"
    completion "$model" 12
    completion+=(-sm "$1" -fa on -ngl "$4")
    many_natively "$whole" "${completion[@]}" -dev Many0,Many1,Many2 \
        >"$VGR_SCRATCH/native" 2>"$VGR_SCRATCH/log" </dev/null ||
        fail "$*, natively: $(tail -n 3 "$VGR_SCRATCH/log")"
    on_device "$whole" "${completion[@]}" -dev VirtGPU0,VirtGPU1,VirtGPU2 \
        >"$VGR_SCRATCH/vgr" 2>"$VGR_SCRATCH/log" </dev/null ||
        fail "$*: $(grep -v '^[0-9.]* I' "$VGR_SCRATCH/log" | tail -n 3)"
    [ "$(wc -c <"$VGR_SCRATCH/native")" -ge 60 ] || fail "$*: natively no text"
    cmp -s "$VGR_SCRATCH/native" "$VGR_SCRATCH/vgr" ||
        fail "$*: natively $(cat "$VGR_SCRATCH/native"), through vgr $(cat "$VGR_SCRATCH/vgr")"
    n=$((n + 1))
}

serve_many --device Many0 --device Many1 --device Many2
split tensor 8 2 99
split tensor 8 1 99
split tensor 8 4 99
split layer 8 2 99
split layer 8 2 2
stop_serving
echo "$n splits"
