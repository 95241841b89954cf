#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 240 4
#
# A program that computes a part of each layer, and the worker, leave each other the processors: no OpenMP
# thread of either spins all the time. vgr-run sees to the program's. Where nobody does, the library says
# once what is to be done, and it does not where that is no use.
. "$VGR_TOP/tests/direct/lib.sh"
unset OMP_WAIT_POLICY

model tiny16

# sleeps PID: every thread of the process, and there are two, has gone to sleep often
sleeps() {
    awk '/^voluntary_ctxt_switches/ { n++; if ($2 < 500) spins = 1 } END { exit n < 2 || spins }' \
        "/proc/$1/task"/*/status
}

# Longer than anything here.
endless=(llama-bench -m "$model" -ngl 99 -t 2 -p 0 -n 4000 -r 50 --no-warmup -nkvo 1)
setpriv --pdeathsig TERM "$vgr_run" --device CPU -- "${endless[@]}" >/dev/null 2>"$VGR_SCRATCH/log" &
run=$!
program=''
running() {
    program=$(pgrep -g 0 -x llama-bench) && worker=$(pgrep -g 0 -x vgr-worker)
}
wait_for 60 running || fail "nothing runs: $(tail -n 3 "$VGR_SCRATCH/log")"
wait_for 120 sleeps "$program" || fail "a thread of the program never sleeps"
[ "$(nproc)" -lt 2 ] || wait_for 60 sleeps "$worker" || fail "a thread of the worker never sleeps"
kill "$run"
wait "$run" || true

# advised N NAME=VALUE... COMMAND...: the library advises N times
advised() {
    local n=$1
    shift
    on_device env "$@" >/dev/null 2>"$VGR_SCRATCH/log" || fail "$*: $(tail -n 3 "$VGR_SCRATCH/log")"
    [ "$(grep -c 'GOMP_SPINCOUNT=300 in the environment' "$VGR_SCRATCH/log")" -eq "$n" ] ||
        fail "$*: not advised $n times: $(grep ggml-virtgpu "$VGR_SCRATCH/log")"
}

serve --device CPU
# 17 graphs in a token
split=(llama-bench -v -m "$model" -dev VirtGPU0 -ngl 99 -t 2 -p 0 -n 20 -r 3 --no-warmup -nkvo)
advised 1 "${split[@]}" 1
advised 0 GOMP_SPINCOUNT=300 "${split[@]}" 1
advised 0 OMP_WAIT_POLICY=passive "${split[@]}" 1
advised 0 "${split[@]}" 0
stop_serving
echo "four threads sleep, advice in 1 of 4 cases"
