# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the tests of the direct front: a vgr-device under the test's own control, programs on
# it, and what it holds.

# shellcheck source=../lib.sh
. "$VGR_TOP/tests/lib.sh"
# shellcheck source=../../tools/common.sh
. "$VGR_TOP/tools/common.sh"
build=${VGR_BUILD:-$VGR_TOP/build/obj}
export VGR_WORKER=$build/src/worker/vgr-worker
vgr_device=$build/src/device/vgr-device
# shellcheck disable=SC2034 # for the tests
vgr_run=$VGR_TOP/tools/vgr-run
plugin=$build/src/guest/libggml-virtgpu.so
socket=$VGR_SCRATCH/direct.sock
# Program and worker share the processors: OpenMP threads that spin after their work would be in
# each other's way.
export OMP_WAIT_POLICY=passive

# serve OPTION...: starts vgr-device on $socket, sets $device
serve() {
    setpriv --pdeathsig KILL "$vgr_device" --direct "$socket" --log-level warn "$@" \
        >"$VGR_SCRATCH/device.log" 2>&1 &
    device=$!
    wait_for 10 listening "$socket" ||
        fail "vgr-device does not listen: $(cat "$VGR_SCRATCH/device.log")"
}

# A backend of several devices that compute on the CPU (tests/backend/many.c), for the worker or natively.
many=$build/tests/backend/libggml-many.so

# serve_many OPTION...: as serve, on a host that has them too
serve_many() {
    GGML_BACKEND_PATH=$many VK_DRIVER_FILES=/dev/null serve "$@"
}

# many_natively COMMAND...: runs a program on them
many_natively() {
    env -u GGML_VK_VISIBLE_DEVICES VK_DRIVER_FILES=/dev/null GGML_BACKEND_PATH="$many" "$@"
}

# What a program needs to run on the device that serve starts, and on no other.
# shellcheck disable=SC2054 # the comma is env's
on=(setpriv --pdeathsig KILL env --default-signal=INT,QUIT -u GGML_VK_VISIBLE_DEVICES
    VK_DRIVER_FILES=/dev/null CUDA_VISIBLE_DEVICES= VGR_DIRECT="$socket" GGML_BACKEND_PATH="$plugin")

# on_device COMMAND...: runs a program on it
on_device() {
    "${on[@]}" "$@"
}

# workers: the process ids of the device's workers
workers() {
    pgrep -P "$device" || true
}

no_worker() {
    [ -z "$(workers)" ]
}

one_worker() {
    [ "$(workers | wc -w)" -eq 1 ]
}

# holdings: descriptors, mappings and resident KiB of the device once it is at rest: it closes what
# belonged to a worker a moment after the worker is gone
holdings() {
    local now='' before i
    for ((i = 0; i < 50; i++)); do
        before=$now
        now="$(find "/proc/$device/fd" -ignore_readdir_race -mindepth 1 | wc -l) $(wc -l <"/proc/$device/maps")"
        [ "$now" != "$before" ] || break
        sleep 0.2
    done
    echo "$now $(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$device/status")"
}

holds_descriptors() {
    local fds rest
    read -r fds rest <<<"$(holdings)"
    [ "$fds" -eq "$1" ]
}

# same_holdings BEFORE: the device comes to hold what it held BEFORE, give or take 512 KiB
same_holdings() {
    local fds maps rss now_fds now_maps now_rss
    wait_for 10 no_worker || fail "workers are left: $(workers)"
    read -r fds maps rss <<<"$1"
    # What a client sent last is closed by a process of its own.
    wait_for 10 holds_descriptors "$fds" || true
    read -r now_fds now_maps now_rss <<<"$(holdings)"
    [ "$fds" -eq "$now_fds" ] || fail "$fds descriptors before, $now_fds after"
    [ $((now_maps - maps)) -le 2 ] || fail "$maps mappings before, $now_maps after"
    [ $((now_rss - rss)) -le 512 ] || fail "$rss KiB before, $now_rss KiB after"
}

# stop_serving: ends the device, which must go in peace and leave no socket
stop_serving() {
    local status=0
    kill "$device"
    wait "$device" || status=$?
    [ "$status" -eq 0 ] || fail "vgr-device ended with status $status"
    [ ! -e "$socket" ] || fail "the socket is left"
}

# endless: starts an endless completion on the device, sets $program; returns once it writes text.
# Not through the function: $program is then the program, and no shell around it.
endless() {
    completion "$model" 100000
    : >"$VGR_SCRATCH/endless" # or the text of an earlier one is taken for its own
    "${on[@]}" "${completion[@]}" -dev VirtGPU0 -ngl 99 -c 0 >"$VGR_SCRATCH/endless" \
        2>"$VGR_SCRATCH/endless.log" &
    # shellcheck disable=SC2034 # for the tests
    program=$!
    wait_for 60 eval "[ \"\$(stat -c %s '$VGR_SCRATCH/endless')\" -ge 60 ]" || {
        tail -n 5 "$VGR_SCRATCH/endless.log"
        fail "no text"
    }
}
