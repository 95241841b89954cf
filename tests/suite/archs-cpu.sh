#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 1200 5
#
# A model of each architecture that llama.cpp knows, on the CPU device: the same verdicts and errors
# as natively.
exec "$VGR_TOP/tests/suite/llama-archs" --device CPU --min 110
