#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# When the worker dies in a download that is larger than the arena, what the program reads is data or zeros, and
# the library writes nothing into the program's memory once the call, or the wait for it, has returned.
. "$VGR_TOP/tests/direct/lib.sh"

serve --device CPU
n=0
for when in before during behind; do
    for how in sync async; do
        coproc "${on[@]}" VGR_ARENA=8M "$build/tests/direct/lost_download" "$when" "$how" 2>"$VGR_SCRATCH/log"
        program=$COPROC_PID
        last=''
        while read -r -u "${COPROC[0]}" line; do
            case $line in
            kill) kill -KILL "$(workers)" && echo ok >&"${COPROC[1]}" ;;
            stop) kill -STOP "$(workers)" && echo ok >&"${COPROC[1]}" ;;
            *) last=$line ;;
            esac
        done
        status=0
        wait "$program" || status=$?
        [ "$status" -eq 0 ] || fail "$when, $how: status $status, $last $(tail -n 3 "$VGR_SCRATCH/log")"
        echo "$when, $how: $last"
        wait_for 10 no_worker || fail "workers are left: $(workers)"
        n=$((n + 1))
    done
done
stop_serving
echo "$n downloads"
