# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the tests that run tests/direct/renew.c in a VM and end its worker, by whatever means: the
# guest and the host take turns by way of files in the work folder.
. "$VGR_TOP/tests/lib.sh"

# start_renewing ROUNDS [OPTION OF VGR-VM...]: sets $machine, its process
start_renewing() {
    local rounds=$1
    shift
    cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
for i in $(seq "$2"); do
    while [ ! -e "/run/vgr/killed-$i" ]; do sleep 0.1; done
    echo go
done | "$1" "$2" >/run/vgr/out 2>/run/vgr/log
TEXT
    "$vm" --device CPU --work "$VGR_SCRATCH" "$@" -- \
        bash -o pipefail /run/vgr/guest.sh "$VGR_TOP/build/obj/tests/direct/renew" "$rounds" \
        >"$VGR_SCRATCH/vm.log" 2>&1 &
    machine=$!
}

# What guest and machine said.
told() {
    cat "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log"
}

# ready ROUND: the guest's program is, or the machine has ended
ready() {
    [ "$(grep -c ready "$VGR_SCRATCH/out" 2>/dev/null)" -ge "$1" ] ||
        ! kill -0 "$machine" 2>/dev/null
}

# The round's worker is gone: goes on. ROUND
killed() {
    touch "$VGR_SCRATCH/killed-$1"
}

# Waits for the machine; nothing is left in the program. Sets $slowest, ms.
finish_renewing() {
    local fds now_fds maps now_maps
    wait "$machine" || fail "the guest: status $?: $(told)"
    read -r slowest fds now_fds maps now_maps < <(tail -n 1 "$VGR_SCRATCH/out")
    [ "$fds" -eq "$now_fds" ] || fail "the program: $fds descriptors, then $now_fds"
    [ $((now_maps - maps)) -le 2 ] || fail "the program: $maps mappings, then $now_maps"
}
