#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 240 12
#
# vgr-device --stats tells of a VM's context what a direct client's does not have: the doorbells and
# fences that went through the front. All agree with what the guest library counts. (With VGR_FRONT=virgl
# they go through the bridge, and vgr-device says nothing of them.)
. "$VGR_TOP/tests/lib.sh"

attached=vm
[ "$front" != virgl ] || attached=bridge

model tiny16
stats=$VGR_SCRATCH/stats.sock
setpriv --pdeathsig KILL "$VGR_TOP/tests/direct/stats.py" vm "$stats" $attached >"$VGR_SCRATCH/seen" 2>&1 &
watcher=$!
# The guest stays up until its end was seen.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
VGR_STATS=1 llama-bench -m "$MODEL" -ngl 99 -dev VirtGPU0 -p 0 -n 48 -r 1 2>/run/vgr/log || exit 1
for _ in $(seq 100); do
    [ ! -s /run/vgr/seen ] || exit 0
    sleep 0.1
done
exit 2
TEXT
"$vm" --device CPU --device-arg --stats --device-arg "$stats" --work "$VGR_SCRATCH" \
    --env MODEL="$model" -- bash /run/vgr/guest.sh ||
    fail "the guest ended with status $?: $(cat "$VGR_SCRATCH/seen")"
wait "$watcher" || fail "$(cat "$VGR_SCRATCH/seen")"
line=$(grep '^vgr-stats: ' "$VGR_SCRATCH/log") || fail "VGR_STATS=1 says nothing"
echo "$line"
cat "$VGR_SCRATCH/seen"
"$VGR_TOP/tests/direct/stats.py" vm-agrees "$VGR_SCRATCH/seen" $attached "$line"
