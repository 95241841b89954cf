#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 900 2
#
# The unit tests of what parses a guest's or a host's bytes, under valgrind: no byte is used that was
# never set, none outside of its block, none is lost.
set -euo pipefail
cd "$VGR_TOP"
status=0
for name in codec names ggml_names ring device_vhost_msg device_virtqueue device_pages \
    device_guestmem device_gpu device_table guest_opcache guest_graph guest_order \
    worker_commands worker_graph worker_order; do
    # GGML keeps some of what it allocates for the process's life: that is reachable, not lost.
    if valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=definite --trace-children=no \
        "build/obj/tests/unit/test_$name" >"$VGR_SCRATCH/log" 2>&1; then
        echo "ok valgrind/$name ($(grep -c '^\[       OK ' "$VGR_SCRATCH/log") cases)"
    else
        cat "$VGR_SCRATCH/log"
        echo "FAIL valgrind/$name"
        status=1
    fi
done
exit $status
