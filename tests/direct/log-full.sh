#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A log that takes nothing, because the disk is full, nobody reads the pipe, or its reader is gone, neither
# stops nor ends vgr-device or its workers.
. "$VGR_TOP/tests/direct/lib.sh"

mkfifo "$VGR_SCRATCH/pipe" "$VGR_SCRATCH/closed"
exec {pipe}<>"$VGR_SCRATCH/pipe" # never read
exec {closed}<>"$VGR_SCRATCH/closed"
logs=(/dev/full "$VGR_SCRATCH/pipe" "$VGR_SCRATCH/closed")
[ ! -s /dev/full ] && ! echo x 2>/dev/null >/dev/full || fail "/dev/full is not full"
dd if=/dev/zero of="$VGR_SCRATCH/pipe" bs=4096 count=1000 oflag=nonblock 2>/dev/null || true

for log in "${logs[@]}"; do
    setpriv --pdeathsig KILL "$vgr_device" --direct "$socket" --device CPU --log-level debug \
        >/dev/null 2>"$log" &
    device=$!
    wait_for 20 listening "$socket" || fail "$log: vgr-device does not listen"
    [ "$log" != "$VGR_SCRATCH/closed" ] || exec {closed}>&-
    coproc on_device "$build/tests/direct/renew" 4 2>"$VGR_SCRATCH/log"
    program=$COPROC_PID
    # A descriptor of our own: the shell closes its one when the program ends.
    exec {out}<&"${COPROC[0]}"
    for ((i = 1; i <= 4; i++)); do
        read -r -t 30 -u "$out" word || fail "$log, $i: $(tail -n 3 "$VGR_SCRATCH/log")"
        [ "$word" = ready ] || fail "$log, $i: $word"
        kill -KILL "$(workers)"
        wait_for 10 no_worker || fail "$log: it does not die"
        echo go >&"${COPROC[1]}"
    done
    read -r -t 30 -u "$out" _ || fail "$log: $(tail -n 3 "$VGR_SCRATCH/log")"
    exec {out}<&-
    wait "$program" || fail "$log: the program ends with status $?"
    stop_serving
done
exec {pipe}>&-
echo "${#logs[@]} logs, 4 workers each"
