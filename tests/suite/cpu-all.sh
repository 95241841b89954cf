#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: soak 36000 20
#
# GGML's own suite on the CPU device, all of it: more than an hour.
exec "$VGR_TOP/tests/suite/backend-ops" --device CPU --all --min 15000
