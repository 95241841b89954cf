#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 600 15
#
# A guest that does all that no driver and no library would, case after case, is refused or ignored,
# as each case says; after each a fresh context of the same front computes. Meanwhile another VM
# decodes, again and again the right text. In the end the front of the hostile VM has the descriptors,
# processes and memory that it had after the first contexts, and no turn of its loop had more work than it
# may have; how long the longest was is printed.
#
# With words, only the cases whose names contain one of them. With the bridge (VGR_FRONT=virgl), QEMU has
# no more descriptors either, and the guest's graphics draw the same pixels before and after.
. "$VGR_TOP/tests/lib.sh"

mkdir "$VGR_SCRATCH/hostile" "$VGR_SCRATCH/neighbour"
model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16

# The guests and this script take turns by way of files in the work folders.
cat >"$VGR_SCRATCH/hostile/guest.sh" <<'TEXT'
turn() {
    touch "/run/vgr/$1"
    while [ ! -e "/run/vgr/$2" ]; do sleep 0.1; done
}
draw() {
    [ -z "$drawn" ] || "$drawn" 5 >"/run/vgr/$1" 2>&1 || exit 10
}
hostile=$1 drawn=$2
shift 2
draw frames-before
# Makes the front as large as it gets: an allocator keeps some of what was freed.
"$hostile" many- >/run/vgr/first || exit 11
turn guest-idle host-measured
"$hostile" "$@" >/run/vgr/report
echo "$?" >/run/vgr/status
draw frames-after
turn guest-done host-checked
TEXT
drawn=
[ "$front" != virgl ] || drawn=$VGR_TOP/build/obj/tests/vm/gl_frames
cat >"$VGR_SCRATCH/neighbour/guest.sh" <<'TEXT'
n=0
until [ -e /run/vgr/enough ]; do
    "$@" -dev VirtGPU0 -ngl 99 >/run/vgr/text 2>/run/vgr/log || exit 12
    n=$((n + 1))
    mv /run/vgr/text "/run/vgr/text.$n"
done
TEXT
# Small pages only, or memory is hard to scatter.
"$vm" --device CPU --mem 2560M --append transparent_hugepage_shmem=never \
    --device-arg --contexts --device-arg 24 --device-arg --stats --device-arg "$VGR_SCRATCH/hostile.stats" \
    --work "$VGR_SCRATCH/hostile" -- \
    bash /run/vgr/guest.sh "$VGR_TOP/build/obj/tests/hostile/hostile" "$drawn" "$@" \
    >"$VGR_SCRATCH/hostile.log" 2>&1 &
hostile=$!
"$vm" --device CPU --work "$VGR_SCRATCH/neighbour" -- \
    bash /run/vgr/guest.sh "$whole" "${completion[@]}" >"$VGR_SCRATCH/neighbour.log" 2>&1 &
neighbour=$!

# reached SECONDS FILE: the hostile guest has got to a point
reached() {
    wait_for "$1" eval "[ -e '$VGR_SCRATCH/hostile/$2' ] || ! kill -0 $hostile 2>/dev/null" || true
    [ -e "$VGR_SCRATCH/hostile/$2" ] || {
        grep -v 'virtio_gpu_virgl_process_cmd: ' "$VGR_SCRATCH/hostile.log" | tail -n 20 || true
        cat "$VGR_SCRATCH"/hostile/{first,report} 2>/dev/null || true
        fail "the hostile guest did not get to $2"
    }
}
no_worker() {
    [ -z "$(pgrep -P "$device")" ]
}
# What the front holds: descriptors, mappings, KiB of memory of its own
holdings() {
    echo "$(find "/proc/$device/fd" -ignore_readdir_race -mindepth 1 | wc -l) $(wc -l <"/proc/$device/maps")" \
        "$(sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$device/status")"
}

reached 120 guest-idle
device=$(cat "$VGR_SCRATCH/hostile/vgr-device.pid")
wait_for 10 no_worker || fail "workers of a program that has ended"
read -r fds maps kib <<<"$(holdings)"
monitor=$(monitor_of "$VGR_SCRATCH/hostile") || fail "no QEMU"
bridge_held=$(bridge_holds "$monitor")
touch "$VGR_SCRATCH/hostile/host-measured"
reached 500 guest-done
grep -E '^(ok|FAIL|#) ' "$VGR_SCRATCH/hostile/report"
failed=$(cat "$VGR_SCRATCH/hostile/status")

touch "$VGR_SCRATCH/neighbour/enough"
wait "$neighbour" || {
    tail -n 5 "$VGR_SCRATCH/neighbour.log" "$VGR_SCRATCH/neighbour/log"
    echo "FAIL hostile/neighbour (status $?)"
    failed=1
}
texts=0 wrong=0
for text in "$VGR_SCRATCH"/neighbour/text.*; do
    texts=$((texts + 1))
    cmp "$VGR_SCRATCH/want" "$text" || wrong=$((wrong + 1))
done
if [ "$texts" -ge 2 ] && [ "$wrong" -eq 0 ]; then
    echo "ok hostile/neighbour ($texts texts, all right)"
else
    echo "FAIL hostile/neighbour ($texts texts, $wrong wrong)"
    failed=1
fi

wait_for 10 no_worker || fail "workers of a program that has ended"
kill -0 "$device" || fail "the front has ended"
read -r fds2 maps2 kib2 <<<"$(holdings)"
held="descriptors $fds, $fds2; mappings $maps, $maps2; memory $kib, $kib2 KiB"
if [ "$fds2" -eq "$fds" ] && [ "$maps2" -le "$maps" ] && [ "$kib2" -le $((kib + 256)) ]; then
    echo "ok hostile/holdings ($held)"
else
    echo "FAIL hostile/holdings ($held)"
    failed=1
fi
if [ "$front" = virgl ]; then
    now=$(bridge_holds "$monitor")
    if [ "$now" -eq "$bridge_held" ]; then
        echo "ok hostile/monitor ($now descriptors)"
    else
        echo "FAIL hostile/monitor (descriptors $bridge_held, $now)"
        failed=1
    fi
    if grep -q '^virgl' "$VGR_SCRATCH/hostile/frames-before" &&
        cmp "$VGR_SCRATCH/hostile/frames-before" "$VGR_SCRATCH/hostile/frames-after"; then
        echo "ok hostile/graphics (the same pixels as before)"
    else
        echo "FAIL hostile/graphics"
        failed=1
    fi
fi
if turns=$("$VGR_TOP/tests/direct/stats.py" turns "$VGR_SCRATCH/hostile.stats" 2>&1); then
    echo "ok hostile/turns ($turns)"
else
    echo "FAIL hostile/turns ($turns)"
    failed=1
fi
touch "$VGR_SCRATCH/hostile/host-checked"
wait "$hostile" || fail "the hostile machine ended with status $?"
exit "$failed"
