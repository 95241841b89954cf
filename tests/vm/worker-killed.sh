#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 300 14
#
# A guest program whose worker is killed on the host gets GGML's failure, and a new worker through the
# same virtio-gpu when it opens a backend anew; the front outlives them all.
. "$VGR_TOP/tests/vm/renewing.sh"

rounds=4
start_renewing $rounds
for ((i = 1; i <= rounds; i++)); do
    wait_for 120 ready $i || fail "round $i: $(told)"
    worker=$(pgrep -P "$(cat "$VGR_SCRATCH/vgr-device.pid")") ||
        fail "round $i: no worker: $(told)"
    kill -KILL "$worker"
    killed $i
done
finish_renewing
[ "$slowest" -lt 1000 ] || fail "it took $slowest ms to fail"
echo "$rounds workers killed, at most $slowest ms to fail"
