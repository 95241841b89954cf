#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 1200 5
#
# Guest library and worker with several queues and several threads, under the thread sanitizer: no race
# in our code. GGML is not built with it, and is not looked at.
. "$VGR_TOP/tests/lib.sh"

cd "$VGR_TOP" || exit 1
tools/build build/obj-tsan -Db_sanitize=thread -Db_lundef=false
export VGR_BUILD=$VGR_TOP/build/obj-tsan
# shellcheck source=lib.sh
. "$VGR_TOP/tests/direct/lib.sh"
export TSAN_OPTIONS="exitcode=0 ignore_noninstrumented_modules=1 log_path=$VGR_SCRATCH/races"

programs=0
for test in ring worker_queue; do
    "$build/tests/unit/test_$test" >"$VGR_SCRATCH/log" 2>&1 || fail "$test: $(tail -n 5 "$VGR_SCRATCH/log")"
    programs=$((programs + 1))
done
# The sanitizer's own system calls are not those that a sandbox expects.
for program in two_devices cross_devices busy_device; do
    "$vgr_run" --device Vulkan0 --device CPU --sandbox off -- "$build/tests/direct/$program" \
        >"$VGR_SCRATCH/log" 2>&1 || fail "$program: $(tail -n 5 "$VGR_SCRATCH/log")"
    programs=$((programs + 1))
done
for races in "$VGR_SCRATCH"/races.*; do
    [ ! -e "$races" ] || fail "$(head -n 40 "$races")"
done
echo "$programs programs"
