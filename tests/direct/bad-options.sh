#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 4
#
# What a person can get wrong on vgr-device's command line: one line that says what, exit status 2,
# and nothing left behind.
. "$VGR_TOP/tests/direct/lib.sh"

# refuses TEXT COMMAND...: it ends with 2 and one line that contains TEXT
refuses() {
    local text=$1 status=0
    shift
    timeout 20 "$@" >"$VGR_SCRATCH/out" 2>&1 </dev/null || status=$?
    cat "$VGR_SCRATCH/out"
    if [ "$status" -ne 2 ]; then
        echo "FAIL direct/bad-options: '$text' (status $status)"
    elif [ "$(wc -l <"$VGR_SCRATCH/out")" -ne 1 ]; then
        echo "FAIL direct/bad-options: '$text' (not one line)"
    elif ! grep -qF -- "$text" "$VGR_SCRATCH/out"; then
        echo "FAIL direct/bad-options: '$text' (another text)"
    else
        echo "ok direct/bad-options: '$text'"
        return 0
    fi
    bad=1
}

bad=0
refuses 'unknown or ambiguous option: --frobnicate' "$vgr_device" --frobnicate
refuses 'unexpected argument: word' "$vgr_device" --direct "$socket" word
refuses 'whom to serve?' "$vgr_device"
refuses '--device needs a value' "$vgr_device" --direct "$socket" --device
refuses "--device: ''" "$vgr_device" --direct "$socket" --device ''
refuses 'no device named Toaster7' "$vgr_device" --direct "$socket" --device Toaster7
refuses "--arena-size: '64X'" "$vgr_device" --direct "$socket" --arena-size 64X
refuses '--arena-size: 8G' "$vgr_device" --direct "$socket" --arena-size 8G
refuses "--memory-limit: 'lots'" "$vgr_device" --direct "$socket" --memory-limit lots
refuses '--memory-limit: 8 is less than 1M' "$vgr_device" --direct "$socket" --memory-limit 8
refuses '--context-memory-limit is larger' "$vgr_device" --direct "$socket" --memory-limit 1G \
    --context-memory-limit 2G
refuses "--graph-timeout: 'soon'" "$vgr_device" --direct "$socket" --graph-timeout soon
refuses '--log-level: ' "$vgr_device" --direct "$socket" --log-level loud
refuses "--sandbox: 'lax'" "$vgr_device" --direct "$socket" --sandbox lax
refuses "--worker-user: no user 'nobodyx'" "$vgr_device" --direct "$socket" --worker-user nobodyx
refuses "--shader-cache: '$VGR_SCRATCH/none'" "$vgr_device" --direct "$socket" \
    --shader-cache "$VGR_SCRATCH/none"
refuses '--fd' "$vgr_device" --fd 99
refuses "$VGR_SCRATCH/none/socket" "$vgr_device" --direct "$VGR_SCRATCH/none/socket"
refuses 'must have 1 to 107 bytes' "$vgr_device" --direct "/tmp/$(printf 'x%.0s' {1..120})"
refuses "$VGR_SCRATCH/no-worker" "$vgr_device" --direct "$socket" --worker "$VGR_SCRATCH/no-worker"
# No backend folder: an empty tmpfs over it, seen by nobody else.
# shellcheck disable=SC2016 # the inner shell expands
refuses 'backend' unshare --mount --propagation unchanged sh -c '
    for dir in /usr/lib/*/ggml/backends*; do mount -t tmpfs none "$dir"; done
    exec "$@"' sh "$vgr_device" --direct "$socket"
touch "$VGR_SCRATCH/file"
ln -s file "$VGR_SCRATCH/link"
refuses "--pid-file: $VGR_SCRATCH/link: it is a link" "$vgr_device" --direct "$socket" --device CPU \
    --pid-file "$VGR_SCRATCH/link"
[ ! -s "$VGR_SCRATCH/file" ] || fail "it was written through a link"
refuses '--stats needs a value' "$vgr_device" --direct "$socket" --stats
refuses "--stats: cannot listen on $VGR_SCRATCH/none/stats" "$vgr_device" --direct "$socket" --device CPU \
    --stats "$VGR_SCRATCH/none/stats"
refuses '--stats: socket path' "$vgr_device" --direct "$socket" --device CPU \
    --stats "/tmp/$(printf 'x%.0s' {1..120})"
refuses 'is not a socket' "$vgr_device" --direct "$socket" --device CPU --stats "$VGR_SCRATCH/file"
refuses 'a path each' "$vgr_device" --direct "$socket" --device CPU --stats "$socket"
serve --device CPU
refuses "--stats: $socket is in use" "$vgr_device" --direct "$socket.2" --device CPU \
    --stats "$socket"
refuses "$socket" "$vgr_device" --direct "$socket" --device CPU
on_device llama-completion --list-devices 2>/dev/null | grep -q '^  VirtGPU0: ' ||
    fail "the first one does not serve any more"
stop_serving
[ -z "$(find "$VGR_SCRATCH" -type s)" ] || fail "sockets are left"
exit "$bad"
