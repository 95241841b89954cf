#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 3
#
# llama-whole gives the whole text of the shortest of runs, at the first try, with both processors
# busy; it passes on a failure's status, and does not call whole what has no end.
. "$VGR_TOP/tests/lib.sh"

cd "$VGR_SCRATCH"

"$VGR_TOP/build/obj/tools/vgr-mkmodel" --layers 1 --embd 64 --ff 64 --heads 2 --heads-kv 2 --vocab 300 \
    -o a.gguf
busy=()
trap 'kill "${busy[@]}" 2>/dev/null || true' EXIT
for _ in $(seq "$(nproc)"); do
    setpriv --pdeathsig KILL timeout --foreground 60 sh -c 'while :; do :; done' &
    busy+=($!)
done
runs=10
for ((i = 1; i <= runs; i++)); do
    "$whole" llama-completion -m a.gguf -dev none -t 1 -n 4 -c 64 --temp 0 -no-cnv -fit off --ignore-eos \
        -p a >"text.$i" 2>log || fail "run $i: $(tail -n 3 log)"
    tries=$(grep -ac 'sampler seed' log)
    [ "$tries" -eq 1 ] || fail "run $i took $tries tries"
    cmp text.1 "text.$i" || fail "run $i has another text"
done
[ -s text.1 ] || fail "no text"

status=0
"$whole" sh -c 'echo half; exit 7' >text 2>log || status=$?
[ "$status" -eq 7 ] || fail "status $status, not the program's own"
status=0
"$whole" sh -c 'echo half; echo again >>tries' >text 2>log || status=$?
[ "$status" -eq 1 ] && [ ! -s text ] && grep -q 'does not print its last line' log ||
    fail "a text without an end passed"
[ "$(wc -l <tries)" -eq 8 ] || fail "$(wc -l <tries) tries, not 8"
echo "$runs runs whole at the first try"
