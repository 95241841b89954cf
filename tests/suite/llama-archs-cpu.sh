#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 900 6
#
# Every architecture of llama.cpp decodes through vgr as on the CPU itself, to the last figure.
exec "$VGR_TOP/tests/suite/llama-archs.py" --device CPU --min 120
