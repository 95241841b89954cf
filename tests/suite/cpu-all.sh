#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 36000 20
#
# GGML's own suite on the CPU device, all of it.
exec "$VGR_TOP/tests/suite/backend-ops" --device CPU --all --min 15000
