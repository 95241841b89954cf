#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 300 14
#
# suspend.sh, through the bridge in a virtio-gpu with 3D graphics.
VGR_FRONT=virgl exec "$VGR_TOP/tests/vm/suspend.sh"
