#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 3
#
# vgr-mkmodel writes the same file for the same options, whatever the number of threads; programs
# can use it; bad options get one line and status 2.
. "$VGR_TOP/tests/lib.sh"

mkmodel=$VGR_TOP/build/obj/tools/vgr-mkmodel
cd "$VGR_SCRATCH"

for type in q4_0 q8_0 f16 f32; do
    "$mkmodel" --layers 2 --embd 128 --ff 256 --heads 4 --heads-kv 2 --vocab 300 --type $type -o a.gguf
    taskset -c 0 "$mkmodel" --layers 2 --embd 128 --ff 256 --heads 4 --heads-kv 2 --vocab 300 \
        --type $type -o b.gguf
    cmp a.gguf b.gguf || fail "$type: one thread, another file"
    llama-bench -m a.gguf -dev none -p 4 -n 4 -r 1 -o jsonl >speeds 2>log </dev/null ||
        fail "$type: $(tail -n 3 log)"
    [ "$(grep -c '"n_gen": 4,\|"n_prompt": 4,' speeds)" -eq 2 ] || fail "$type: $(cat speeds)"
done
"$mkmodel" --seed 2 --type f32 --layers 2 --embd 128 --ff 256 --heads 4 --heads-kv 2 --vocab 300 \
    -o c.gguf
! cmp -s b.gguf c.gguf || fail "another seed, the same file"

bad() {
    local status=0
    "$mkmodel" "$@" >out 2>err || status=$?
    [ "$status" -eq 2 ] || fail "status $status for: $*"
    [ "$(wc -l <err)" -le 2 ] && grep -q vgr-mkmodel err || fail "message for: $*: $(cat err)"
    [ ! -e x.gguf ] || fail "a file for: $*"
}
bad
bad -o
bad -o x.gguf extra
bad -o x.gguf --nonsense
bad -o x.gguf --preset huge
bad -o x.gguf --type q9
bad -o x.gguf --layers 0
bad -o x.gguf --layers 2x
bad -o x.gguf --layers 99999999999999999999
bad -o x.gguf --vocab 3
bad -o x.gguf --embd 100 --heads 3
bad -o x.gguf --embd 96 --heads 32
bad -o x.gguf --heads 4 --heads-kv 3
bad -o x.gguf --ff 33
status=0
"$mkmodel" -o /nonexistent/x.gguf 2>err || status=$?
[ "$status" -eq 1 ] && grep -q '/nonexistent/x.gguf' err || fail "a folder that is not there"
find . -name '*.tmp' | grep . && fail "temporary files are left"
echo "4 types, 15 bad inputs"
