#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 4
#
# GGML looks for backends in the current folder, but a worker does not: `vgr-device --list-devices` in
# somebody else's folder does not run the library that lies there, and neither does a vgr-device that
# was started there.
. "$VGR_TOP/tests/direct/lib.sh"

mkdir "$VGR_SCRATCH/folder"
cp "$build/tests/direct/libplanted.so" "$VGR_SCRATCH/folder/libggml-cuda.so"
cd "$VGR_SCRATCH/folder"
n=0
# runs WHAT: whether the planted library ran, by what was said
runs() {
    grep -q 'planted code runs' "$VGR_SCRATCH/$1"
}
# The same GGML without a worker around it.
llama-bench --list-devices >"$VGR_SCRATCH/plain" 2>&1 || fail "$(tail -n 3 "$VGR_SCRATCH/plain")"
runs plain || fail "GGML itself does not look into the current folder: nothing is tested"

for entry in none "" . lib; do
    path=(env -u LD_LIBRARY_PATH)
    [ "$entry" = none ] || path=(env "LD_LIBRARY_PATH=/usr/lib:$entry")
    "${path[@]}" "$vgr_device" --list-devices --worker "$VGR_WORKER" >"$VGR_SCRATCH/list" 2>&1 ||
        fail "$(tail -n 3 "$VGR_SCRATCH/list")"
    grep -q '^CPU' "$VGR_SCRATCH/list" || fail "no list: $(tail -n 3 "$VGR_SCRATCH/list")"
    ! runs list || fail "--list-devices, LD_LIBRARY_PATH with '$entry'"
    n=$((n + 1))
done
for mode in off relaxed strict; do
    serve --device CPU --sandbox "$mode"
    stop_serving
    ! runs device.log || fail "--sandbox $mode"
    n=$((n + 1))
done
# A path that depends on the folder is refused, not looked for elsewhere.
if GGML_BACKEND_PATH=./libggml-cuda.so "$vgr_device" --list-devices --worker "$VGR_WORKER" \
    >"$VGR_SCRATCH/list" 2>&1; then
    fail "a relative GGML_BACKEND_PATH is taken"
fi
grep -q "GGML_BACKEND_PATH is './libggml-cuda.so'" "$VGR_SCRATCH/list" || fail "$(cat "$VGR_SCRATCH/list")"
! runs list || fail "a relative GGML_BACKEND_PATH is loaded"
echo "$((n + 1)) starts"
