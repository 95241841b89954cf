#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 400 14
#
# worker-killed.sh, through the bridge in a virtio-gpu with 3D graphics.
VGR_FRONT=virgl exec "$VGR_TOP/tests/vm/worker-killed.sh"
