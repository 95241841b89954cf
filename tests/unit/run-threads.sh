#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 900 2
#
# The ring, the front and what the guest library shares between threads, under the thread sanitizer. Not
# the account of device memory: processes share that, which this sanitizer does not see.
set -euo pipefail
cd "$VGR_TOP"
# gcc warns that the sanitizer does not see fences. The one there is, in the front's control.c, is for
# another process, which the sanitizer does not see either.
tools/build build/obj-tsan -Db_sanitize=thread -Db_lundef=false -Dtools=disabled -Dc_args=-Wno-tsan
export TSAN_OPTIONS=exitcode=66
status=0
for test in build/obj-tsan/tests/unit/test_{ring,guest_*,device_*}; do
    [ -x "$test" ] && [ -f "$test" ] || continue
    name=${test##*/test_}
    # Without random addresses, which the sanitizer may find in its way.
    if setarch -R "$test" >"$VGR_SCRATCH/log" 2>&1; then
        echo "ok unit-tsan/$name ($(grep -c '^\[       OK ' "$VGR_SCRATCH/log") cases)"
    else
        cat "$VGR_SCRATCH/log"
        echo "FAIL unit-tsan/$name"
        status=1
    fi
done
exit $status
