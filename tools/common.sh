# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# common.sh - what vgr-run, vgr-vm and vgr-demo share; bash, to be sourced
#
# After sourcing: $here is the script's folder, $top the checkout ('' for an installed script),
# $build the meson build folder. In a checkout the script runs inside the tool box from here on.

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd -P)
self=$(basename "${BASH_SOURCE[1]}")
top=
if [ -e "$here/in-root" ]; then
    top=${here%/*}
fi
build=${VGR_BUILD:-$top/build/obj}

# say LINE: progress, for people
say() {
    echo "$self: $*" >&2
}

# die LINE: failure of ours
die() {
    say "$*"
    exit 125
}

# usage_error LINE
usage_error() {
    say "$* (see --help)"
    exit 2
}

# need_value "$@": the option at hand has a value
need_value() {
    [ $# -ge 2 ] || usage_error "$1: value missing"
}

# enter_root "$@": goes on inside the tool box
enter_root() {
    if [ -n "$top" ] && [ ! -e /etc/vgr-toolbox ]; then
        exec "$here/in-root" -- "$here/$self" "$@"
    fi
}

# has_hardware_gpu: a GPU that ggml's backends can use is there
has_hardware_gpu() {
    compgen -G '/dev/dri/renderD*' >/dev/null || [ -e /dev/nvidiactl ] || return 1
    env -u GGML_VK_VISIBLE_DEVICES -u VK_DRIVER_FILES llama-bench --list-devices 2>/dev/null |
        grep -q '^  [A-Za-z]*[0-9]*: '
}

# host_gpu_env: without a hardware GPU, lets the host side use lavapipe, which is Vulkan on the
# CPU. ggml's Vulkan backend takes a device of type CPU only where it is chosen by number.
host_gpu_env() {
    local icd=/usr/share/vulkan/icd.d/lvp_icd.json
    if [ -z "${GGML_VK_VISIBLE_DEVICES+set}" ] && [ -e "$icd" ] && ! has_hardware_gpu; then
        export GGML_VK_VISIBLE_DEVICES=0 VK_DRIVER_FILES=$icd
    fi
}

# "${no_gpu[@]}" [NAME=VALUE...] COMMAND...: runs it so that it sees no host GPU but ours, and in the place of
# this very process. A shell makes its background commands ignore the keyboard's signals: this undoes that.
# shellcheck disable=SC2034 # for those who source this
no_gpu=(env --default-signal=INT,QUIT -u GGML_VK_VISIBLE_DEVICES VK_DRIVER_FILES=/dev/null
    CUDA_VISIBLE_DEVICES=)

# OpenMP's threads (those of GGML's CPU backend) spin for milliseconds when they have nothing to do. A
# program that computes a part of each graph itself then takes the processors from the host's end, and that
# from the program. vgr-device gives its workers the same.
calm_openmp=GOMP_SPINCOUNT=300

# find_device_program: sets $vgr_device
find_device_program() {
    vgr_device=$build/src/device/vgr-device
    if [ -z "$top" ]; then
        vgr_device=$(command -v vgr-device) || die "vgr-device is not on the PATH"
    fi
    [ -x "$vgr_device" ] || die "$vgr_device is missing: run 'make build' first"
}

# kvm_usable: not only that /dev/kvm opens. On a machine that is a virtual one itself, it may open
# and yet hang a stock kernel; only where the processor has virtualization does it do its work.
kvm_usable() {
    grep -qE '^flags.* (vmx|svm)( |$)' /proc/cpuinfo && { : <>/dev/kvm; } 2>/dev/null
}

# listening SOCKET: someone listens on it
listening() {
    # The fourth column of /proc/net/unix has bit 16 set for a listening socket.
    awk -v path="$1" '$4 == "00010000" && $8 == path { found = 1 } END { exit !found }' \
        /proc/net/unix
}

# start_device SOCKET OPTION...: starts vgr-device, sets $device_pid, waits until it listens
start_device() {
    local socket=$1 i
    shift
    find_device_program
    host_gpu_env
    if [ -n "$top" ]; then
        set -- --worker "$build/src/worker/vgr-worker" "$@"
    fi
    setpriv --pdeathsig TERM "$vgr_device" "$@" </dev/null &
    device_pid=$!
    for ((i = 0; i < 1000; i++)); do
        ! listening "$socket" || return 0
        kill -0 "$device_pid" 2>/dev/null || break
        sleep 0.01
    done
    if kill -0 "$device_pid" 2>/dev/null; then
        die "vgr-device does not listen after 10 seconds"
    fi
    local status=0
    wait "$device_pid" || status=$?
    device_pid=
    die "vgr-device ended with status $status before it listened"
}

# stop_process PID [SIGNAL [SECONDS]]: asks it to end (by SIGTERM), and makes it when the time (2 s) is over
stop_process() {
    local i
    [ -n "$1" ] || return 0
    kill -s "${2:-TERM}" "$1" 2>/dev/null || return 0
    for ((i = 0; i < ${3:-2} * 100; i++)); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.01
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
