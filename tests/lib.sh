# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the tests that run llama.cpp's programs: settings, models, and ways to fail.

set -euo pipefail

vm=$VGR_TOP/tools/vgr-vm
front=${VGR_FRONT:-vhost-user} # of $vm
whole=$VGR_TOP/tools/llama-whole
models=$VGR_TOP/build/models

fail() {
    echo "failed: $*"
    exit 1
}

# model PRESET: sets $model, made if it is not there
model() {
    model=$models/$1.gguf
    mkdir -p "$models"
    [ -e "$model" ] || "$VGR_TOP/build/obj/tools/vgr-mkmodel" --preset "$1" -o "$model"
}

# completion MODEL N: sets ${completion[@]}, a greedy llama-completion of N tokens on VirtGPU0
completion() {
    completion=(llama-completion -m "$1" -p "Once upon a time" -n "$2" -c 512 --temp 0 --seed 1
        --ignore-eos -no-cnv --no-warmup -fit off)
}

# on_host N: the text that the host's own CPU gives for the same
on_host() {
    completion "$model" "$1"
    "$whole" "${completion[@]}" -dev none --no-repack -t "$(nproc)" 2>/dev/null </dev/null
}

# monitor_of FOLDER: the process id of the QEMU whose machine has this folder as its --work
monitor_of() {
    pgrep -f "^qemu-system.*path=$1,"
}

# bridge_holds PID: how many descriptors a QEMU has of the kinds that the bridge makes; its own come and go
# with files
bridge_holds() {
    find "/proc/$1/fd" -ignore_readdir_race -printf '%l\n' | grep -cE '^(/memfd:vgr|socket:|anon_inode:)'
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
