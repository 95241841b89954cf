#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 13
#
# While a single graph of a guest's runs for seconds through the bridge, which is on the thread of
# QEMU's that answers everything else, QEMU's monitor answers as ever: no answer waits for the graph.
. "$VGR_TOP/tests/lib.sh"

qmp=$VGR_SCRATCH/qmp
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
touch /run/vgr/begins
printf 'compute 20\ncompute %s\nquit\n' "$2" | "$1" >/run/vgr/answers 2>/run/vgr/log
status=$?
touch /run/vgr/ends
exit $status
TEXT
"$vm" --front virgl --device CPU --work "$VGR_SCRATCH" --qemu-arg -qmp \
    --qemu-arg "unix:$qmp,server=on,wait=off" -- bash /run/vgr/guest.sh \
    "$VGR_TOP/build/obj/tests/direct/limits" 400 >"$VGR_SCRATCH/vm.log" 2>&1 &
machine=$!
begun() {
    [ -e "$VGR_SCRATCH/begins" ] || ! kill -0 $machine 2>/dev/null
}
wait_for 120 begun || fail "the guest does not begin: $(cat "$VGR_SCRATCH/vm.log")"
read -r n median slowest < <(timeout 200 "$VGR_TOP/tests/vm/qmp-answers.py" "$qmp" "$VGR_SCRATCH/ends")
wait $machine || fail "the guest: status $?: $(cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
cat "$VGR_SCRATCH/answers"
ms=$(sed -n '2s/^success //p' "$VGR_SCRATCH/answers")
[ "${ms:-0}" -ge 2000 ] || fail "the graph took ${ms:-no} ms only"
[ "${n:-0}" -ge 50 ] || fail "only ${n:-no} answers"
[ "${slowest%.*}" -lt $((ms / 2)) ] || fail "an answer took $slowest ms, the graph $ms ms"
echo "a graph of $ms ms, $n answers, median $median ms, slowest $slowest ms"
