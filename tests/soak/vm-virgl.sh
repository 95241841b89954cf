#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: full 900 16
#
# The same for a VM with the bridge in its virtio-gpu (vm.sh).
VGR_FRONT=virgl exec "$VGR_TOP/tests/soak/vm.sh"
