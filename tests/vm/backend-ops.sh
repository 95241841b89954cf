#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 600 11
#
# At least 200 cases of GGML's own suite pass in a guest. The suite compares with the guest's CPU,
# which is slow where it is emulated: hence the ops and cases with little data.
. "$VGR_TOP/tests/lib.sh"

cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
suite=$(echo /usr/libexec/*/ggml/test-backend-ops)
status=0
"$suite" test -b VirtGPU0 -o SCALE,RMS_NORM,NORM,SUM_ROWS,ARGMAX,REPEAT,SWIGLU,DIAG_MASK_INF,SQR,GELU ||
    status=$?
"$suite" test -b VirtGPU0 -o MUL_MAT \
    -p 'type_a=(f32|f16|q4_0|q8_0),type_b=f32,m=16,n=[1-8],k=256,bs=\[1,1\]' || status=$?
exit "$status"
TEXT
status=0
"$vm" --device "${VGR_TEST_DEVICE:-CPU}" --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh 2>&1 |
    sed 's/\x1b\[[0-9;]*m//g' | tee "$VGR_SCRATCH/out" || status=$?
[ "$status" -eq 0 ] || fail "test-backend-ops ended with status $status"
passed=0
while read -r good all; do
    [ "$good" -gt 0 ] && [ "$good" -eq "$all" ] || fail "$good of $all cases passed"
    passed=$((passed + good))
done < <(sed -n 's|^ *\([0-9]*\)/\([0-9]*\) tests passed$|\1 \2|p' "$VGR_SCRATCH/out")
[ "$passed" -ge 200 ] || fail "only $passed cases ran, 200 are wanted"
echo "$passed cases"
