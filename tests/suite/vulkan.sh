#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 1800 5
#
# GGML's own suite on Vulkan: every op, at least 4000 cases, no failure. At level check a third of them.
share=(--shard 1/3 --min 1300)
[ "$VGR_LEVEL" != full ] || share=(--min 4000)
exec "$VGR_TOP/tests/suite/backend-ops" --device Vulkan0 "${share[@]}"
