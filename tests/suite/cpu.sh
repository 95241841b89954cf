#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 900 5
#
# GGML's own suite on the CPU device: every op, at least 4000 cases, no failure. At level check a third of them.
share=(--shard 2/3 --min 1300)
[ "$VGR_LEVEL" != full ] || share=(--min 4000)
exec "$VGR_TOP/tests/suite/backend-ops" --device CPU "${share[@]}"
