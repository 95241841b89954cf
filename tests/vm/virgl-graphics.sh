#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 500 13
#
# The graphics of a guest are the same with the bridge as without it: what eglinfo tells, and every
# pixel of frames that are drawn and read back; and they are while a program in the same guest computes
# on VirtGPU0, whose text is right meanwhile.
. "$VGR_TOP/tests/lib.sh"

frames=40
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
drawn=$1 frames=$2
shift 2
"$(echo /usr/bin/eglinfo*)" -B >/run/vgr/eglinfo 2>&1
"$drawn" "$frames" >/run/vgr/frames 2>/run/vgr/log || exit 11
[ $# -gt 0 ] || exit 0
"$@" >/run/vgr/text 2>/run/vgr/log2 &
job=$!
runs=0
while kill -0 $job 2>/dev/null; do
    "$drawn" "$frames" >/run/vgr/frames-$runs 2>/run/vgr/log || exit 12
    kill -0 $job 2>/dev/null && runs=$((runs + 1))
    [ ! -s /run/vgr/text ] || break
done
wait $job || exit 13
echo $runs >/run/vgr/runs
TEXT
drawn=$VGR_TOP/build/obj/tests/vm/gl_frames

"$vm" --front gl --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$drawn" $frames ||
    fail "without the bridge: status $?: $(cat "$VGR_SCRATCH/log")"
for file in eglinfo frames; do
    mv "$VGR_SCRATCH/$file" "$VGR_SCRATCH/want-$file"
done
cat "$VGR_SCRATCH/want-eglinfo" "$VGR_SCRATCH/want-frames"
grep -q '^virgl' "$VGR_SCRATCH/want-frames" || fail "not drawn by virgl"
grep -q "^$frames frames, [0-9a-f]*$" "$VGR_SCRATCH/want-frames" || fail "no frames"

model tiny16
on_host 400 >"$VGR_SCRATCH/want-text"
completion "$model" 400
"$vm" --front virgl --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$drawn" $frames \
    "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 ||
    fail "with the bridge: status $?: $(cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/log2")"
cmp "$VGR_SCRATCH/want-eglinfo" "$VGR_SCRATCH/eglinfo" || fail "eglinfo tells something else"
cmp "$VGR_SCRATCH/want-frames" "$VGR_SCRATCH/frames" || fail "other pixels"
cmp "$VGR_SCRATCH/want-text" "$VGR_SCRATCH/text" || fail "the text is wrong"
runs=$(cat "$VGR_SCRATCH/runs")
[ "$runs" -ge 1 ] || fail "nothing was drawn while the program computed"
for ((i = 0; i < runs; i++)); do
    cmp "$VGR_SCRATCH/want-frames" "$VGR_SCRATCH/frames-$i" || fail "other pixels in run $i"
done
echo "$frames frames and eglinfo the same, $runs times while a program computed"
