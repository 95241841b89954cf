#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 180 4
#
# vgr-device --stats tells what happens while it happens, in both formats and rightly: the figures
# agree with the guest library's own, a context that ended moves to the totals, and no client of the
# socket disturbs.
. "$VGR_TOP/tests/direct/lib.sh"

stats=$VGR_SCRATCH/stats.sock
look=$VGR_TOP/tests/direct/stats.py

# clients that misbehave, all the while: half a request, none, one that never reads its answer
nuisance() {
    exec setpriv --pdeathsig KILL python3 -c '
import socket, sys, time
def client(text):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(text)
    return s
held = [client(b"GET /met"), client(b""), client(b"GET /metrics HTTP/1.0\r\n\r\n")]
while True:
    client(b"GET /stats HTTP/1.1\r\n\r\n").close()
    client(b"\0" * 5000).close()
    time.sleep(0.02)
' "$stats"
}

model tiny16
serve --device CPU --stats "$stats"
[ "$(stat -c %a "$stats")" = 600 ] || fail "permissions: $(stat -c %a "$stats")"
"$look" idle "$stats" >/dev/null || fail "no answer"
before=$(holdings)

nuisance &
nuisance=$!
on_device env VGR_STATS=1 llama-bench -m "$model" -dev VirtGPU0 -ngl 99 -p 64 -n 256 -r 3 \
    >"$VGR_SCRATCH/bench" 2>"$VGR_SCRATCH/bench.log" &
program=$!
"$look" watch "$stats" "$program" "$model" >"$VGR_SCRATCH/watched" || fail "while it runs"
wait "$program" || fail "llama-bench: $(tail -n 3 "$VGR_SCRATCH/bench.log")"
read -r scrapes seen graphs <"$VGR_SCRATCH/watched"
if [ "$seen" -lt 5 ] || [ "$graphs" -lt 3 ]; then
    fail "a context seen $seen times in $scrapes answers, graphs at $graphs points in time"
fi
kill "$nuisance"
wait "$nuisance" || true

wait_for 10 no_worker || fail "workers are left"
line=$(grep '^vgr-stats: ' "$VGR_SCRATCH/bench.log") || fail "VGR_STATS=1 says nothing"
echo "$line"
"$look" idle "$stats"
agreed=$("$look" agree "$stats" "$line") || fail "$agreed"
# A program may ask the library for its figures at any time, and finds the function by name.
on_device "$look" library "$plugin" || fail "the library's own figures"
wait_for 10 no_worker || fail "workers are left"
# Connections that were held end by themselves.
wait_for 10 same_holdings "$before"
stop_serving
[ ! -e "$stats" ] || fail "the socket is left"
echo "$scrapes answers in both formats, $graphs points in time, $agreed figures agree"
