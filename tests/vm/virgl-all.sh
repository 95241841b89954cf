#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 1800 13
# vgr-runs: tests/vm/*.sh
#
# The tests of a VM with a vhost-user device hold for one that has the bridge in its virtio-gpu with 3D
# graphics instead. Those that end a process, or the machine, have a test of their own here (virgl-*), and
# so has the text. The suite runs on Vulkan, too.
. "$VGR_TOP/tests/lib.sh"

export VGR_FRONT=virgl
names=(limits stats scattered-arena not-shared devices several-nodes no-permission llama-bench two-processes
    two-machines backend-ops backend-ops@Vulkan0)
failed=0
scratch=$VGR_SCRATCH
for name in "${names[@]}"; do
    export VGR_SCRATCH=$scratch/$name VGR_TEST_DEVICE=CPU
    [[ $name != *@* ]] || VGR_TEST_DEVICE=${name#*@}
    mkdir "$VGR_SCRATCH"
    if timeout --kill-after=10 500 "$VGR_TOP/tests/vm/${name%@*}.sh" >"$VGR_SCRATCH.log" 2>&1; then
        echo "ok vm/virgl-all/$name ($(tail -n 1 "$VGR_SCRATCH.log"))"
    else
        failed=$((failed + 1))
        cat "$VGR_SCRATCH.log"
        echo "FAIL vm/virgl-all/$name"
    fi
    rm -rf "$VGR_SCRATCH"
done
[ "$failed" -eq 0 ]
