#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 3600 16
#
# Thousands of contexts are opened and closed, and many killed in mid-graph: afterwards vgr-device holds
# exactly what it held before, processes, descriptors, mappings, device memory; its own memory has not
# grown by more than 256 KiB since the first few hundred. At level full ten thousand are opened, and
# a thousand workers killed; else a thirtieth of that.
. "$VGR_TOP/tests/soak/lib.sh"

plain=300 kills=30 leaves=10
if [ "$VGR_LEVEL" = full ]; then
    plain=9000 kills=1000 leaves=300
fi
stats=$VGR_SCRATCH/stats.sock
serve --device CPU --stats "$stats" --log-level error
soak() {
    "$build/tests/soak/soak" "$socket" "$device" "$@"
}

# The first ones make the device's own pools and the C library's heap grow.
soak 4 60 8 4
before=$(exact_holdings "$stats") rss=$(resident)
echo "before: $before (processes, descriptors, mappings, contexts, device memory), $rss KiB"
soak 4 $plain $kills $leaves
after=$(exact_holdings "$stats") now_rss=$(resident)
echo "after: $after, $now_rss KiB"
[ "$before" = "$after" ] || fail "it holds other things than before"
[ $((now_rss - rss)) -le 256 ] || fail "$((now_rss - rss)) KiB more than before"
cat "$VGR_SCRATCH/device.log"
stop_serving
echo "$((plain + kills + leaves)) contexts, $kills killed: holds ${after//  / } as before," \
    "$((now_rss - rss)) KiB more"
