#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 4
#
# A worker that serves a program has given up what the mode says: as the kernel tells it.
. "$VGR_TOP/tests/direct/lib.sh"

model tiny16
n=0
# status FIELD VALUE: the worker has it, in each of its threads
status() {
    local file
    for file in "/proc/$worker"/task/*/status; do
        grep -qP "^$1:\t$2\$" "$file" || fail "$mode: $(grep "^$1:" "$file"), not $2"
        n=$((n + 1))
    done
}
# other_namespace NAME YES: whether the worker has one of its own
other_namespace() {
    local here there
    here=$(readlink "/proc/$$/ns/$1") there=$(readlink "/proc/$worker/ns/$1")
    case $2 in
    yes) [ "$here" != "$there" ] || fail "$mode: the host's $1 namespace" ;;
    no) [ "$here" = "$there" ] || fail "$mode: a $1 namespace of its own" ;;
    esac
    n=$((n + 1))
}

for mode in strict relaxed off; do
    user=() uid=0
    if [ "$mode" = strict ]; then
        user=(--worker-user nobody) uid=65534
    fi
    serve --device CPU --sandbox "$mode" "${user[@]}"
    endless
    worker=$(workers)
    status NoNewPrivs 1
    case $mode in
    strict) status Seccomp_filters 2 ;;
    relaxed) status Seccomp_filters 1 ;;
    off) status Seccomp_filters 0 ;;
    esac
    status Uid "$uid\t$uid\t$uid\t$uid"
    if [ "$mode" = off ]; then
        other_namespace net no
    else
        status CapEff 0000000000000000
        status CapPrm 0000000000000000
        other_namespace net yes
        other_namespace ipc yes
    fi
    # Of the guest's memory it has what is mapped, and no descriptor.
    files=$(find "/proc/$worker/fd" -ignore_readdir_race -type l -printf '%l\n')
    grep -q eventfd <<<"$files" || fail "$mode: no descriptors to look at"
    arena=$(awk '$2 ~ /rw-s/ && /memfd:vgr/ { print $6 }' "/proc/$worker/maps" | sort -u)
    [ -n "$arena" ] || fail "$mode: no arena is mapped"
    for name in $arena; do
        ! grep -qF "$name" <<<"$files" || fail "$mode: a descriptor of $name: $files"
        n=$((n + 1))
    done
    kill "$program"
    wait "$program" 2>/dev/null || true
    stop_serving
done
[ "$n" -gt 30 ] || fail "only $n things looked at"
echo "$n things looked at"
