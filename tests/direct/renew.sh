#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A program whose worker is killed gets GGML's failure within a second, and a new worker as soon as it
# opens a backend or a buffer anew: again and again, and nothing is left on either side.
. "$VGR_TOP/tests/direct/lib.sh"

rounds=12
serve --device CPU
before=$(holdings)
coproc on_device "$build/tests/direct/renew" $rounds 2>"$VGR_SCRATCH/log"
program=$COPROC_PID
# A descriptor of our own: the shell closes its one when the program ends.
exec {out}<&"${COPROC[0]}"
for ((i = 1; i <= rounds; i++)); do
    read -r -t 60 -u "$out" word || fail "round $i: $(tail -n 3 "$VGR_SCRATCH/log")"
    [ "$word" = ready ] || fail "round $i: $word"
    one_worker || fail "round $i: workers: $(workers)"
    kill -KILL "$(workers)"
    wait_for 10 no_worker || fail "round $i: it does not die"
    echo go >&"${COPROC[1]}"
done
read -r -t 60 -u "$out" slowest fds now_fds maps now_maps ||
    fail "the program: $(tail -n 3 "$VGR_SCRATCH/log")"
wait "$program" || fail "the program ends with status $?"
[ "$slowest" -lt 1000 ] || fail "it took $slowest ms to fail"
[ "$fds" -eq "$now_fds" ] || fail "the program: $fds descriptors, then $now_fds"
[ $((now_maps - maps)) -le 2 ] || fail "the program: $maps mappings, then $now_maps"
[ "$(grep -c 'connected to the host again' "$VGR_SCRATCH/log")" -eq $((rounds - 1)) ] ||
    fail "$(cat "$VGR_SCRATCH/log")"
same_holdings "$before"
stop_serving
echo "$rounds workers killed, at most $slowest ms to fail"
