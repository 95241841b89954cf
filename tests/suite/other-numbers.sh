#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 600 5
#
# A guest whose GGML has other op numbers gets the same ops, computed right.
exec "$VGR_TOP/tests/suite/backend-ops" --device CPU --min 200 \
    --plugin "${VGR_BUILD:-$VGR_TOP/build/obj}/src/guest/libggml-virtgpu-permuted.so" \
    --ops '^(ADD|SUB|MUL|GELU|SILU|TANH|SWIGLU|GEGLU|REGLU|RMS_NORM|MUL_MAT_ID|SET_ROWS|POOL_2D)$'
