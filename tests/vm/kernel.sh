#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 120 10
#
# vgr-vm boots a kernel from anywhere, with its modules from anywhere: here copies of the tool box's
# under other paths, the modules without indexes, as a package brings them. What is no kernel, or has
# no modules, is refused in one line.
. "$VGR_TOP/tests/lib.sh"

own=$(printf '%s\n' /boot/vmlinuz-* | sort -V | tail -n 1)
version=${own#/boot/vmlinuz-}
cp "$own" "$VGR_SCRATCH/linux"
# Of the modules, those that a guest needs.
mkdir "$VGR_SCRATCH/modules"
cp "/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$VGR_SCRATCH/modules"
modprobe -S "$version" -a -D 9p 9pnet_virtio overlay virtio-gpu virtio_net |
    awk '$1 == "insmod" { print $2 }' | sort -u | xargs cp --parents -t "$VGR_SCRATCH"
mv "$VGR_SCRATCH/lib/modules/$version/kernel" "$VGR_SCRATCH/modules"

# boots OPTION...
boots() {
    local got
    got=$("$vm" --front none --kernel "$VGR_SCRATCH/linux" "$@" -- uname -r)
    [ "$got" = "$version" ] || fail "the guest's kernel is '$got', not $version"
}
boots
boots --modules "$VGR_SCRATCH/modules"

# refuses STATUS TEXT OPTION...
refuses() {
    local want=$1 text=$2 status=0
    shift 2
    "$vm" --front none "$@" -- true >"$VGR_SCRATCH/out" 2>&1 || status=$?
    cat "$VGR_SCRATCH/out"
    [ "$status" -eq "$want" ] && [ "$(wc -l <"$VGR_SCRATCH/out")" -eq 1 ] &&
        grep -qF -- "$text" "$VGR_SCRATCH/out" || fail "status $status for: $*"
}
refuses 2 '--kernel: cannot read' --kernel "$VGR_SCRATCH/none"
refuses 2 '--kernel: not a Linux kernel' --kernel /etc/passwd
refuses 2 '--modules: no such folder' --kernel "$VGR_SCRATCH/linux" --modules "$VGR_SCRATCH/none"
# The same kernel, but for the version that it says it is.
sed "s/$version/9${version#?}/" "$own" >"$VGR_SCRATCH/other"
refuses 125 "no modules of 9${version#?}" --kernel "$VGR_SCRATCH/other"
echo "2 guests, 4 refusals"
