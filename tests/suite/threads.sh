#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 600 5
#
# Eight threads of one program use VirtGPU0 at the same time, each with backends of its own.
exec "$VGR_TOP/tests/suite/backend-ops" --device CPU --jobs 8 --min 200 \
    --ops '^(ADD|MUL|SQR|NORM|RMS_NORM|SUM_ROWS|POOL_1D)$'
