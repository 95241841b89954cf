#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 1200 16
#
# The same for a VM, whose contexts are virtio-gpu's: a thousand are opened and closed one after the other
# while somebody kills workers at random, and a tenth as many guest processes are killed while the host
# computes for them; afterwards vgr-device holds exactly what it held before, and so does the guest's program.
# With the bridge (VGR_FRONT=virgl), QEMU holds no more of what the bridge makes, too.
. "$VGR_TOP/tests/soak/lib.sh"

n=1000
leaves=$((n / 10))
stats=$VGR_SCRATCH/stats.sock vm_socket=$VGR_SCRATCH/vm.sock
listen=--socket-path
[ "$front" != virgl ] || listen=--broker
setpriv --pdeathsig KILL "$vgr_device" $listen "$vm_socket" --device CPU --stats "$stats" \
    --log-level error >"$VGR_SCRATCH/device.log" 2>&1 &
device=$!
wait_for 10 listening "$vm_socket" || fail "no vgr-device: $(cat "$VGR_SCRATCH/device.log")"
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
cd /run/vgr
turn() {
    touch "$1"
    while [ ! -e "$2" ]; do sleep 0.1; done
}
"$1" 20 4 >first 2>>log || exit 11
turn idle measured
"$1" "$2" "$3" >out 2>>log || exit 12
turn over done
TEXT
setpriv --pdeathsig TERM "$vm" --front "$front" --socket "$vm_socket" --work "$VGR_SCRATCH" \
    -- bash /run/vgr/guest.sh "$build/tests/soak/soak_guest" $n $leaves \
    >"$VGR_SCRATCH/vm.log" 2>&1 &
machine=$!
there() {
    wait_for "$1" eval "[ -e '$VGR_SCRATCH/$2' ] || ! kill -0 $machine 2>/dev/null" || true
    [ -e "$VGR_SCRATCH/$2" ] || fail "no $2: $(tail -n 9 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
}
# Graphs that were begun, and are not done.
cut_short() {
    local defined run
    read -r defined run < <(totals "$stats" graphs_defined graphs_run)
    echo $((defined - run))
}
there 120 idle
monitor=$(monitor_of "$VGR_SCRATCH") || fail "no QEMU"
before=$(exact_holdings "$stats") rss=$(resident) cut_before=$(cut_short)
bridge_held=$(bridge_holds "$monitor")
echo "before: $before (processes, descriptors, mappings, contexts, device memory), $rss KiB"
touch "$VGR_SCRATCH/measured"
wait_for 60 grep -qs begun "$VGR_SCRATCH/out" || fail "the guest's program found no device"
kills=0
while [ ! -e "$VGR_SCRATCH/over" ] && kill -0 $machine 2>/dev/null; do
    for worker in $(workers); do
        ! kill -KILL "$worker" 2>/dev/null || kills=$((kills + 1))
    done
    sleep 0.$((RANDOM % 900 + 100))
done
there 1 over
after=$(exact_holdings "$stats") now_rss=$(resident) cut=$(($(cut_short) - cut_before))
echo "after: $after, $now_rss KiB"
[ "$before" = "$after" ] || fail "it holds other things than before"
[ $((now_rss - rss)) -le 256 ] || fail "$((now_rss - rss)) KiB more than before"
bridge_holds_now=$(bridge_holds "$monitor")
[ "$front" != virgl ] || [ "$bridge_holds_now" -eq "$bridge_held" ] ||
    fail "QEMU: $bridge_held descriptors for the bridge, then $bridge_holds_now"
touch "$VGR_SCRATCH/done"
wait $machine || fail "the guest: status $?: $(tail -n 9 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
read -r opened failed left ended fds now_fds maps now_maps < <(tail -n 1 "$VGR_SCRATCH/out")
[ "$opened" -eq $n ] || fail "$opened opened of $n, $failed failed: $(tail -n 5 "$VGR_SCRATCH/log")"
[ "$left" -eq $leaves ] || fail "$left processes killed of $leaves, $ended ended before"
# What the guest says, the host has seen: each had sent its graph, and none has been computed.
[ "$cut" -ge $leaves ] || fail "$cut graphs only were not computed to their ends"
[ "$fds" -eq "$now_fds" ] || fail "the guest's program: $fds descriptors, then $now_fds"
[ "$maps" -eq "$now_maps" ] || fail "the guest's program: $maps mappings, then $now_maps"
[ $kills -ge $((n / 50)) ] || fail "$kills workers killed only"
kill "$device"
wait "$device" || fail "vgr-device ends with status $?"
echo "$n contexts, $kills workers killed, $left guest processes in mid-graph: holds ${after//  / } as before, $((now_rss - rss)) KiB more"
