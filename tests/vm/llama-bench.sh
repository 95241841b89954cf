#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 12
#
# llama-bench runs in a guest, on VirtGPU0 and, over QEMU's user-mode network, on ggml-rpc. The speeds
# are printed; bench/run compares them in turns. This is no test of speed.
. "$VGR_TOP/tests/lib.sh"

model tiny16
server=$(echo /usr/libexec/*/llama/bin/ggml-rpc-server)
port=$((20000 + RANDOM % 10000))
"$server" -H 127.0.0.1 -p "$port" >"$VGR_SCRATCH/server.log" 2>&1 </dev/null &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null || true' EXIT
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
set -e
bench() {
    llama-bench -m "$MODEL" -ngl 99 -p 32 -n 64 -r 4 -o jsonl "$@"
}
bench -dev VirtGPU0 >/run/vgr/ours
bench -rpc "$SERVER" -dev RPC0 >/run/vgr/rpc
TEXT
"$vm" --device CPU --net --work "$VGR_SCRATCH" --env MODEL="$model" \
    --env SERVER="10.0.2.2:$port" -- bash /run/vgr/guest.sh || {
    status=$?
    cat "$VGR_SCRATCH/server.log"
    fail "the guest ended with status $status"
}
# speed NAME: tokens a second, the median of the runs
speed() {
    [ "$(grep -c '"avg_ts"' "$VGR_SCRATCH/$1")" -eq 2 ] || fail "$1: not two results"
    sed -n 's/.*"n_gen": 64,.*"samples_ts": \[\([^]]*\)\].*/\1/p' "$VGR_SCRATCH/$1" |
        tr -d ' ' | tr ',' '\n' | sort -n | sed -n 3p | cut -d. -f1
}
cat "$VGR_SCRATCH/ours" "$VGR_SCRATCH/rpc"
grep -q '"backends": "[^"]*VirtGPU' "$VGR_SCRATCH/ours" || fail "not on VirtGPU"
ours=$(speed ours)
rpc=$(speed rpc)
[ "$ours" -gt 0 ] && [ "$rpc" -gt 0 ] || fail "no speed"
echo "$ours tokens/s, ggml-rpc $rpc"
