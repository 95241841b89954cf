#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# Neither a guest nor its worker writes to the log as somebody else, steers the terminal that shows it, writes
# more than its share, or changes what the log is; and the program of such a worker is served.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
completion "$model" 300
mkfifo "$VGR_SCRATCH/pipe"
cat "$VGR_SCRATCH/pipe" >"$VGR_SCRATCH/device.log" &
reader=$!
LD_PRELOAD=$build/tests/direct/libloud.so setpriv --pdeathsig KILL "$vgr_device" --direct "$socket" \
    --device CPU >"$VGR_SCRATCH/pipe" 2>&1 &
device=$!
wait_for 20 listening "$socket" || fail "vgr-device does not listen"
pipe() {
    stat -L -c '%i' "/proc/$device/fd/2"
    grep flags "/proc/$device/fdinfo/2"
}
before=$(pipe)
programs=3
for ((i = 1; i <= programs; i++)); do
    on_device env LD_PRELOAD="$build/tests/direct/libloud.so" "${completion[@]}" -dev VirtGPU0 -ngl 99 \
        >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" || fail "program $i: $(tail -n 3 "$VGR_SCRATCH/log")"
    [ "$(wc -c <"$VGR_SCRATCH/text")" -gt 300 ] || fail "program $i: no text"
    wait_for 10 no_worker || fail "a worker is left"
done
[ "$(pipe)" = "$before" ] || fail "the log was $before, now $(pipe)"
stop_serving
wait "$reader" || fail "the log's reader"

cd "$VGR_SCRATCH"
! LC_ALL=C grep -avE '^vgr-device: |^vgr-worker\[[1-3]\]: ' device.log || fail "lines of nobody"
! LC_ALL=C grep -a '[^ -~]' device.log || fail "bytes that are no text"
[ "$(grep -c '^vgr-device: ready' device.log)" -eq 1 ] || fail "forged: $(grep ready device.log)"
! grep '^vgr-worker.*bad: ' device.log || fail "see above"
for ((i = 1; i <= programs; i++)); do
    for line in 'vgr-device: ready, says the worker' 'vgr-worker\[77\]: somebody else' 'stdout' \
        '\\x1b\[2J\\xe2\\x80\\xae' 'guest with GGML .*\\x0avgr-device: me\\x1b' 'flood 0'; do
        grep -q "^vgr-worker\[$i\]: $line" device.log || fail "worker $i: no $line"
    done
    # A hundred at once, twenty at the end, one in each second of this test.
    n=$(grep -c "^vgr-worker\[$i\]: " device.log)
    [ "$n" -ge 120 ] && [ "$n" -le 260 ] || fail "$n lines of worker $i"
    grep -q "^vgr-device: warning: [0-9]* lines of worker $i were left out" device.log || fail "not said"
done
echo "$programs programs, $(wc -l <device.log) lines, $(awk '/left out/ { n += $3 } END { print n }' device.log) left out"
