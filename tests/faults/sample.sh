#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 900 7
#
# Whatever call of ours fails, the program sees success or GGML's failure (all.sh): each fourth fault at the calls
# from different places in the code.
exec "$VGR_TOP/tests/faults/drive.py" --sites --every 4 "${VGR_BUILD:-$VGR_TOP/build/obj}" "$VGR_SCRATCH"
