#!/bin/bash
# SPDX-License-Identifier: MIT
#
# gpu.sh - the speed of vgr on a machine with an NVIDIA GPU, its driver, and nothing else
#
#     bench/bundle                                   # where the tool box is: packs build/gpu-bundle.tar.xz
#     bench/gpu.sh [--models "1b 8b"] [--out DIR]    # where the GPU is, as root
#
# Unpacks the bundle into a folder, chroots into it beside a copy of the driver's libraries, makes the
# models, checks that greedy text is the same natively and remotely, and runs bench/compare.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
models='tiny16 1b 8b'
out=$top/build/gpu
rounds=5
work=/tmp/vgr-gpu
bundle=$top/build/gpu-bundle.tar.xz
only=native,vgr,rpc

while [ $# -gt 0 ]; do
    case $1 in
    --models) models=$2 && shift 2 ;;
    --out) out=$2 && shift 2 ;;
    --rounds) rounds=$2 && shift 2 ;;
    --bundle) bundle=$2 && shift 2 ;;
    --only) only=$2 && shift 2 ;;
    *) echo "gpu.sh: unknown option: $1" >&2 && exit 2 ;;
    esac
done

mkdir -p "$out" "$work/root"
[ -d "$work/root/vgr" ] || tar -C "$work/root" -xJf "$bundle"

# The driver's libraries, wherever this machine keeps them.
glsi=$(find / -name 'libnvidia-glsi.so.*' -not -path "$work/*" 2>/dev/null | head -1)
[ -n "$glsi" ] || { echo "gpu.sh: no NVIDIA Vulkan driver (libnvidia-glsi.so) here" >&2; exit 1; }
nvlib=$(dirname "$glsi")

# Copied, not mounted: the folder may be the system's own, with another libc in it.
mkdir -p "$work/root/vgr/nvidia"
cp -Lu "$nvlib"/lib*nvidia*.so.* "$work/root/vgr/nvidia/" 2>/dev/null || true

for d in /proc /sys /dev /tmp; do
    mkdir -p "$work/root$d"
    mountpoint -q "$work/root$d" || mount --rbind "$d" "$work/root$d"
done
# Through EGL: the GLX library refuses to start where there is no display.
echo '{"file_format_version":"1.0.0","ICD":{"library_path":"libEGL_nvidia.so.0","api_version":"1.4.0"}}' \
    >"$work/root/vgr/icd.json"
export VK_DRIVER_FILES=/vgr/icd.json LD_LIBRARY_PATH=/vgr/nvidia
in="chroot $work/root"

# bench/compare expects the layout of a build folder.
mkdir -p "$work"/root/vgr/{device,worker,guest}
for p in device/vgr-device worker/vgr-worker guest/libggml-virtgpu.so; do
    [ -e "$work/root/vgr/$p" ] || cp "$work/root/vgr/${p#*/}" "$work/root/vgr/$p"
done

uname -a
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
$in /vgr/worker/vgr-worker --list-devices

list=()
for m in $models; do
    [ -e "$work/$m.gguf" ] || $in /vgr/vgr-mkmodel --preset "$m" -o "$work/$m.gguf" >/dev/null
    list+=(--model "$m=$work/$m.gguf")
done

# Text first: speed means nothing if the answer is another.
first=${models%% *}
args=(-m "$work/$first.gguf" -p Hello -n 64 --temp 0 --seed 1 -no-cnv --ignore-eos -c 512 -ngl 99)
native=$($in /usr/bin/llama-completion "${args[@]}" -dev Vulkan0 2>/dev/null </dev/null | md5sum)
$in /vgr/device/vgr-device --direct /tmp/vgr-text.sock --device Vulkan0 \
    --worker /vgr/worker/vgr-worker --log-level warn &
daemon=$!
sleep 3
remote=$(VGR_DIRECT=/tmp/vgr-text.sock GGML_BACKEND_PATH=/vgr/guest/libggml-virtgpu.so \
    $in /usr/bin/llama-completion "${args[@]}" -dev VirtGPU0 2>"$out/text.log" </dev/null | md5sum)
kill "$daemon"
echo "text of $first: native $native, vgr $remote"
[ "$native" = "$remote" ] && echo "text identical: yes" || echo "text identical: NO"

python3 "$top/bench/compare" --prefix "$in" --vgr /vgr --device Vulkan0 --rounds "$rounds" \
    --only "$only" --key gpu --json "$out/gpu.json" "${list[@]}"
