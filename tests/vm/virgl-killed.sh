#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 400 14
#
# killed.sh, through the bridge in a virtio-gpu with 3D graphics.
VGR_FRONT=virgl exec "$VGR_TOP/tests/vm/killed.sh"
