#!/bin/bash
# SPDX-License-Identifier: MIT
#
# gpu.sh - the benchmark on a machine with an NVIDIA GPU, its driver, and nothing else
#
# Unpacks the bundle into a folder, puts a copy of the driver's libraries beside it, and runs
# bench/run with every program in a chroot there. bench/run itself needs python3.

set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)

usage() {
    cat <<'TEXT'
usage: bench/gpu.sh [OPTION...] [OPTION of bench/run...]

    bench/bundle [--vm]                         where the tool box is: packs the bundle
    bench/gpu.sh --out DIR                      where the GPU is, as root

Prints the benchmark's tables and writes bench.txt and bench.json into DIR. All of it takes less than
nine minutes on a machine with 16 processors: rounds that would end later are left out.

  --out DIR      the folder for the results (default: build/gpu)
  --bundle FILE  what bench/bundle packed (default: build/gpu-bundle.tar.xz)
  --work DIR     the folder to unpack into, below /tmp (default: /tmp/vgr-gpu)
  --device NAME  the device (default: Vulkan0); CPU needs no driver, and tries the bundle anywhere
  -h, --help     this text

The part "guest", of a virtual machine, needs a bundle packed with --vm.

and of bench/run: --models "tiny16 1b 8b", --parts "probe speed", --peers "native ours", --rounds N, --pp N, --tg N,
--repetitions N, --quick, --limit S; bench/run --help tells more.
TEXT
}

die() {
    echo "gpu.sh: $*" >&2
    exit 2
}

out=$top/build/gpu bundle=$top/build/gpu-bundle.tar.xz work=/tmp/vgr-gpu device=Vulkan0 limit=480
rest=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --out | --bundle | --work | --device | --limit | --models | --parts | --peers | --rounds | --pp | \
        --tg | --repetitions | --client-timeout)
        [ $# -ge 2 ] || die "$1: value missing (see --help)"
        ;;&
    --out) out=$2 ;;
    --bundle) bundle=$2 ;;
    --work) work=$2 ;;
    --device) device=$2 ;;
    --limit) limit=$2 ;;
    --quick) rest+=("$1") && shift && continue ;;
    --models | --parts | --peers | --rounds | --pp | --tg | --repetitions | --client-timeout)
        rest+=("$1" "$2")
        ;;
    *) die "unknown option: $1 (see --help)" ;;
    esac
    shift 2
done
[ "$(id -u)" -eq 0 ] || die "needs root, for chroot and mount"
[ -r "$bundle" ] || die "no bundle $bundle: bench/bundle packs it"
[[ $limit =~ ^[1-9][0-9]*$ ]] || die "--limit: not a number of seconds: $limit"
[[ $work == /tmp/* ]] || die "--work: not below /tmp: $work"

root=$work/root mounts=()
for folder in proc sys dev tmp run/vgr-root "${top#/}"; do
    mounts+=("$root/$folder")
done
[ ! -e "$root" ] || umount -R "${mounts[@]}" 2>/dev/null || true
if ! cmp -s "$bundle" "$work/bundle"; then
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    tar -C "$root" -xJf "$bundle"
    cp "$bundle" "$work/bundle"
fi

environment=(HOME="$work")
if [ "$device" != CPU ]; then
    # The driver's libraries, wherever this machine keeps them. Copied, not mounted: the folder may be
    # the system's own, with another libc in it.
    glsi=$(find / -name 'libnvidia-glsi.so.*' -not -path "$work/*" -print -quit 2>/dev/null || true)
    [ -n "$glsi" ] || die "no NVIDIA Vulkan driver (libnvidia-glsi.so) here"
    mkdir -p "$root/vgr/nvidia"
    cp -Lu "${glsi%/*}"/lib*nvidia*.so.* "$root/vgr/nvidia/" 2>/dev/null || true
    # Through EGL: the GLX library refuses to start where there is no display.
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.4.0"}}\n' \
        libEGL_nvidia.so.0 >"$root/vgr/icd.json"
    # As on any machine in use, shaders that were compiled once are found on the disk.
    mkdir -p "$work/shaders"
    chmod 700 "$work/shaders"
    environment+=(VK_DRIVER_FILES=/vgr/icd.json LD_LIBRARY_PATH=/vgr/nvidia __GL_SHADER_DISK_CACHE=1
        __GL_SHADER_DISK_CACHE_PATH="$work/shaders" __GL_SHADER_DISK_CACHE_SKIP_CLEANUP=1)
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
fi

for folder in /proc /sys /dev /tmp; do
    mount --rbind "$folder" "$root$folder"
    mount --make-rslave "$root$folder" 2>/dev/null || true
done
cleanup() {
    umount -R -l "${mounts[@]}" 2>/dev/null || true
}
trap cleanup EXIT

# The tools of the checkout where they are outside, and the root without these mounts for a machine's
# guests to have theirs from.
if [ -e "$root/vgr/vm" ]; then
    mkdir -p "$root$top" "$root/run/vgr-root" "$top/build/vm"
    mount --bind "$top" "$root$top"
    mount --bind "$root" "$root/run/vgr-root"
    cp -u "$root"/vgr/vm/initrd-* "$top/build/vm"
fi

mkdir -p "$out"
env "${environment[@]}" python3 "$top/bench/run" --prefix "chroot $root" --build /vgr \
    --model-folder "$work" --device "$device" --out "$out" \
    --limit $((limit > SECONDS ? limit - SECONDS : 1)) "${rest[@]}"
