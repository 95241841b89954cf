#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 900 5
#
# GGML's own suite on the CPU device: every op, at least 4000 cases, no failure.
exec "$VGR_TOP/tests/suite/backend-ops" --device CPU --min 4000
