#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 2400 15
#
# The same (worker.sh) for the relaxed sandbox, too, and on kernels whose landlock is older: those say that
# they are. Where there is none, strict does not start, and relaxed goes by system calls alone.
. "$VGR_TOP/tests/hostile/worker-lib.sh"

other_vm
runs=(vhost-user/off direct/off broker/off)
for user in '' nobody; do
    for front in vhost-user direct broker; do
        runs+=("$front/strict/$user" "$front/relaxed/$user")
    done
    for landlock in 1 2 3 4 5 6 7; do
        runs+=("direct/strict/$user/$landlock" "direct/relaxed/$user/$landlock")
    done
    for front in vhost-user direct broker; do
        runs+=("$front/relaxed/$user/0")
    done
done
some_of "${runs[@]}"

status=0
ATTACK_LANDLOCK=0 timeout 20 "$vgr_device" --direct "$VGR_SCRATCH/none" --device CPU --worker "$attacker" \
    >"$VGR_SCRATCH/none.log" 2>&1 || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 124 ] && grep -q 'strict needs landlock' "$VGR_SCRATCH/none.log"; then
    echo "ok hostile/worker/no-landlock (strict does not start)"
else
    echo "FAIL hostile/worker/no-landlock (status $status: $(tail -n 1 "$VGR_SCRATCH/none.log"))"
    failed=1
fi
other_vm_ends
exit "$failed"
