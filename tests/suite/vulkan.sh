#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 1200 5
#
# GGML's own suite on Vulkan: every op, at least 4000 cases, no failure.
exec "$VGR_TOP/tests/suite/backend-ops" --device Vulkan0 --min 4000
