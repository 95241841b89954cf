#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 14
#
# A guest program killed in mid-run leaves nothing behind in the host: no worker process, no
# descriptor, no mapping, no memory; and the next program works.
. "$VGR_TOP/tests/lib.sh"

model tiny16
on_host 16 >"$VGR_SCRATCH/want"
completion "$model" 16
# The guest and this script take turns by way of files in the work folder.
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
turn() {
    touch "/run/vgr/$1"
    while [ ! -e "/run/vgr/$2" ]; do sleep 0.1; done
}
whole=$1
shift
completion=("$@" -dev VirtGPU0 -ngl 99)
"${completion[@]}" >/dev/null 2>&1 || exit 11
turn guest-idle host-measured
for i in 1 2 3 4; do
    "${completion[@]}" -n 100000 -c 0 >/run/vgr/endless 2>/run/vgr/log &
    pid=$!
    # The prompt is out, and some of what follows it.
    while [ "$(stat -c %s /run/vgr/endless)" -lt 60 ]; do
        kill -0 "$pid" || exit 12
        sleep 0.1
    done
    turn "guest-busy-$i" "host-seen-$i"
    kill -KILL "$pid"
    wait "$pid"
done
turn guest-killed host-checked
"$whole" "${completion[@]}" >/run/vgr/text 2>/run/vgr/log || exit 13
TEXT
"$vm" --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh "$whole" "${completion[@]}" \
    >"$VGR_SCRATCH/vm.log" 2>&1 &
machine=$!

# The guest has got to a point, or the machine has ended.
reached() {
    wait_for 120 eval "[ -e '$VGR_SCRATCH/$1' ] || ! kill -0 $machine 2>/dev/null"
    [ -e "$VGR_SCRATCH/$1" ] || {
        cat "$VGR_SCRATCH/vm.log"
        tail -n 5 "$VGR_SCRATCH/log" 2>/dev/null
        fail "the guest did not get to $1"
    }
}
workers() {
    pgrep -c -P "$device" || true
}
no_worker() {
    [ "$(workers)" -eq 0 ]
}
# What the device holds: descriptors, mappings, KiB of memory of its own
holdings() {
    echo "$(find "/proc/$device/fd" -ignore_readdir_race -mindepth 1 | wc -l) $(wc -l <"/proc/$device/maps")" \
        "$(sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$device/status")"
}

reached guest-idle
device=$(cat "$VGR_SCRATCH/vgr-device.pid")
wait_for 10 no_worker || fail "$(workers) workers of a program that has ended"
touch "$VGR_SCRATCH/host-measured"
for i in 1 2 3 4; do
    reached "guest-busy-$i"
    [ "$(workers)" -eq 1 ] || fail "$(workers) workers while one program runs"
    touch "$VGR_SCRATCH/host-seen-$i"
    # The guest kernel may take a moment to close what the killed program had open.
    wait_for 10 no_worker || fail "the worker outlives its program"
    holding=$(holdings)
    echo "after kill $i: $holding (descriptors, mappings, KiB)"
    # The first one may have made the device's own pools grow.
    [ "$i" -gt 1 ] || read -r fds maps kib <<<"$holding"
done
reached guest-killed
read -r fds2 maps2 kib2 <<<"$holding"
[ "$fds2" -eq "$fds" ] || fail "descriptors: $fds after the first kill, $fds2 after the last"
[ "$maps2" -le "$maps" ] || fail "mappings: $maps after the first kill, $maps2 after the last"
[ "$kib2" -le $((kib + 256)) ] || fail "memory: $kib KiB after the first kill, $kib2 after the last"
touch "$VGR_SCRATCH/host-checked"
wait "$machine" || {
    status=$?
    cat "$VGR_SCRATCH/vm.log"
    fail "the guest ended with status $status"
}
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the next program's text is wrong"
! kill -0 "$device" 2>/dev/null || fail "vgr-device outlives its machine"
echo "4 kills, $fds2 descriptors, $kib2 KiB"
