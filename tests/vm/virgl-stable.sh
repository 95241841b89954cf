#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 7200 20
# vgr-runs: tests/vm/*.sh
#
# The bridge before an older virglrenderer: all tests virgl-* pass in the QEMU of Debian stable, too,
# which was built with virglrenderer 1.1 and so takes fences on its own thread only. First it is made
# sure that these are what runs.
. "$VGR_TOP/tests/lib.sh"

export VGR_MONITOR_ROOT=$VGR_TOP/build/root-stable
[ -e "$VGR_MONITOR_ROOT/etc/vgr-toolbox" ] || fail "no root of Debian stable: run tools/toolbox --stable"

# version PACKAGE: of that root
version() {
    dpkg-query --admindir="$VGR_MONITOR_ROOT/var/lib/dpkg" -Wf '${Version}' "$1"
}
# inode FILE...: of that root, links followed
inode() {
    stat -L -c %i "$VGR_MONITOR_ROOT$1"
}

scratch=$VGR_SCRATCH
VGR_VIRGL_LOG=debug "$vm" --front virgl --device CPU --work "$scratch" -- sh -c '
    touch /run/vgr/begins
    while [ ! -e /run/vgr/seen ]; do sleep 0.1; done
    llama-bench --list-devices' >"$scratch/out" 2>"$scratch/vm.log" &
machine=$!
begun() {
    [ -e "$scratch/begins" ] || ! kill -0 $machine 2>/dev/null
}
wait_for 120 begun || fail "the guest does not begin: $(cat "$scratch/vm.log")"
qemu=$(monitor_of "$scratch") || fail "no QEMU: $(cat "$scratch/vm.log")"
program=$(stat -L -c %i "/proc/$qemu/exe")
library=$(awk '$6 ~ /libvirglrenderer/ { print $5; exit }' "/proc/$qemu/maps")
touch "$scratch/seen"
wait $machine || fail "the guest: status $?: $(cat "$scratch/vm.log")"
cat "$scratch/out" "$scratch/vm.log"
[ "$program" -eq "$(inode /usr/bin/qemu-system-x86_64)" ] || fail "another QEMU"
[ "${library:-0}" -eq "$(inode /usr/lib/*/libvirglrenderer.so.1)" ] || fail "another virglrenderer"
[[ $(version libvirglrenderer1) == 1.1.* ]] || fail "virglrenderer $(version libvirglrenderer1)"
grep -q '^vgr-virgl: synchronous fences$' "$scratch/vm.log" || fail "no synchronous fences"
grep -q '^  VirtGPU0: ' "$scratch/out" || fail "no device"
echo "ok vm/virgl-stable (QEMU $(version qemu-system-x86), virglrenderer $(version libvirglrenderer1))"

failed=0
for file in "$VGR_TOP"/tests/vm/virgl-*.sh; do
    name=$(basename "$file" .sh)
    [ "$name" != virgl-stable ] || continue
    read -r _ timeout _ < <(sed -n 's/^# vgr-test: *//p;T;q' "$file")
    export VGR_SCRATCH=$scratch/$name
    mkdir "$VGR_SCRATCH"
    status=0
    setpriv --pdeathsig TERM timeout --kill-after=10 "$timeout" "$file" >"$scratch/$name.log" 2>&1 ||
        status=$?
    if [ $status -eq 0 ]; then
        echo "ok vm/virgl-stable/$name ($(tail -n 1 "$scratch/$name.log"))"
    else
        failed=$((failed + 1))
        tail -n 20 "$scratch/$name.log" | sed 's/^/    /'
        echo "FAIL vm/virgl-stable/$name (status $status)"
    fi
    rm -rf "$VGR_SCRATCH"
done
[ $failed -eq 0 ]
