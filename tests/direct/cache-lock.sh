#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 4
#
# A library in a sandboxed worker that locks a file of the shader cache by fcntl() has the lock, as one of
# flock(). Without a sandbox it has the kernel's.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
cache=$VGR_SCRATCH/cache
file=$cache/index
mkdir -m 700 "$cache"

# says RESULT: the library has written this since the file was emptied
says() {
    : >"$file"
    sleep 0.2
    grep -qx "$1" "$file"
}

# The errno are 0 and EWOULDBLOCK.
for mode in strict relaxed off; do
    keep=(--shader-cache "$cache") want="0 11"
    if [ "$mode" = off ]; then
        keep=() want="0 0"
    fi
    : >"$file"
    CACHE_LOCK_FILE=$file LD_PRELOAD=$build/tests/direct/libcache_lock.so \
        serve --device CPU --sandbox "$mode" "${keep[@]}"
    endless # the filters are on
    wait_for 10 says "$want" || fail "$mode: $(sort -u "$file"), not $want"
    [ "$(sort -u "$file")" = "$want" ] || fail "$mode: not always: $(sort -u "$file")"
    kill "$program"
    wait "$program" 2>/dev/null || true
    stop_serving
done
echo "strict, relaxed and off"
