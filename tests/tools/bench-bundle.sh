#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 900 20
#
# What bench/bundle packs is all that bench/gpu.sh needs: in a chroot that has nothing else, the
# benchmark's programs find each other and give the right text, and a virtual machine boots and does, too.
# The CPU stands in for the GPU.
set -euo pipefail

work=$(mktemp -d /tmp/vgr-gpu.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
"$VGR_TOP/bench/bundle" --vm
unshare --mount --propagation unchanged -- "$VGR_TOP/bench/gpu.sh" --device CPU --quick --work "$work" \
    --parts 'text counters probe guest' --out "$VGR_SCRATCH/out"
python3 - "$VGR_SCRATCH/out/bench.json" <<'TEXT'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    figures = json.load(f)
assert figures["text_identical"] == 1
assert figures["guest.text_identical"] == 1
assert figures["guest.tiny.tg.vm"] > 0 and figures["guest.tiny.tg.rpc"] > 0
assert figures["probe.rtt.ours.p50"] > 0 and figures["probe.rtt.rpc.p50"] > 0
print(f"{len(figures)} figures")
TEXT
