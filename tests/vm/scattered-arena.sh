#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 300 12
#
# A guest whose memory is too scattered for the arena that it wants, more pieces than the worker may
# map, is refused, takes half, and half of that, until it fits; an LLM then gives the right text
# through what it got, which is thousands of pieces.
. "$VGR_TOP/tests/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16
# Fills two sets of pipes in turns, page by page, and empties one: leaves single pages of the kind that
# the kernel takes for an arena, twice as many as that needs, and hands out before it breaks up larger
# pieces. Then runs a command.
cat >"$VGR_SCRATCH/scatter.py" <<'TEXT'
import fcntl, os, subprocess, sys
page, to_free = bytes(4096), []
for _ in range(128):
    (kept_out, kept), (freed_out, freed) = os.pipe(), os.pipe()
    for pipe in kept, freed:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 256 * len(page))
    for _ in range(256):
        os.write(kept, page)
        os.write(freed, page)
    to_free += freed_out, freed
for pipe in to_free:
    os.close(pipe)
sys.exit(subprocess.call(sys.argv[1:]))
TEXT
pieces=3000
# With the bridge, too, the arena is to be the guest's memory.
VGR_HOSTMEM=off "$vm" --device CPU --device-arg --max-mappings --device-arg $pieces \
    --device-arg --log-level --device-arg debug --append transparent_hugepage_shmem=never \
    --env VGR_LOG=debug --work "$VGR_SCRATCH" -- bash -c '
    python3 /run/vgr/scatter.py "$@" -dev VirtGPU0 -ngl 99 >/run/vgr/text 2>/run/vgr/log' \
    sh "$whole" "${completion[@]}" >"$VGR_SCRATCH/vm.log" 2>&1 || {
    status=$?
    tail -n 20 "$VGR_SCRATCH/vm.log" "$VGR_SCRATCH/log"
    fail "the guest ended with status $status"
}
grep -E 'arena|fragmented' "$VGR_SCRATCH/vm.log"
grep -a 'arena' "$VGR_SCRATCH/log"
refused=$(grep -c 'too fragmented in the guest, take a smaller arena' "$VGR_SCRATCH/vm.log" || true)
[ "$refused" -ge 1 ] || fail "the first arena was not refused"
runs=$(sed -n 's/.*vgr-worker.*: arena of .* in \([0-9]*\) runs of .*/\1/p' "$VGR_SCRATCH/vm.log")
[ "${runs:-0}" -ge 1000 ] && [ "$runs" -le $pieces ] || fail "${runs:-no} pieces were mapped"
got=$(sed -n 's/.*ggml-virtgpu: .*: arena \([0-9]*\) MiB, .*/\1/p' "$VGR_SCRATCH/log")
[ "$got" -eq $((64 >> refused)) ] || fail "an arena of $got MiB after $refused refusals"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the text is wrong"
echo "$refused refusals, an arena of $got MiB in $runs pieces, the right text"
