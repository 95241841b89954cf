#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A graph that runs longer than --graph-timeout allows ends its own context, with GGML's failure and
# the reason, and nothing else: the program goes on with a new context, another one meanwhile computes
# undisturbed, and nothing is left.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny
on_host 200 >"$VGR_SCRATCH/want"
stats=$VGR_SCRATCH/stats.sock
serve --device CPU --graph-timeout 1 --stats "$stats"
before=$(holdings)

completion "$model" 200
on_device "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" \
    2>"$VGR_SCRATCH/other.log" &
other=$!
# Far more than a second's work for any processor. One graph that is short must follow each.
rounds=3
on_device "$build/tests/direct/limits" >"$VGR_SCRATCH/answers" 2>"$VGR_SCRATCH/log" < <(
    echo 'compute 1'
    for ((i = 0; i < rounds; i++)); do
        printf 'compute 6000\ncompute 1\n'
    done
    echo quit
) || fail "the program ends with status $?: $(tail -n 3 "$VGR_SCRATCH/log")"
wait "$other" || fail "the other program: status $?: $(tail -n 3 "$VGR_SCRATCH/other.log")"
cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || fail "the other program's text is wrong"

cat "$VGR_SCRATCH/answers" "$VGR_SCRATCH/log" "$VGR_SCRATCH/device.log"
slowest=0 good=0 bad=0
while read -r status ms; do
    if [ "$status" = success ]; then
        good=$((good + 1))
        continue
    fi
    bad=$((bad + 1))
    [ "$ms" -ge 1000 ] || fail "a graph of $ms ms was too long"
    [ "$ms" -le "$slowest" ] || slowest=$ms
done <"$VGR_SCRATCH/answers"
[ "$bad $good" = "$rounds $((rounds + 1))" ] || fail "$bad failed, $good succeeded"
[ "$slowest" -lt 2000 ] || fail "the failure took $slowest ms"
reason="a graph ran longer than the host's limit of 1 s"
[ "$(grep -c "ggml-virtgpu: .*$reason" "$VGR_SCRATCH/log")" -eq "$rounds" ] ||
    fail "the program is not told why"
[ "$(grep -c "context [0-9]* ends: $reason" "$VGR_SCRATCH/device.log")" -eq "$rounds" ] ||
    fail "the operator is not told"
"$VGR_TOP/tests/direct/stats.py" has "$stats" contexts_timed_out=$rounds graph_timeout_seconds=1 \
    workers_failed=0 || fail "--stats"

# Programs of others end by their own decision.
status=0
model tiny16
on_device llama-bench -m "$model" -dev VirtGPU0 -ngl 99 -p 12288 -b 4096 -ub 4096 -n 0 -r 1 \
    --no-warmup >"$VGR_SCRATCH/bench" 2>&1 || status=$?
tail -n 5 "$VGR_SCRATCH/bench"
if [ "$status" -eq 0 ] || [ "$status" -ge 128 ]; then
    fail "llama-bench ends with status $status"
fi
same_holdings "$before"
stop_serving

# Whoever is told has the memory back.
limit=$((32 << 20))
serve --device CPU --graph-timeout 1 --memory-limit $limit
for i in 1 2 3; do
    printf 'compute 6000\nalloc %d\nquit\n' $limit |
        on_device "$build/tests/direct/limits" 2>/dev/null >"$VGR_SCRATCH/answers"
    [ "$(sed 's/ .*//' "$VGR_SCRATCH/answers" | tr '\n' ' ')" = 'failed ok ' ] ||
        fail "try $i: $(cat "$VGR_SCRATCH/answers")"
done
stop_serving
echo "$rounds graphs ended after at most $slowest ms, llama-bench's with status $status"
