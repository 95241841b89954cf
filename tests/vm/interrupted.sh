#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 240 12
#
# In a VM, a program that gets a signal each 10 ms, as a profiler sends them, waits for a graph of more than a
# second, and works.
. "$VGR_TOP/tests/lib.sh"

cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
"$1" 10000 1024 64 >/run/vgr/out 2>/run/vgr/log
TEXT
"$vm" --device CPU --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh \
    "$VGR_TOP/build/obj/tests/direct/interrupted" 2>"$VGR_SCRATCH/vm.log" ||
    fail "status $?: $(cat "$VGR_SCRATCH/out" "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
cat "$VGR_SCRATCH/out" "$VGR_SCRATCH/log"
grep -q '^status 0, [0-9]* signals$' "$VGR_SCRATCH/out" || fail "it said something else"
