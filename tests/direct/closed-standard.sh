#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A vgr-device whose descriptors 0 to 2 are closed, all or some of them, works and writes its log, and what its
# workers say, into nothing that it opens itself: not into the account of device memory, of which a program
# sees what the limit leaves.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
completion "$model" 40
limit=2048
# closed IN OUT ERR: runs vgr-device with those closed that are "-"
closed() {
    local ends=("$@") name fd
    (
        [ "${ends[0]}" != - ] || exec <&-
        [ "${ends[1]}" != - ] || exec >&-
        [ "${ends[2]}" != - ] || exec 2>&-
        exec setpriv --pdeathsig KILL "$vgr_device" --direct "$socket" --device CPU \
            --memory-limit "${limit}M" --log-level debug
    ) </dev/zero >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/err" &
    device=$!
    wait_for 20 listening "$socket" || fail "$*: vgr-device does not listen"
    for fd in 0 1 2; do
        name=$(readlink "/proc/$device/fd/$fd")
        if [ "${ends[$fd]}" = - ]; then
            [ "$name" = /dev/null ] || fail "$*: $fd is $name"
        else
            [[ $name =~ ^/dev/zero$|/out$|/err$ ]] || fail "$*: $fd is $name"
        fi
    done
    on_device llama-bench --list-devices >"$VGR_SCRATCH/list" 2>&1 || fail "$*: $(cat "$VGR_SCRATCH/list")"
    free=$(sed -n 's/^ *VirtGPU0: .*, \([0-9]*\) MiB free)$/\1/p' "$VGR_SCRATCH/list")
    [ "${free:-0}" -ge $((limit - 1)) ] || fail "$*: ${free:-no} MiB are free of $limit"
    on_device "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" ||
        fail "$*: $(tail -n 3 "$VGR_SCRATCH/log")"
    wait_for 10 no_worker || fail "$*: a worker is left"
    [ "${ends[2]}" = - ] || grep -q '^vgr-worker\[2\]: guest with GGML' "$VGR_SCRATCH/err" ||
        fail "$*: the log is not there"
    stop_serving
}
n=0
for ends in '- - -' 'in - err' 'in out -' '- out err'; do
    # shellcheck disable=SC2086 # three words
    closed $ends
    n=$((n + 1))
done
# And a program without them, which does not get one of ours in their place.
serve --device CPU
on_device "$build/tests/direct/streamless" "$VGR_SCRATCH/streamless" || fail "$(cat "$VGR_SCRATCH/streamless")"
grep -q '^ok$' "$VGR_SCRATCH/streamless" || fail "$(cat "$VGR_SCRATCH/streamless")"
on_device "${completion[@]}" -dev VirtGPU0 -ngl 99 >&- 2>&- <&- || fail "llama-completion: status $?"
stop_serving
"$vgr_device" --list-devices --device CPU >"$VGR_SCRATCH/list" <&- 2>&- || fail "--list-devices: status $?"
grep -q '^CPU ' "$VGR_SCRATCH/list" || fail "--list-devices: $(cat "$VGR_SCRATCH/list")"
echo "$n ways, $free MiB free each"
