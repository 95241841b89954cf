#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# A child of fork() fails with what it inherited, works with what it makes anew, and is in nobody's way. Once the
# parent has ended, as that of a daemon does, nothing of it is left on the host. So does one that was forked while
# another thread opened the first connection.
. "$VGR_TOP/tests/direct/lib.sh"

serve --device CPU
before=$(holdings)
on_device env VGR_LOG=debug "$build/tests/direct/forked" child >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
    fail "status $?: $(tail -n 5 "$VGR_SCRATCH/log")"
grep -q '^8 children$' "$VGR_SCRATCH/out" || fail "$(cat "$VGR_SCRATCH/out")"
own=$(grep -c 'has a connection of its own now' "$VGR_SCRATCH/log")
[ "$own" -eq 16 ] || fail "$own connections of children"
! grep -q 'connected to the host again' "$VGR_SCRATCH/log" || fail "the parent was disturbed"
same_holdings "$before"

on_device "$build/tests/direct/forked" daemon >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
    fail "daemon: status $?: $(tail -n 5 "$VGR_SCRATCH/log")"
wait_for 20 grep -q '^daemon ' "$VGR_SCRATCH/out" ||
    fail "no daemon: $(cat "$VGR_SCRATCH/out" "$VGR_SCRATCH/log")"
daemon=$(sed -n 's/^daemon //p' "$VGR_SCRATCH/out")
wait_for 10 one_worker || fail "workers of a daemon: $(workers)"
kill "$daemon"
same_holdings "$before"

for _ in 1 2 3; do
    on_device "$build/tests/direct/forked" opening >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
        fail "opening: status $?: $(tail -n 5 "$VGR_SCRATCH/log")"
    grep -q '^4 children, 1 devices$' "$VGR_SCRATCH/out" || fail "$(cat "$VGR_SCRATCH/out")"
done
same_holdings "$before"
stop_serving
on_device env VGR_DIRECT="$VGR_SCRATCH/silent.sock" "$build/tests/direct/forked" silent \
    >"$VGR_SCRATCH/out" 2>"$VGR_SCRATCH/log" ||
    fail "silent: status $?: $(tail -n 5 "$VGR_SCRATCH/log")"
grep -q '^1 children, 0 devices$' "$VGR_SCRATCH/out" || fail "$(cat "$VGR_SCRATCH/out")"
echo "$own children with a connection of their own"
