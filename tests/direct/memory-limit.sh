#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# Device memory has its limits, of a context and of all together: a program that wants more fails as
# GGML has it, while its context and everybody else's live on; what a program held is there for
# the next one, however it ended; and the device's figures are what the limits leave.
. "$VGR_TOP/tests/direct/lib.sh"

MiB=1048576
checks=0

# start NAME: a program that takes orders, as a coprocess-like pair of pipes; its id in ${pid[NAME]}
declare -A pid to from
start() {
    mkfifo "$VGR_SCRATCH/$1.in" "$VGR_SCRATCH/$1.out"
    "${on[@]}" "$build/tests/direct/limits" <"$VGR_SCRATCH/$1.in" >"$VGR_SCRATCH/$1.out" \
        2>"$VGR_SCRATCH/$1.log" &
    pid[$1]=$!
    exec {in}>"$VGR_SCRATCH/$1.in" {out}<"$VGR_SCRATCH/$1.out"
    to[$1]=$in from[$1]=$out
    rm "$VGR_SCRATCH/$1.in" "$VGR_SCRATCH/$1.out"
}

# ask NAME COMMAND: its answer
ask() {
    local answer
    echo "$2" >&"${to[$1]}"
    read -r -t 60 -u "${from[$1]}" answer || fail "$1, $2: $(tail -n 3 "$VGR_SCRATCH/$1.log")"
    echo "$answer"
}

# expect ANSWER NAME COMMAND
expect() {
    local answer
    answer=$(ask "$2" "$3")
    [ "$answer" = "$1" ] || fail "$2, $3: $answer instead of $1"
    checks=$((checks + 1))
}

succeeds() {
    [ "$(ask "$1" "$2")" = ok ]
}

# bench MODEL: llama-bench on the device; text and log in $VGR_SCRATCH
bench() {
    on_device llama-bench -m "$1" -dev VirtGPU0 -ngl 99 -p 16 -n 4 -r 1 >"$VGR_SCRATCH/bench" \
        2>"$VGR_SCRATCH/bench.log"
}

# The whole device, as programs see it.
model tiny16
large=$model
model tiny
stats=$VGR_SCRATCH/stats.sock
serve --device CPU --memory-limit 24M --context-memory-limit 20M --stats "$stats"
before=$(holdings)
on_device llama-bench --list-devices 2>/dev/null |
    grep -q '^  VirtGPU0: .* (20 MiB, 20 MiB free)$' || fail "--list-devices"

status=0
bench "$large" || status=$?
cat "$VGR_SCRATCH/bench.log"
[ "$status" -eq 1 ] || fail "a model that does not fit: status $status"
grep -q 'failed to load model' "$VGR_SCRATCH/bench.log" || fail "GGML's own error is not there"
bench "$model" || fail "a model that fits: status $?"
[ "$(grep -c 'VirtGPU0' "$VGR_SCRATCH/bench")" -eq 2 ] || fail "no figures"
grep -q 'no [0-9]* bytes of device memory for the guest: over --context-memory-limit' \
    "$VGR_SCRATCH/device.log" || fail "the operator is not told: $(cat "$VGR_SCRATCH/device.log")"
checks=$((checks + 4))

# A context has its own limit, at the byte, and lives on where it is refused.
start one
expect "$((20 * MiB)) $((20 * MiB))" one memory
expect refused one "alloc $((20 * MiB + 1))"
expect ok one "alloc $((15 * MiB))"
expect refused one "alloc $((5 * MiB + 1))"
expect "$((5 * MiB)) $((20 * MiB))" one memory
expect ok one "alloc $((5 * MiB))"
expect refused one 'alloc 1'
expect '0 20971520' one memory
expect ok one free
expect ok one "alloc $((20 * MiB))"

# Two share what all may have.
start two
expect "$((4 * MiB)) $((20 * MiB))" two memory

# Each reads the account of both and writes one page of it, its own, and has no descriptor to map more.
own=()
for worker in $(pgrep -P "$device" -x vgr-worker); do
    maps=$(grep -F 'memfd:vgr-account' "/proc/$worker/maps") || fail "worker $worker has no account"
    [ "$(awk '{ print $2 }' <<<"$maps" | sort)" = $'r--s\nrw-s' ] || fail "worker $worker maps: $maps"
    read -r range _ at _ < <(grep -F ' rw-s ' <<<"$maps")
    [ $((0x${range#*-} - 0x${range%-*})) -eq 4096 ] || fail "worker $worker writes more than a page: $maps"
    [[ $at =~ [1-9a-f] ]] || fail "worker $worker writes the front's page: $maps"
    own+=("$at")
    [[ $(ls -l "/proc/$worker/fd") != *vgr-account* ]] || fail "worker $worker has the account's file"
done
[ "${#own[@]}" -eq 2 ] && [ "${own[0]}" != "${own[1]}" ] || fail "pages that workers write: ${own[*]}"
checks=$((checks + 9))

expect refused two "alloc $((4 * MiB + 1))"
expect ok two "alloc $((4 * MiB))"
expect refused two 'alloc 1'
expect ok one free
expect "$((20 * MiB)) $((20 * MiB))" one memory # frees are not waited for, this is
expect ok two "alloc $((16 * MiB))"
expect "$((4 * MiB)) $((20 * MiB))" one memory
# Refused: llama-bench's buffer, three of one, two of two.
"$VGR_TOP/tests/direct/stats.py" has "$stats" memory_limit_bytes=$((24 * MiB)) \
    context_memory_limit_bytes=$((20 * MiB)) buffer_bytes=$((20 * MiB)) allocs_refused=6 \
    graph_timeout_seconds=0 contexts_timed_out=0 || fail "--stats"
checks=$((checks + 6))

# The end of a program gives its memory back, by whatever death.
kill -KILL "${pid[two]}"
wait "${pid[two]}" || true
wait_for 10 succeeds one "alloc $((20 * MiB))" || fail "what a killed program held is not given back"
start three
expect refused three "alloc $((4 * MiB + 1))"
worker=$(pgrep -P "$device" -o) # the oldest: of one
kill -KILL "$worker"
wait_for 10 succeeds three "alloc $((20 * MiB))" || fail "what a killed worker held is not given back"
# The program whose worker it was goes on, with a new one.
expect refused one "alloc $((4 * MiB + 1))"
expect ok one "alloc $((4 * MiB))"
for name in one three; do
    echo quit >&"${to[$name]}"
    wait "${pid[$name]}" || fail "$name: status $?"
done
bench "$model" || fail "afterwards: status $?"
same_holdings "$before"
stop_serving
echo "$checks figures and answers right"
