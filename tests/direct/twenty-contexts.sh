#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# Twenty contexts, one after the other, leave vgr-device's descriptors, mappings, children and
# memory where they were.
. "$VGR_TOP/tests/direct/lib.sh"

serve --device CPU
context() {
    on_device llama-completion --list-devices 2>/dev/null | grep -q '^  VirtGPU0: ' ||
        fail "context $1: no device"
}
context 0
wait_for 10 no_worker || fail "a worker is left"
before=$(holdings)
for i in $(seq 20); do
    context "$i"
done
same_holdings "$before"
stop_serving
echo "holds $before as before"
