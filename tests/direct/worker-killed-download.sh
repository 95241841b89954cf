#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# When the worker dies in a download that is larger than the arena, what the program reads is data or zeros, and
# the library writes nothing into the program's memory once the call, or the wait for it, has returned.
. "$VGR_TOP/tests/direct/lib.sh"

serve --device CPU
mkfifo "$VGR_SCRATCH/to" "$VGR_SCRATCH/from"
n=0
for when in before during behind; do
    for how in sync async; do
        "${on[@]}" VGR_ARENA=8M "$build/tests/direct/lost_download" "$when" "$how" \
            <"$VGR_SCRATCH/to" >"$VGR_SCRATCH/from" 2>"$VGR_SCRATCH/log" &
        program=$!
        exec 3>"$VGR_SCRATCH/to" 4<"$VGR_SCRATCH/from"
        last=''
        while read -r -u 4 line; do
            case $line in
            kill) kill -KILL "$(workers)" && echo ok >&3 ;;
            stop) kill -STOP "$(workers)" && echo ok >&3 ;;
            *) last=$line ;;
            esac
        done
        exec 3>&- 4<&-
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
