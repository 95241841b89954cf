#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 240 12
#
# The bridge works in a QEMU that may not start processes (-sandbox, everything denied), with the arena
# in a blob and in the guest's memory.
. "$VGR_TOP/tests/lib.sh"

sandbox=on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
cases=0
for hostmem in 256M off; do
    VGR_HOSTMEM=$hostmem "$vm" --front virgl --device CPU --qemu-arg -sandbox --qemu-arg "$sandbox" -- \
        sh -c '/usr/libexec/*/ggml/test-backend-ops test -b VirtGPU0 -o SCALE,SUM_ROWS' \
        >"$VGR_SCRATCH/out" 2>&1 || { cat "$VGR_SCRATCH/out" && fail "hostmem=$hostmem: status $?"; }
    cat "$VGR_SCRATCH/out"
    n=$(sed 's/\x1b\[[0-9;]*m//g' "$VGR_SCRATCH/out" |
        sed -n 's|^ *\([0-9]*\)/\1 tests passed$|\1|p')
    [ "${n:-0}" -ge 5 ] || fail "hostmem=$hostmem: fewer than five cases passed"
    cases=$((cases + n))
done
echo "$cases cases"
