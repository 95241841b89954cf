#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 4
#
# A model that is split between devices runs many graphs in turn for each token. Each is sent once: a
# program that generates three times as many tokens sends no graph and no change more, whatever the split.
# When the K/V cache grows by a step, each of them is sent at most once again.
. "$VGR_TOP/tests/direct/lib.sh"

# Many layers, small ones.
for layers in 80 8; do
    "$build/tools/vgr-mkmodel" --layers "$layers" --embd 128 --ff 384 --heads 8 --heads-kv 4 --vocab 512 \
        -o "$VGR_SCRATCH/$layers.gguf"
done

# counter NAME: of the program that ran last
counter() {
    sed -n "s/^vgr-stats:.* $1=\([0-9]*\).*/\1/p" "$VGR_SCRATCH/log"
}

# tokens N OPTION...: generates N tokens with the model of $layers; sets $sent and $run, of graphs
tokens() {
    local n=$1
    shift
    on_device env VGR_STATS=1 timeout 100 llama-bench -m "$VGR_SCRATCH/$layers.gguf" -ngl 99 -p 0 -n "$n" -r 1 --no-warmup \
        -o jsonl "$@" >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" || fail "$*: $(tail -n 3 "$VGR_SCRATCH/log")"
    sent=$(($(counter graphs_defined) + $(counter graphs_patched)))
    run=$(counter graphs_run)
}

tried=0
# steady GRAPHS OPTION...: with these options a token is at least GRAPHS graphs
steady() {
    local graphs=$1 before per_token
    shift
    layers=80
    tokens 6 "$@"
    before=$sent
    tokens 18 "$@"
    per_token=$((run / 18))
    [ "$per_token" -ge "$graphs" ] || fail "$*: a token is $per_token graphs, not $graphs"
    [ "$sent" -eq "$before" ] || fail "$*: $before graphs sent in 6 tokens, $sent in 18"
    [ "$sent" -le $((3 * per_token)) ] || fail "$*: $sent graphs sent, a token has $per_token"
    echo "$*: $per_token graphs in a token, $sent sent"
    tried=$((tried + 1))
}

# grows OPTION...: the cache grows at token 256
grows() {
    local before
    layers=8
    tokens 250 "$@"
    before=$sent
    tokens 270 "$@"
    [ "$sent" -gt "$before" ] || fail "$*: the cache does not grow"
    [ $((sent - before)) -le $((run / 270)) ] ||
        fail "$*: $((sent - before)) graphs sent for a larger cache, a token has $((run / 270))"
    echo "$*: $((sent - before)) sent for a larger cache"
    tried=$((tried + 1))
}

serve --device CPU
steady 1 -nkvo 0
steady 80 -nkvo 1
steady 80 -ot 'ffn_.*=CPU'
steady 160 -nkvo 1 -ot 'ffn_.*=CPU'
grows -ot 'ffn_.*=CPU'
stop_serving

serve_many --device Many0 --device Many1 --device Many2
steady 3 -sm layer
steady 80 -sm layer -nkvo 1
steady 80 -sm layer -ts 1,0,2 -ot 'ffn_.*=CPU'
steady 3 -sm tensor -fa 1
grows -sm layer -ot 'ffn_.*=CPU'
stop_serving
echo "$tried splits"
