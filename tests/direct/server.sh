#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 180 4
#
# A llama-server whose worker is killed in the middle of a request lives: this request and all later
# ones are answered with an error at once, since the model was in that worker, and it ends in peace when
# it is told to. Started again, it works.
. "$VGR_TOP/tests/direct/lib.sh"

ask=$VGR_TOP/tests/direct/server.py
model tiny16
serve --device CPU
port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
start_server() {
    "${on[@]}" llama-server -m "$model" -dev VirtGPU0 -ngl 99 -c 8192 -np 1 --host 127.0.0.1 \
        --port "$port" --no-warmup -fit off >"$VGR_SCRATCH/server.log" 2>&1 &
    server=$!
    "$ask" "$port" health || fail "no server: $(tail -n 5 "$VGR_SCRATCH/server.log")"
}
stop_server() {
    local status=0
    kill "$server"
    wait "$server" || status=$?
    [ "$status" -eq 0 ] || fail "llama-server ends with status $status"
}
# fails FILE: the request whose outcome is there has failed with the server's own words
fails() {
    cat "$1"
    grep -q '^failed: .*Compute error' "$1" || fail "it was to fail"
}

start_server
"$ask" "$port" ask 16 >"$VGR_SCRATCH/want" || fail "$(cat "$VGR_SCRATCH/want")"
"$ask" "$port" stream 8000 "$VGR_SCRATCH/stream" >"$VGR_SCRATCH/end" &
client=$!
wait_for 30 test -s "$VGR_SCRATCH/stream" || fail "no text"
kill -KILL "$(workers)"
began=${EPOCHREALTIME/./}
wait "$client" || true
fails "$VGR_SCRATCH/end"
for i in 1 2 3; do
    "$ask" "$port" ask 16 >"$VGR_SCRATCH/later" || true
    fails "$VGR_SCRATCH/later"
done
took=$(((${EPOCHREALTIME/./} - began) / 1000))
[ "$took" -lt 10000 ] || fail "$took ms for four failures"
[ "$(grep -c 'ggml-virtgpu: ' "$VGR_SCRATCH/server.log")" -le 1 ] || fail "more than one line about it"
stop_server

start_server
"$ask" "$port" ask 16 | cmp "$VGR_SCRATCH/want" - || fail "other text than before"
stop_server
stop_serving
echo "4 requests failed in $took ms, the server lives"
