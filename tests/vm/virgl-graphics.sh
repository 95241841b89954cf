#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 500 13
#
# The graphics of a guest are the same with the bridge as without it: what eglinfo tells, and every
# pixel of frames that are drawn and read back; and they are while a program in the same guest computes
# on VirtGPU0. That one does not suffer either.
. "$VGR_TOP/tests/lib.sh"

frames=20 rounds=2
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
drawn=$1 frames=$2 rounds=$3 whole=$4
shift 4
"$(echo /usr/bin/eglinfo*)" -B -p surfaceless >/run/vgr/eglinfo 2>&1
"$drawn" "$frames" >/run/vgr/frames-0 2>/run/vgr/log || exit 11
[ "$rounds" -gt 0 ] || exit 0
"$@" -n 100000 -c 0 >/run/vgr/endless 2>/run/vgr/log2 &
job=$!
until [ "$(stat -c %s /run/vgr/endless)" -ge 60 ]; do
    kill -0 $job || exit 12
    sleep 0.1
done
for i in $(seq "$rounds"); do
    before=$(stat -c %s /run/vgr/endless)
    "$drawn" "$frames" >"/run/vgr/frames-$i" 2>/run/vgr/log || exit 13
    kill -0 $job || exit 14
    [ "$(stat -c %s /run/vgr/endless)" -gt "$before" ] || exit 15
done
kill $job
wait $job
"$whole" "$@" >/run/vgr/text 2>/run/vgr/log2
TEXT
drawn=$VGR_TOP/build/obj/tests/vm/gl_frames
model tiny16
on_host 16 >"$VGR_SCRATCH/want-text"
completion "$model" 16

"$vm" --front gl --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$drawn" $frames 0 true ||
    fail "without the bridge: status $?: $(cat "$VGR_SCRATCH/log")"
mv "$VGR_SCRATCH/eglinfo" "$VGR_SCRATCH/want-eglinfo"
mv "$VGR_SCRATCH/frames-0" "$VGR_SCRATCH/want-frames"
cat "$VGR_SCRATCH/want-eglinfo" "$VGR_SCRATCH/want-frames"
grep -q '^virgl' "$VGR_SCRATCH/want-frames" || fail "not drawn by virgl"
grep -q "^$frames frames, [0-9a-f]*$" "$VGR_SCRATCH/want-frames" || fail "no frames"
grep -q 'renderer: virgl' "$VGR_SCRATCH/want-eglinfo" || fail "eglinfo does not know virgl"

"$vm" --front virgl --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$drawn" $frames \
    $rounds "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 ||
    fail "with the bridge: status $?: $(tail -n 5 "$VGR_SCRATCH/log" "$VGR_SCRATCH/log2")"
cmp "$VGR_SCRATCH/want-eglinfo" "$VGR_SCRATCH/eglinfo" || fail "eglinfo tells something else"
for ((i = 0; i <= rounds; i++)); do
    cmp "$VGR_SCRATCH/want-frames" "$VGR_SCRATCH/frames-$i" || fail "other pixels in round $i"
done
cmp "$VGR_SCRATCH/want-text" "$VGR_SCRATCH/text" || fail "the text is wrong"
echo "eglinfo and $frames frames the same, and $rounds times while a program computed"
