#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 240 12
#
# In a VM, memory over the limit is refused and the context lives on; a graph over its time is ended
# within three seconds, and the program goes on with a new context.
. "$VGR_TOP/tests/lib.sh"

limit=25165824
cat >"$VGR_SCRATCH/orders" <<TEXT
memory
alloc $((limit + 1))
alloc $limit
memory
free
compute 1
compute 6000
memory
compute 1
quit
TEXT
cat >"$VGR_SCRATCH/want" <<TEXT
$limit $limit
refused
ok
0 $limit
ok
success
failed
$limit $limit
success
TEXT
cat >"$VGR_SCRATCH/guest.sh" <<'TEXT'
llama-bench --list-devices >/run/vgr/list 2>/run/vgr/log || exit 11
"$1" </run/vgr/orders >/run/vgr/answers 2>>/run/vgr/log
TEXT
"$vm" --device CPU --device-arg --memory-limit --device-arg 24M --device-arg --graph-timeout \
    --device-arg 1 --work "$VGR_SCRATCH" -- bash /run/vgr/guest.sh \
    "$VGR_TOP/build/obj/tests/direct/limits" 2>"$VGR_SCRATCH/vm.log" ||
    fail "the guest ended with status $?: $(tail -n 3 "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log")"
cat "$VGR_SCRATCH/answers" "$VGR_SCRATCH/log" "$VGR_SCRATCH/vm.log"
grep -q '^  VirtGPU0: .* (24 MiB, 24 MiB free)$' "$VGR_SCRATCH/list" || fail "--list-devices"
ms=$(sed -n 's/^failed //p' "$VGR_SCRATCH/answers")
sed 's/^\([a-z]*\) .*/\1/' "$VGR_SCRATCH/answers" | cmp - "$VGR_SCRATCH/want" ||
    fail "other answers than expected"
if [ "$ms" -lt 1000 ] || [ "$ms" -ge 3000 ]; then
    fail "the failure took $ms ms"
fi
grep -q "ggml-virtgpu: .*a graph ran longer than the host's limit of 1 s" "$VGR_SCRATCH/log" ||
    fail "the program is not told why"
for line in 'device memory for the guest: over --memory-limit' 'ends: a graph ran longer'; do
    [ "$(grep -c "$line" "$VGR_SCRATCH/vm.log")" -eq 1 ] || fail "the operator is not told: $line"
done
echo "$(wc -l <"$VGR_SCRATCH/want") answers right, the failure took $ms ms"
