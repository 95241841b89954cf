#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: soak 180000 21
#
# GGML's own suite on Vulkan, all of it: many hours on lavapipe. To share them out among machines or
# days: backend-ops --device Vulkan0 --all --shard I/N.
exec "$VGR_TOP/tests/suite/backend-ops" --device Vulkan0 --all --min 15000
